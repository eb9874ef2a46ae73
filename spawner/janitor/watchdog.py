"""Shares of GPUs: what the kernel can bound is bounded, and what only agreement keeps is watched."""

import logging
import os
import signal
from collections.abc import Mapping
from datetime import timedelta

from ..engine.client import engine_errors
from ..engine.observe import observe
from ..gpus.attribution import End, Excess, Warn, attribute, watch
from ..gpus.cgroups import cgroup_of, container_of, limit_device_memory
from ..gpus.isolation import needs_of
from ..operations import inventory, leases, repairs
from ..policy.admission import format_bytes
from ..policy.gpus import Isolation, Slot, SlotKind
from ..policy.leases import Lease, LeaseState
from .post import Post
from .probing import look

_LOG = logging.getLogger("berth.janitor")

_OVER: dict[str, Excess] = {}  # what the last look found; a new process warns anew before it ends anything
_BOUND: set[str] = set()  # containers whose memory the kernel bounds already


def watchdog_once(post: Post) -> str:
    """Bound new containers' GPU memory where the kernel can, and look after those where only agreement holds."""
    shared = _shared(post)
    if post.probe is None or not shared:
        return "no shared slots in use"
    held = {lease.container: slots for lease, slots in shared if lease.container}
    processes = post.probe.processes()
    owners = {one.pid: container_of(one.pid, held) for one in processes.found}
    bound = _bound_by_kernel(post, held)
    caps = {
        slot.id: slot.memory for slots in held.values() for slot in slots if slot.isolation is Isolation.COOPERATIVE
    }
    grace = timedelta(seconds=post.settings.leases.watchdog_seconds)
    seen = watch(attribute(processes, owners, held).uses, caps, _OVER, post.desk.clock(), grace)
    _OVER.clear()
    _OVER.update(seen.over)
    by_container = {lease.container: lease for lease, _ in shared}
    for action in seen.actions:
        _act(post, action, by_container[action.excess.container])
    return f"{len(held)} servers with shares watched, {len(seen.over)} over, {bound} bound by the kernel"


def _shared(post: Post) -> list[tuple[Lease, tuple[Slot, ...]]]:
    found = []
    for lease in repairs.open_leases(post.desk):
        if lease.state is LeaseState.ACTIVE:
            slots = inventory.slots_of(post.desk, lease.slots)
            if any(slot.kind is SlotKind.SHARED for slot in slots):
                found.append((lease, slots))
    return found


def _act(post: Post, action: Warn | End, lease: Lease) -> None:
    excess = action.excess
    taken = f"{format_bytes(excess.used)} of GPU memory, its share is {format_bytes(excess.cap)}"
    whose = f"{lease.user}/{lease.server}"
    if isinstance(action, Warn):
        _LOG.warning("Server %s takes %s", whose, taken)
        leases.report(
            post.desk,
            lease.id,
            busy=False,
            problem=f"this server takes {taken}; its largest program is ended at {action.ends_at:%H:%M:%S} UTC "
            "unless it takes less",
        )
        return
    # A pid may be another's by now: only a process that still is in that container is ended.
    if container_of(action.pid, {excess.container}) == excess.container:
        _LOG.warning("Server %s takes %s: ending process %d", whose, taken, action.pid)
        os.kill(action.pid, signal.SIGKILL)
        leases.report(post.desk, lease.id, busy=False, problem="")


def _bound_by_kernel(post: Post, held: Mapping[str, tuple[Slot, ...]]) -> int:
    wanted = {
        container: slots
        for container, slots in held.items()
        if container not in _BOUND and any(slot.isolation is Isolation.KERNEL for slot in slots)
    }
    _BOUND.intersection_update(held)
    if not wanted:
        return 0
    _, surveyed = look(post)
    with engine_errors():
        pids = {
            container.id: int(post.engine.inspect_container(container.id)["State"]["Pid"])
            for container in observe(post.engine, post.hub_id)
            if container.id in wanted and container.running
        }
    for container, pid in pids.items():
        group = cgroup_of(pid)
        if group is not None:
            limit_device_memory(group, dict(needs_of(wanted[container], surveyed).device_memory))
            _BOUND.add(container)
    return len(pids)
