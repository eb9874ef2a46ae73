"""What the figures were measured on."""

import os
import platform
import re
from importlib.metadata import version
from pathlib import Path

import docker


def describe(client: docker.DockerClient, image: str) -> dict[str, object]:
    """Describe machine, engine and versions; `load` is the average of the minute before."""
    information = client.info()
    model = re.search(r"^model name\s*:\s*(.*)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
    return {
        "cpu": model[1] if model else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "kernel": platform.release(),
        "system": platform.freedesktop_os_release().get("PRETTY_NAME", ""),
        "engine": information["ServerVersion"],
        "storage": information["Driver"],
        "cgroups": information.get("CgroupVersion", "1"),
        "load": os.getloadavg()[0],
        "python": platform.python_version(),
        "jupyterhub": version("jupyterhub"),
        "dockerspawner": version("dockerspawner"),
        "image": image,
        "image_id": client.images.get(image).id,
    }


def sentence(machine: dict[str, object]) -> str:
    gib = int(str(machine["memory_bytes"])) / 2**30
    return (
        f"{machine['cpu']}, {machine['cores']} cores, {gib:.0f} GiB; {machine['system']}, Linux {machine['kernel']}; "
        f"Docker Engine {machine['engine']} ({machine['storage']}, cgroups {machine['cgroups']}); "
        f"jupyterhub {machine['jupyterhub']}, dockerspawner {machine['dockerspawner']}; image {machine['image']}; "
        f"load {machine['load']:.2f} at the start"
    )
