"""What staff do at a class's board, for pages and API alike."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import quote

from ..course_directory import Places
from ..errors import HubNotReady, HubRefused, UnknownName
from ..operations import seat_wishes, seats
from ..operations.materials import MaterialsState, state_of
from ..operations.times import parse_time
from ..policy.classes import Course, Seat, Session, Wish
from ..policy.model import Deny, Person
from ..state import StateDirectory
from .callers import Caller
from .class_words import Action
from .context import Console
from .course_access import is_admin
from .problems import Problem

_WISHES = {Action.START: Wish.START, Action.RESTART: Wish.RESTART, Action.STOP: Wish.STOP}


@dataclass(frozen=True, slots=True)
class Done:
    """What became of one seat: as it is now, or why nothing was done."""

    user: str
    answer: Seat | Deny

    @property
    def refusal(self) -> Deny | None:
        return self.answer if isinstance(self.answer, Deny) else None


def act(
    here: Console,
    caller: Caller,
    session: Session,
    users: Iterable[str],
    action: Action,
    *,
    until: datetime | None = None,
    memory: int | None = None,
    why: str = "",
) -> list[Done]:
    """Do something with several seats, each by itself.

    Parameters
    ----------
    until, memory
        For `Action.TIME` and `Action.MEMORY`; bytes.
    """
    return [Done(user, _act(here, caller, session, user, action, until, memory, why)) for user in dict.fromkeys(users)]


def _act(
    here: Console,
    caller: Caller,
    session: Session,
    user: str,
    action: Action,
    until: datetime | None,
    memory: int | None,
    why: str,
) -> Seat | Deny:
    desk, actor = here.desk, caller.name
    try:
        if action in _WISHES:
            return seat_wishes.wish(desk, session.id, user, _WISHES[action], actor, why)
        if action is Action.TIME:
            if until is None:
                return Deny("invalid_option", "Until when? Say `until`.")
            try:
                end = parse_time(until.isoformat())
            except ValueError as error:
                return Deny("invalid_option", f"`until` is to be {error}.")
            return seat_wishes.give_time(desk, session.id, user, end, actor, why)
        if action is Action.MEMORY:
            if memory is None:
                return Deny("invalid_option", "How much? Say `memory`, in bytes.")
            most = most_memory(here, caller, user)
            return seat_wishes.give_memory(desk, session.id, user, memory, actor, why, most=most)
        if action is Action.TAKE_BACK:
            return seat_wishes.take_back(desk, session.id, user, actor, why)
        return seats.lower_hand(desk, session.id, user, actor)
    except UnknownName as error:
        return Deny("unknown_name", str(error))


def most_memory(here: Console, caller: Caller, user: str) -> int | None:
    """Tell how much memory somebody may give a seat: what one of the two may have; None for any, as admins may."""
    if is_admin(caller):
        return None
    try:
        member = here.people.all().get(user)
    except (HubNotReady, HubRefused):
        member = None
    people = [Person(caller.name, caller.groups), member.person if member else Person(user)]
    with here.desk.ledger.reading() as books:
        return max(here.desk.quota(books, one, here.clock()).memory for one in people)


def invite(here: Console, caller: Caller, session: Session, guest: str, why: str) -> Seat | Deny:
    """Give a seat to a guest, whom the hub has to know.

    Raises
    ------
    Problem
        422 where it does not.
    """
    try:
        here.people.get(guest)
    except UnknownName as error:
        raise Problem(
            422, "unknown_user", f"{error} A guest has been here once, or is made a user by an admin."
        ) from None
    return seat_wishes.hand_over(here.desk, session.id, guest, caller.name, why)


def server_path(here: Console, course: Course, user: str) -> str:
    """Give the path of somebody's seat at the hub's proxy."""
    return f"{here.hub.base_url}user/{quote(user, safe='@~')}/{course.id}/"


def places(here: Console) -> Places:
    """Tell where courses keep their files."""
    return Places(StateDirectory(here.settings.state_dir).courses, here.settings.classes.push_bytes)


def materials_of(here: Console, course: Course) -> MaterialsState | None:
    """Tell how a course's materials are; None where they were not looked at since they were chosen."""
    state = state_of(places(here), course.id) if course.materials else None
    return state if state is not None and (state.source, state.wanted) == (course.materials, course.branch) else None


def named(done: Sequence[Done], most: int = 8) -> str:
    """List whose seats something was done with."""
    names = [one.user for one in done if one.refusal is None]
    return ", ".join(names[:most]) + (" …" if len(names) > most else "")
