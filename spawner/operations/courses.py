"""Courses and their rosters: made, changed, archived; who is in them. Each change is whole, and in the audit."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

from ..errors import UnknownName
from ..ledger import AuditEntry, Books
from ..policy.classes import Course, Member, Role, above, check_course
from ..policy.model import Deny
from .desk import Desk

Check = Callable[[Course], None]
"""Called with a course as it is, while nobody else can change it; nothing is done if it raises."""


def find(desk: Desk, course: str) -> Course:
    """Give a course.

    Raises
    ------
    UnknownName
    """
    with desk.ledger.reading() as books:
        return find_in(books, course)


def find_in(books: Books, course: str) -> Course:
    found = books.courses.get(course)
    if found is None:
        known = [one.id for one in books.courses.all(archived=True)]
        raise UnknownName(f"There is no course {course!r}; there are: {', '.join(known) or 'none yet'}.")
    return found


def create(desk: Desk, course: Course, actor: str, why: str = "", *, instructor: str = "") -> Course | Deny:
    """Make a course, with who makes it, or somebody else, as its first instructor.

    Returns
    -------
    Course or Deny
        ``invalid_option`` where something of it cannot be, ``course_exists`` where another has its short name.
    """
    if (wrong := check_course(course) or _misnamed([instructor or actor])) is not None:
        return wrong
    with desk.ledger.transaction() as books:
        if books.courses.get(course.id) is not None:
            return Deny("course_exists", f"There is a course {course.id} already; choose another short name.")
        now = desk.clock()
        made = replace(course, created_by=actor, created_at=now, archived_at=None, version=1)
        books.courses.insert(made)
        books.courses.put_members([Member(made.id, instructor or actor, Role.INSTRUCTOR, now, actor)])
        _note(desk, books, actor, "course.create", made.id, None, _shown(made), why)
        return made


def change(
    desk: Desk, course: str, actor: str, why: str = "", check: Check | None = None, **values: Any
) -> Course | Deny:
    """Set some of a course's values.

    Returns
    -------
    Course or Deny
        ``invalid_option``; ``course_runs`` where GPUs are reserved for seats as they are, and these would be others.

    Raises
    ------
    UnknownName
    """
    with desk.ledger.transaction() as books:
        was = find_in(books, course)
        if check is not None:
            check(was)
        changed = replace(was, **values, version=was.version + 1)
        if (wrong := check_course(changed)) is not None:
            return wrong
        if _seat(changed) != _seat(was) and (live := _live(books, course, desk.clock())):
            return Deny(
                "course_runs",
                f"GPUs are reserved for {live} session{'' if live == 1 else 's'} of {was.title}, for seats as they are "
                "now; cancel these first, or wait until they are over.",
            )
        books.courses.update(changed)
        _note(desk, books, actor, "course.change", course, _shown(was), _shown(changed), why)
        return changed


def archive(desk: Desk, course: str, actor: str, why: str = "", *, back: bool = False) -> Course | Deny:
    """Put a course away, or bring it back; its roster and past sessions stay.

    Returns
    -------
    Course or Deny
        ``course_runs`` where a session is to come or runs.
    """
    with desk.ledger.transaction() as books:
        was, now = find_in(books, course), desk.clock()
        if not back and (live := _live(books, course, now)):
            return Deny(
                "course_runs",
                f"{was.title} has {live} session{'' if live == 1 else 's'} to come or running; cancel them first.",
            )
        changed = replace(was, archived_at=None if back else was.archived_at or now, version=was.version + 1)
        books.courses.update(changed)
        _note(desk, books, actor, "course.restore" if back else "course.archive", course, None, None, why)
        return changed


def _live(books: Books, course: str, now: datetime) -> int:
    """Count a course's sessions that are to come, run, or are not cleared yet."""
    return sum(one.course == course for one in books.sessions.live(now))


def _seat(course: Course) -> tuple[object, ...]:
    """Give what is reserved for each seat."""
    return course.gpus, course.models, course.kinds, course.memory


# --- rosters ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Enrolled:
    """What became of a roster: names that are new, that have another role now, and that were in it already."""

    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()


