"""Servers that are seats in a course: what they are, get and see, whatever their users ask for."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..engine.containers import Mount
from ..engine.running import COURSE_VARIABLE
from ..errors import LedgerOutdated, LedgerUnavailable
from ..operations import seats
from ..operations.seats import Placed
from ..policy.admission import admit_seat
from ..policy.leases import GpuRequest
from ..policy.model import Deny, Grant, LimitRules, Person, SpawnRequest
from ..policy.names import exam_volume_name, home_volume_name
from ..state import StateDirectory
from .requests import refusal

COURSE_FILES = "/opt/berth/course"
DATA = "/srv/data"
STAFF_VARIABLE = "BERTH_COURSE_STAFF"
_GROUPS = ("course-{}-students", "course-{}-staff")  # which the janitor keeps equal to the roster
_NO_TERMINALS = ("--ServerApp.terminals_enabled=False",)


async def find_seat(spawner: Any) -> Placed | Deny | None:
    """Tell whether a spawner's server is a seat in a course.

    Without the ledger nobody knows; then the user's groups tell whether it could be one. All other servers are their
    users' own, and start.

    Returns
    -------
    Placed, Deny or None
        As `spawner.operations.seats.placed`; ``ledger_unavailable`` or ``ledger_outdated`` where it cannot be told.
    """
    if not spawner.name or spawner.desk is None:
        return None
    try:
        found: Placed | Deny | None = await spawner.operate(seats.placed, spawner.user.name, spawner.name)
    except (LedgerUnavailable, LedgerOutdated) as error:
        if spawner.person.groups.isdisjoint(group.format(spawner.name) for group in _GROUPS):
            spawner.log.warning("Whether %s is a seat cannot be told: %s", spawner._log_name, error)  # noqa: SLF001  JupyterHub's
            return None
        told = f"Whether the class {spawner.name} meets now cannot be told, so its seats do not start: {error}"
        return Deny(error.code, told)
    return found


def admit(spawner: Any, seat: Placed, rules: LimitRules) -> tuple[SpawnRequest, Grant]:
    """Say what a seat's server gets; of what its user asks for only a clean start counts.

    Raises
    ------
    SpawnException
        If the course's profile is gone.
    """
    course, decision = seat.course, decide(spawner, seat, rules)
    if isinstance(decision, Deny):
        raise refusal(decision, 403)
    clean = (spawner.user_options or {}).get("clean") is True
    return SpawnRequest(course.profile, decision.limits.gpus, at_end=course.at_end, clean=clean), decision


def decide(spawner: Any, seat: Placed, rules: LimitRules) -> Grant | Deny:
    """Ask the policy what a seat's server gets."""
    course, gpus = seat.course, 0 if seat.after else seat.course.gpus
    return admit_seat(course.profile, gpus, seat.seat.memory, spawner.person, spawner.catalogue, rules)


def gpu_request(seat: Placed, person: Person) -> GpuRequest:
    """Say which GPUs a seat asks for, until its session ends."""
    request = seat.course.seat(person.name)
    # Staff for whom no seat is reserved ask as everybody does, by their own quota.
    course = request.course if seat.reserved else ""
    return replace(request, groups=person.groups, ends_at=seat.ends_at, course=course)


def in_exam(seat: Placed | None) -> bool:
    return seat is not None and seat.session.exam


def home_volume(hub_id: str, user: str, seat: Placed | None) -> str:
    """Name what is a server's home: in an exam a volume of its own, which hides the user's."""
    if seat is not None and seat.session.exam:
        return exam_volume_name(hub_id, seat.session.id, user)
    return home_volume_name(hub_id, user)


def environment(seat: Placed | None) -> dict[str, str]:
    """Tell the programs in a seat what it is."""
    if seat is None:
        return {}
    course = seat.course
    return {
        COURSE_VARIABLE: course.id,
        "BERTH_COURSE_FOLDER": course.folder,
        **({STAFF_VARIABLE: "1"} if seat.staff else {}),
        **({"BERTH_EXAM": "1"} if seat.session.exam else {}),
    }


def mounts(seat: Placed | None, data_dir: str, data: Path | None) -> list[Mount]:
    """Mount a course's files and its data set, all read-only.

    Parameters
    ----------
    data_dir
        The hub's state directory.
    data
        The data set's directory, see `data_set`.

    Raises
    ------
    CourseFilesFailed
    """
    if seat is None:
        return []
    files = StateDirectory(Path(data_dir).absolute()).course(seat.course.id).create()
    shown = [files.materials, files.pushes, *([files.collected] if seat.staff else [])]
    found = [Mount(str(path), f"{COURSE_FILES}/{path.name}") for path in shown]
    return [*found, Mount(str(data), f"{DATA}/{seat.course.data}")] if data is not None else found


def data_set(spawner: Any, seat: Placed | None) -> Path | None:
    """Find a course's data set; a class meets without one that is gone, and is told."""
    if seat is None or not seat.course.data:
        return None
    path: Path | None = spawner.data_sets.get(seat.course.data)
    if path is not None and path.is_dir():
        return path.absolute()
    spawner.log.warning("The data set %s of course %s is not there", seat.course.data, seat.course.id)
    spawner._steps.add(4, f"The data set {seat.course.data} is not there; ask an admin.")  # noqa: SLF001  of this start
    return None


def arguments(seat: Placed | None) -> Sequence[str]:
    """Give what is added to the command of a seat's server."""
    return _NO_TERMINALS if seat is not None and seat.session.exam and not seat.session.terminals else ()
