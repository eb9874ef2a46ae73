"""A second Docker Engine on this machine whose NVIDIA driver, toolkit and GPUs are simulated.

The engine is real: it registers its ``nvidia`` device driver because a hook of the toolkit's name is on its PATH, and
knows a runtime ``nvidia``. Hook and runtime are stand-ins (`standin`), which make the device nodes of exactly the GPUs
that a container may see, and give it a stub of NVML.
"""
