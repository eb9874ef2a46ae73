"""Metrics of GPUs and of who uses them; the exporter of their node serves them.

Label `gpu` is the GPU's UUID. What cannot be read of a GPU has no sample.
"""

from .metric import Declaration, Kind, Source

_HOLDER = ("gpu", "slot", "lease")


def _gauge(name: str, text: str, *labels: str) -> Declaration:
    return Declaration(f"berth_gpu_{name}", Kind.GAUGE, text, Source.EXPORTER, ("gpu", *labels))


def _counter(name: str, text: str, *labels: str) -> Declaration:
    return Declaration(f"berth_gpu_{name}_total", Kind.COUNTER, text, Source.EXPORTER, ("gpu", *labels))


GPU_INFO = Declaration(
    "berth_gpu_info",
    Kind.INFO,
    "What a GPU is; `index` is the driver's number, `simulated` and `mig_mode` are true or false.",
    Source.EXPORTER,
    ("gpu", "node", "index", "model", "compute_capability", "pci", "driver", "cuda", "simulated", "mig_mode"),
)
GPU_UP = _gauge("up", "Whether a GPU answers: 0 once it has fallen off the bus or fails.")
SM_UTILIZATION = _gauge("sm_utilization_ratio", "Share of the last moments in which a kernel ran.")
MEMORY_UTILIZATION = _gauge(
    "memory_utilization_ratio", "Share of the last moments in which memory was read or written."
)
ENCODER_UTILIZATION = _gauge("encoder_utilization_ratio", "Use of the video encoder.")
DECODER_UTILIZATION = _gauge("decoder_utilization_ratio", "Use of the video decoder.")
MEMORY_USED = _gauge("memory_used_bytes", "Memory that programs hold.")
MEMORY_FREE = _gauge("memory_free_bytes", "Memory that nobody holds.")
MEMORY_TOTAL = _gauge("memory_total_bytes", "Memory, what the driver keeps for itself included.")
POWER = _gauge("power_watts", "Power drawn.")
POWER_LIMIT = _gauge("power_limit_watts", "Power at which the driver slows the GPU down.")
ENERGY = _counter("energy_joules", "Energy drawn since the driver was loaded.")
TEMPERATURE = _gauge("temperature_celsius", "Temperature of `sensor`: gpu or memory.", "sensor")
TEMPERATURE_SLOWDOWN = _gauge("temperature_slowdown_celsius", "Temperature at which the GPU slows itself down.")
CLOCK = _gauge("clock_hertz", "Frequency of `clock`: graphics, sm, memory or video.", "clock")
CLOCK_MAX = _gauge("clock_max_hertz", "The highest frequency of `clock`.", "clock")
THROTTLED = _gauge(
    "throttled",
    "Whether clocks are held down for `reason`: power_cap, hw_slowdown, hw_thermal, hw_power_brake, sw_thermal, "
    "sync_boost, applications_clocks or display_clocks; being idle is none.",
    "reason",
)
PCIE_THROUGHPUT = _gauge(
    "pcie_throughput_bytes_per_second",
    "What went over the bus, measured for some milliseconds now and then; `direction` is transmit or receive.",
    "direction",
)
NVLINK_BYTES = _counter(
    "nvlink_bytes",
    "What went over all NVLinks since the driver was loaded; `direction` is transmit or receive.",
    "direction",
)
ECC_ERRORS = _counter(
    "ecc_errors", "Memory errors since the driver was loaded; `severity` is corrected or uncorrected.", "severity"
)
XID_ERRORS = _counter(
    "xid_errors", "Errors that the driver reported since the exporter runs, by NVIDIA's number.", "xid"
)
MIG_INSTANCE_INFO = Declaration(
    "berth_gpu_mig_instance_info",
    Kind.INFO,
    "An instance of a GPU in MIG mode: its UUID and NVIDIA's name of its size.",
    Source.EXPORTER,
    ("gpu", "mig", "profile"),
)
MIG_MEMORY_USED = _gauge("mig_memory_used_bytes", "Memory that programs hold of a MIG instance.", "mig")
MIG_MEMORY_TOTAL = _gauge("mig_memory_total_bytes", "Memory of a MIG instance.", "mig")
FOREIGN_PROCESSES = _gauge("foreign_processes", "Processes on a GPU that hold no lease of it.")
FOREIGN_MEMORY = _gauge("foreign_memory_bytes", "Memory of processes that hold no lease of the GPU.")
PROCESS_MEMORY = _gauge(
    "process_memory_bytes",
    "Memory of one process; `mig` is empty on a whole GPU, `container` and `lease` outside any of ours.",
    *("mig", "pid", "container", "lease"),
)
PROCESS_SM = _gauge(
    "process_sm_utilization_ratio",
    "Share of the last moments in which a kernel of one process ran.",
    *("mig", "pid", "container", "lease"),
)

LEASE_INFO = Declaration(
    "berth_lease_info",
    Kind.INFO,
    "Who holds a slot, as the containers of this node say: to be joined on `lease`. One sample per slot.",
    Source.EXPORTER,
    ("lease", "gpu", "slot", "user", "server", "course", "container"),
)
LEASE_MEMORY = Declaration(
    "berth_lease_gpu_memory_used_bytes",
    Kind.GAUGE,
    "GPU memory that a lease's container holds.",
    Source.EXPORTER,
    _HOLDER,
)
LEASE_SM = Declaration(
    "berth_lease_gpu_utilization_ratio",
    Kind.GAUGE,
    "Share of the last moments in which a kernel of a lease's container ran: the GPU's or MIG instance's where it "
    "has that alone, else the sum over its processes.",
    Source.EXPORTER,
    _HOLDER,
)
LEASE_PROCESSES = Declaration(
    "berth_lease_gpu_processes", Kind.GAUGE, "Processes of a lease's container on a GPU.", Source.EXPORTER, _HOLDER
)

GPU_METRICS = tuple(value for value in globals().copy().values() if isinstance(value, Declaration))
