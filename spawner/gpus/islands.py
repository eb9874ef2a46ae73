"""Which GPUs reach each other fast: by NVLink, else within a NUMA node."""

from collections.abc import Callable, Sequence
from typing import Any

import pynvml

from .nvml_session import NvmlError, concerns_all


def find_islands(gpus: Sequence[tuple[str, Any]]) -> dict[str, str]:
    """Name the island of each GPU.

    Parameters
    ----------
    gpus
        UUIDs and NVML handles, by index.

    Returns
    -------
    islands
        By UUID: ``nvlink0`` for those joined by NVLink, directly or through a switch, ``numa0`` for others in one NUMA
        node; numbered by their first GPU. A GPU of which nothing is known has none.
    """
    islands: dict[str, str] = {}
    linked = [group for group in _groups(gpus, _linked) if len(group) > 1]
    for number, group in enumerate(linked):
        islands.update(dict.fromkeys(group, f"nvlink{number}"))
    rest = [(uuid, handle) for uuid, handle in gpus if uuid not in islands]
    if len(rest) > 1 and _level(rest[0][1], rest[1][1]) is not None:
        for number, group in enumerate(_groups(rest, _same_node)):
            islands.update(dict.fromkeys(group, f"numa{number}"))
    return islands


def _groups(gpus: Sequence[tuple[str, Any]], near: Callable[[Any, Any], bool]) -> list[list[str]]:
    """Part GPUs so that those near each other, or near a common one, are together; in the order of their first."""
    groups: list[list[int]] = []
    for number, (_, handle) in enumerate(gpus):
        joined = [group for group in groups if any(near(gpus[other][1], handle) for other in group)]
        groups = [group for group in groups if group not in joined]
        groups.append(sorted([number, *(other for group in joined for other in group)]))
    return [[gpus[number][0] for number in group] for group in sorted(groups)]


def _linked(one: Any, other: Any) -> bool:
    status = _ask(pynvml.nvmlDeviceGetP2PStatus, one, other, pynvml.NVML_P2P_CAPS_INDEX_NVLINK)
    return bool(status == pynvml.NVML_P2P_STATUS_OK)


def _level(one: Any, other: Any) -> Any:
    return _ask(pynvml.nvmlDeviceGetTopologyCommonAncestor, one, other)


def _same_node(one: Any, other: Any) -> bool:
    level = _level(one, other)
    return level is not None and level <= pynvml.NVML_TOPOLOGY_NODE


def _ask(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call NVML about two GPUs; None also where one of them fails, which its own reading tells."""
    try:
        return function(*arguments)
    except NvmlError as error:
        if concerns_all(error):
            raise
        return None
