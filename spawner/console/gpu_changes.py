"""Taking GPUs out of service and back, one or a whole node: what would change, whom it concerns, and doing it."""

from collections.abc import Sequence
from dataclasses import dataclass

from ..operations import inventory
from ..policy.gpus import Gpu, GpuState
from ..policy.leases import Lease
from .board import Snapshot, View
from .context import Console
from .etags import etag_of
from .problems import Problem

# What a change of a whole node is about: it does not put into service what was taken out for a reason of its own.
_FROM = {
    GpuState.IN_SERVICE: {GpuState.DRAINING},
    GpuState.DRAINING: {GpuState.IN_SERVICE},
    GpuState.OUT_OF_SERVICE: {GpuState.IN_SERVICE, GpuState.DRAINING},
    GpuState.QUARANTINED: {GpuState.IN_SERVICE, GpuState.DRAINING},
}


@dataclass(frozen=True)
class Plan:
    """A change of state that was asked for.

    Attributes
    ----------
    changed
        GPUs that it changes.
    left
        Those that stay as they are: in another state for a reason of their own, or in this one already.
    """

    state: GpuState
    changed: tuple[View, ...]
    left: tuple[View, ...] = ()

    @property
    def leases(self) -> tuple[tuple[Lease, tuple[Gpu, ...]], ...]:
        """Leases that hold something of what is changed, each with these GPUs; by user."""
        found: dict[str, tuple[Lease, list[Gpu]]] = {}
        for view in self.changed:
            for lease in view.leases:
                found.setdefault(lease.id, (lease, []))[1].append(view.gpu)
        ordered = sorted(found.values(), key=lambda one: (one[0].user, one[0].server, one[0].id))
        return tuple((lease, tuple(gpus)) for lease, gpus in ordered)

    @property
    def version(self) -> str:
        """What whoever carries it out must have seen."""
        return version_of([view.gpu for view in self.changed])


def version_of(gpus: Sequence[Gpu]) -> str:
    """Give the version of what admins have decreed about GPUs."""
    return etag_of([[gpu.uuid, gpu.state, gpu.state_since, gpu.state_by, gpu.state_why] for gpu in gpus])


def find(snapshot: Snapshot, uuid: str) -> View:
    """Give a GPU on the board.

    Raises
    ------
    Problem
        404
    """
    found = snapshot.by_uuid.get(uuid)
    if found is None:
        raise Problem(404, "unknown_name", f"There is no GPU {uuid!r}.")
    return found


def plan_node(snapshot: Snapshot, node: str, state: GpuState) -> Plan:
    """Plan for all GPUs of a node that such a change makes sense for.

    Raises
    ------
    Problem
        404
    """
    views = [view for view in snapshot.views if view.gpu.node == node]
    if not views:
        raise Problem(404, "unknown_name", f"There are no GPUs on a node {node!r}.")
    changed = [view for view in views if view.gpu.state in _FROM[state]]
    return Plan(state, tuple(changed), tuple(view for view in views if view not in changed))


def plan_gpus(snapshot: Snapshot, uuids: Sequence[str], state: GpuState) -> Plan:
    """Plan for certain GPUs, in whatever state they are.

    Raises
    ------
    Problem
        404
    """
    views = [find(snapshot, uuid) for uuid in dict.fromkeys(uuids)]
    changed = [view for view in views if view.gpu.state is not state]
    return Plan(state, tuple(changed), tuple(view for view in views if view not in changed))


def carry_out(here: Console, plan: Plan, actor: str, why: str, versions: frozenset[str]) -> tuple[Gpu, ...]:
    """Change the state of a plan's GPUs.

    Parameters
    ----------
    versions
        One of which must be the plan's, now as when its actor has seen it; ``*`` for whatever it is.

    Raises
    ------
    Problem
        412 if somebody has changed one of them meanwhile.
    """

    def check(gpus: Sequence[Gpu]) -> None:
        if versions.isdisjoint({"*", version_of(gpus)}):
            raise changed_meanwhile(gpus)

    names = [view.gpu.uuid for view in plan.changed]
    return inventory.set_states(here.desk, names, plan.state, actor, why.strip(), check)


def changed_meanwhile(gpus: Sequence[Gpu]) -> Problem:
    """Tell that what was seen is no more."""
    last = max(gpus, key=lambda gpu: gpu.state_since.timestamp() if gpu.state_since else 0.0, default=None)
    said = "Somebody has changed this meanwhile."
    if last is not None and last.state_since is not None:
        said = f"{last.name} has been changed meanwhile: {last.state} by {last.state_by}, {last.state_why!r}."
    return Problem(412, "changed_meanwhile", f"{said} Look again, then repeat.", {"ETag": version_of(gpus)})
