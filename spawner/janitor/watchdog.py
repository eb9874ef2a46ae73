"""Shares of GPUs: what the kernel can bound is bounded, and what only agreement keeps is watched."""

import contextlib
import os
import signal
from collections.abc import Mapping
from datetime import timedelta
from functools import partial

from ..engine.client import engine_errors
from ..engine.containers import inspect
from ..gpus.attribution import End, Excess, Warn, attribute, watch
from ..gpus.cgroups import cgroup_of, container_of, limit_device_memory
from ..gpus.isolation import Needs, needs_of
from ..operations import ends, inventory, repairs
from ..policy.admission import format_bytes
from ..policy.gpus import Isolation, Slot, SlotKind
from ..policy.leases import Lease, LeaseState
from .post import Post
from .probing import look
from .steps import Step

_OVER: dict[str, Excess] = {}  # whose users have been warned; a new process warns anew before it ends anything
_BOUND: set[str] = set()  # containers whose memory the kernel bounds already


def watchdog_steps(post: Post) -> list[Step]:
    """Bound new containers' GPU memory where the kernel can, and look after those where only agreement holds."""
    shared = _shared(post)
    if post.probe is None or not shared:
        _OVER.clear()
        return []
    held = {lease.container: slots for lease, slots in shared if lease.container}
    steps = _bound_by_kernel(post, held)
    processes = post.probe.processes()
    owners = {one.pid: container_of(one.pid, held) for one in processes.found}
    caps = {
        slot.id: slot.memory for slots in held.values() for slot in slots if slot.isolation is Isolation.COOPERATIVE
    }
    grace = timedelta(seconds=post.settings.leases.watchdog_seconds)
    seen = watch(attribute(processes, owners, held).uses, caps, _OVER, post.desk.clock(), grace)
    unwarned = {action.excess.slot for action in seen.actions if isinstance(action, Warn)}
    _OVER.clear()
    _OVER.update({slot: excess for slot, excess in seen.over.items() if slot not in unwarned})
    by_container = {lease.container: lease for lease, _ in shared}
    steps += [_step(post, action, by_container[action.excess.container]) for action in seen.actions]
    warned = [lease for lease, _ in shared if lease.warning and seen.over.keys().isdisjoint(lease.slots)]
    return steps + [
        Step(f"take back the warning of {_whose(lease)}", partial(ends.note_warning, post.desk, lease.id, ""))
        for lease in warned
    ]


def _shared(post: Post) -> list[tuple[Lease, tuple[Slot, ...]]]:
    found = []
    known = inventory.known_slots(post.desk)
    for lease in repairs.open_leases(post.desk):
        if lease.state is LeaseState.ACTIVE:
            slots = tuple(known[slot_id] for slot_id in lease.slots if slot_id in known)
            if any(slot.kind is SlotKind.SHARED for slot in slots):
                found.append((lease, slots))
    return found


def _step(post: Post, action: Warn | End, lease: Lease) -> Step:
    excess = action.excess
    taken = f"{format_bytes(excess.used)} of GPU memory, its share is {format_bytes(excess.cap)}"
    if isinstance(action, Warn):
        warning = (
            f"Your server takes {taken}. Its largest program is ended at {action.ends_at:%H:%M:%S} UTC unless it takes "
            "less."
        )
        return Step(f"warn {_whose(lease)}: {taken}", partial(_warn, post, lease, excess, warning))
    return Step(f"end process {action.pid} of {_whose(lease)}: {taken}", partial(_end, action))


def _whose(lease: Lease) -> str:
    return f"{lease.user}/{lease.server}".rstrip("/")


def _warn(post: Post, lease: Lease, excess: Excess, warning: str) -> bool:
    told = ends.note_warning(post.desk, lease.id, warning)
    # Only now: while the ledger is away nobody is told, and nothing is ended.
    _OVER[excess.slot] = excess
    return told


def _end(action: End) -> bool:
    container = action.excess.container
    with contextlib.ExitStack() as opened:
        try:
            # A pid may be another's by now: this holds on to the one whose container is looked at.
            process = os.pidfd_open(action.pid)
            opened.callback(os.close, process)
            if container_of(action.pid, {container}) != container:
                return False
            signal.pidfd_send_signal(process, signal.SIGKILL)
        except ProcessLookupError:
            return False
    return True


def _bound_by_kernel(post: Post, held: Mapping[str, tuple[Slot, ...]]) -> list[Step]:
    _BOUND.intersection_update(held)
    wanted = {
        container: slots
        for container, slots in held.items()
        if container not in _BOUND and any(slot.isolation is Isolation.KERNEL for slot in slots)
    }
    if not wanted:
        return []
    _, surveyed = look(post)
    with engine_errors():
        found = {container: inspect(post.engine, container) for container in wanted}
    # One that has just ended is the reconciliation's.
    pids = {container: pid for container, answer in found.items() if answer and (pid := int(answer["State"]["Pid"]))}
    return [
        Step(
            f"bound the GPU memory of container {container[:12]}",
            partial(_bound, container, pid, needs_of(wanted[container], surveyed)),
        )
        for container, pid in pids.items()
    ]


def _bound(container: str, pid: int, needs: Needs) -> bool:
    group = cgroup_of(pid)
    if group is None:
        return False
    limit_device_memory(group, dict(needs.device_memory))
    _BOUND.add(container)
    return True
