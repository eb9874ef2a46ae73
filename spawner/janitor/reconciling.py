"""One look at what exists, the plan, and its execution."""

from dataclasses import dataclass

from docker.errors import APIError

from ..engine import containers
from ..engine.client import engine_errors
from ..engine.observe import observe
from ..errors import BerthError
from ..operations import repairs
from ..policy.reconcile import Adopt, Quarantine, Release, Remove, Repair, Seen, reconcile
from .post import Post


@dataclass(frozen=True, slots=True)
class Outcome:
    """A repair and what became of it.

    Attributes
    ----------
    done
        Whether anything was changed; always False where nothing was to be.
    problem
        Why it could not be carried out; empty if it could.
    """

    repair: Repair
    done: bool
    problem: str = ""


def plan(post: Post) -> list[Repair]:
    """Compare the ledger with the engine; changes nothing.

    Raises
    ------
    EngineUnavailable, LedgerUnavailable
        Then nothing is known, and nothing is planned.
    """
    looked_at = post.desk.clock()
    # Those that were open before the look too: one that closes while we look leaves a container that still seems to be.
    before = repairs.open_leases(post.desk)
    with engine_errors():
        observed = observe(post.engine, post.hub_id)
    leases = repairs.open_leases(post.desk)
    just_closed = frozenset(lease.id for lease in before) - {lease.id for lease in leases}
    seen = [container for container in observed if container.lease not in just_closed]
    quarantined = repairs.quarantined_slots(post.desk)
    return reconcile(leases, seen, post.grace, looked_at, post.desk.clock(), quarantined)


def carry_out(post: Post, planned: list[Repair]) -> list[Outcome]:
    """Carry out a plan; a lease is not closed while a container of it could not be removed."""
    outcomes: list[Outcome] = []
    still_there: set[str] = set()  # containers, and the leases that their labels name; one that was adopted has another
    releases = [repair for repair in planned if isinstance(repair, Release)]
    released = {name: repair for repair in releases for name in (repair.lease.id, repair.lease.container) if name}
    for repair in planned:
        if isinstance(repair, Release) and still_there & {repair.lease.id, repair.lease.container}:
            outcomes.append(Outcome(repair, done=False, problem="its container could not be removed"))
            continue
        try:
            if isinstance(repair, Remove):
                release = released.get(repair.container.id) or released.get(repair.container.lease)
                if release is not None and not repairs.note_end(post.desk, release):
                    # The hub is at it: it reads the container's finish time before it removes it.
                    outcomes.append(Outcome(repair, done=False))
                    continue
                with engine_errors():
                    containers.remove(post.engine, repair.container.id)
                repairs.note_removed(post.desk, repair.container, repair.why)
                outcomes.append(Outcome(repair, done=True))
            else:
                outcomes.append(Outcome(repair, done=repairs.apply(post.desk, repair)))
        except (BerthError, APIError) as error:
            if isinstance(repair, Remove):
                still_there |= {repair.container.id, repair.container.lease}
            outcomes.append(Outcome(repair, done=False, problem=str(error)))
    return outcomes


def describe(repair: Repair) -> str:
    """Say a repair in words."""
    name = type(repair).__name__.lower()
    if isinstance(repair, (Remove, Adopt, Quarantine)):
        container = repair.container
        whose = f"{container.user}/{container.server}".rstrip("/")
        what = f"container {container.id[:12]} of {whose}"
        if isinstance(repair, Remove):
            return f"remove {what}: {repair.why}"
        if isinstance(repair, Adopt):
            return f"adopt {what}: it runs with {', '.join(container.slots)} and without a lease"
        return f"quarantine {', '.join(repair.slots)}: {repair.why} ({what})"
    whose = f"{repair.lease.user}/{repair.lease.server}".rstrip("/")
    why = f": {repair.why}" if isinstance(repair, Release) else ""
    return f"{name} lease {repair.lease.id} of {whose}{why}"


def needed(planned: list[Repair]) -> list[Repair]:
    """Leave out what is no repair but a note that all is well."""
    return [repair for repair in planned if not isinstance(repair, Seen)]