def enrol(
    desk: Desk,
    course: str,
    users: Collection[str],
    role: Role,
    actor: str,
    via: str = "roster",
    why: str = "",
    *,
    agreed: bool = False,
    lower: bool = True,
    roles: Mapping[str, Role] | None = None,
) -> Enrolled | Deny:
    """Put people into a course in a role; who is in it in another one changes it.

    Parameters
    ----------
    agreed
        Whether staff may enter their seats without asking them: an admin does this. See `Member.agreed_at`.
    lower
        Whether who is in it in a higher role gets this one; else they keep theirs.
    roles
        Of those who are to have another than `role`.

    Returns
    -------
    Enrolled or Deny
        ``invalid_option`` where a name cannot be a user's, ``course_archived``, ``last_instructor`` where nobody would
        be left to change the course.
    """
    if (wrong := _misnamed(users)) is not None:
        return wrong
    with desk.ledger.transaction() as books:
        found, now = find_in(books, course), desk.clock()
        if found.archived_at is not None:
            return Deny("course_archived", f"{found.title} is archived; bring it back first.")
        members = {one.user: one for one in books.courses.members(course)}
        there = {name: one.role for name, one in members.items()}
        wanted = {name: (roles or {}).get(name, role) for name in sorted({name.strip() for name in users})}
        new = [name for name in wanted if name not in there]
        other = [
            name
            for name, its in wanted.items()
            if name in there and there[name] is not its and (lower or above(its, there[name]))
        ]
        given = {name: wanted[name] for name in [*new, *other]}
        if not _instructed(there | given):
            return _LAST
        yes = now if agreed else None
        entered = [Member(course, name, wanted[name], now, actor, via, yes) for name in new]
        moved = [Member(course, name, wanted[name], now, actor, via, members[name].agreed_at or yes) for name in other]
        books.courses.put_members([*entered, *moved])
        for one in Role:
            if names := [name for name, its in given.items() if its is one]:
                _note(desk, books, actor, "course.enrol", course, None, {"role": one, "users": names}, why)
        kept = [name for name in wanted if name in there and name not in other]
        return Enrolled(tuple(new), tuple(other), tuple(kept))


def agree(desk: Desk, course: str, user: str) -> Member:
    """Let somebody agree that a course's staff enter their seat and collect from it.

    Raises
    ------
    UnknownName
        If they are not in it.
    """
    with desk.ledger.transaction() as books:
        member = books.courses.member(course, user)
        if member is None:
            raise UnknownName(f"{user} is not in a course {course!r}.")
        if member.agreed_at is not None:
            return member
        now = desk.clock()
        agreed = replace(member, agreed_at=now)
        books.courses.put_members([agreed])
        _note(desk, books, user, "course.agree", course, None, {"users": [user]}, "")
        return agreed


def expel(desk: Desk, course: str, users: Collection[str], actor: str, why: str = "") -> tuple[str, ...] | Deny:
    """Take people out of a course; gives who was in it. Their servers go on until they stop."""
    with desk.ledger.transaction() as books:
        find_in(books, course)
        there = {one.user: one.role for one in books.courses.members(course)}
        gone = sorted(set(users) & there.keys())
        if not _instructed({name: role for name, role in there.items() if name not in gone}):
            return _LAST
        books.courses.remove_members(course, gone)
        if gone:
            _note(desk, books, actor, "course.expel", course, {"users": gone}, None, why)
        return tuple(gone)


def _misnamed(users: Collection[str]) -> Deny | None:
    for name in users:
        if not name.strip() or not name.isprintable() or "/" in name:
            return Deny("invalid_option", f"No user can be called {name!r}.")
    return None


_LAST = Deny("last_instructor", "A course needs an instructor; make somebody else one first.")


def _instructed(roles: dict[str, Role]) -> bool:
    return Role.INSTRUCTOR in roles.values()


def _shown(course: Course) -> dict[str, Any]:
    """Give what audit tells of a course, without what never changes or stands elsewhere."""
    said = asdict(course)
    for name in ("id", "created_by", "created_at", "archived_at", "version"):
        del said[name]
    said["models"], said["kinds"] = sorted(course.models), sorted(course.kinds)
    said["most_ahead"] = None if course.most_ahead is None else f"{course.most_ahead}"
    return said


def _note(desk: Desk, books: Books, actor: str, action: str, course: str, before: Any, after: Any, why: str) -> None:
    if isinstance(before, dict) and isinstance(after, dict):
        same = {name for name in after if before.get(name) == after[name]}
        before, after = ({name: one[name] for name in one if name not in same} for one in (before, after))
    books.audit.append(AuditEntry(desk.clock(), actor, action, f"course {course}", before, after, why))
