"""Control groups: whose process is it, and how much GPU memory may its container have.

All paths are arguments, so that the host's can stand elsewhere: mounted into a container, or made up by a test.
"""

import functools
import re
from collections.abc import Collection
from pathlib import Path

from ..errors import LimitRefused

PROC = Path("/proc")
CGROUPS = Path("/sys/fs/cgroup")

# docker/ID (cgroupfs), docker-ID.scope (systemd), cri-containerd-ID.scope and the like
_ID = re.compile(r"(?:^|[/-])([0-9a-f]{64})(?=/|\.scope|$)")


def container_ids(pid: int, proc: Path = PROC) -> tuple[str, ...]:
    """Give the ids of the containers that a process is in, the outermost first; none if it is in none or is gone."""
    return _ids(_text(pid, proc))


@functools.lru_cache(maxsize=1024)  # a node's processes are in few groups, and an exporter asks for hundreds of them
def _ids(text: bytes) -> tuple[str, ...]:
    for path in _parse(text).values():
        found = _ID.findall(path)
        if found:
            return tuple(found)
    return ()


def container_of(pid: int, known: Collection[str], proc: Path = PROC) -> str | None:
    """Give which of the `known` containers (full ids) a process is in."""
    return next((container for container in container_ids(pid, proc) if container in known), None)


def cgroup_of(pid: int, proc: Path = PROC, cgroups: Path = CGROUPS) -> Path | None:
    """Give the directory of a process's group in the unified hierarchy (cgroup v2); None if it has none."""
    path = _paths(pid, proc).get("")
    return None if path is None else cgroups / path.lstrip("/")


def _paths(pid: int, proc: Path) -> dict[str, str]:
    return _parse(_text(pid, proc))


def _text(pid: int, proc: Path) -> bytes:
    """Read ``/proc/PID/cgroup``; nothing if the process is gone."""
    try:
        with open(f"{proc}/{pid}/cgroup", "rb", buffering=0) as file:  # noqa: PTH123  read often
            return file.read()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return b""


def _parse(text: bytes) -> dict[str, str]:
    """Give the path in each hierarchy of v1, and under an empty name in that of v2."""
    lines = (line.split(":", 2) for line in text.decode("utf-8", "replace").splitlines())
    return {line[1]: line[2].removesuffix(" (deleted)") for line in lines if len(line) == 3}


# --- dmem: device memory, since Linux 6.14 ------------------------------------------------------------------------


def read_capacity(cgroups: Path = CGROUPS) -> dict[str, int]:
    """Give the memory regions of devices and their bytes (``dmem.capacity``); empty where the kernel has no dmem."""
    try:
        text = (cgroups / "dmem.capacity").read_text(encoding="utf-8")
    except OSError:
        return {}
    regions = (line.rpartition(" ") for line in text.splitlines())
    return {name: int(size) for name, _, size in regions if name and size.isdigit()}


def regions_of(pci: str, capacity: Collection[str]) -> tuple[str, ...]:
    """Give those of the regions that are memory of the GPU at this bus id, as ``drm/0000:3b:00.0/vram0``."""
    return tuple(sorted(region for region in capacity if pci and pci.lower() in region.lower().split("/")))


def limit_device_memory(group: Path, limits: dict[str, int], cgroups: Path = CGROUPS) -> None:
    """Bound the GPU memory of a running container.

    Parameters
    ----------
    group
        Directory of its control group (`cgroup_of`), below `cgroups`.
    limits
        Bytes by region.

    Raises
    ------
    LimitRefused
        If the kernel does not take them; then the container is not bounded.
    """
    try:
        _delegate(group, cgroups)
        lines = "".join(f"{region} {size}\n" for region, size in limits.items())
        (group / "dmem.max").write_text(lines, encoding="utf-8")
        told = dict(
            line.split(" ", 1) for line in (group / "dmem.max").read_text(encoding="utf-8").splitlines() if " " in line
        )
    except (OSError, ValueError) as error:
        raise LimitRefused(
            f"The kernel refuses a limit of GPU memory for {group}: {error}. "
            "Is the controller dmem turned on (cgroup.subtree_control) on the way there?"
        ) from error
    # The kernel rounds down to whole pages of the device.
    loose = [
        region for region, size in limits.items() if not told.get(region, "max").isdigit() or int(told[region]) > size
    ]
    if loose:
        raise LimitRefused(f"The kernel did not keep the limit of GPU memory for {', '.join(loose)} in {group}.")


def _delegate(group: Path, cgroups: Path) -> None:
    """Turn the controller on for every group on the way, from the root down."""
    if not group.is_relative_to(cgroups):
        raise ValueError(f"it is not below {cgroups}")
    for parent in reversed(group.parents[: len(group.relative_to(cgroups).parts)]):
        control = parent / "cgroup.subtree_control"
        if "dmem" not in control.read_text(encoding="utf-8").split():
            control.write_text("+dmem\n", encoding="utf-8")
