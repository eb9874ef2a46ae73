"""Rosters from elsewhere: what one would change before it is taken over, and groups of the hub that courses follow."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from ..ledger import AuditEntry
from ..policy.classes import Member, Role, above
from ..policy.rosters import Mistake, parse
from .courses import Enrolled, find_in
from .desk import Desk


@dataclass(frozen=True, slots=True)
class Preview:
    """What a roster would change.

    Attributes
    ----------
    changed
        Names with the roles that they have now.
    kept
        Who is in the course in that role already, or in a higher one, which they keep.
    missing
        Who is in the course in a role that the roster gives, and not in the roster; they stay.
    roles
        What those are to be who are new or change.
    mistakes
        Lines that name nobody; with one of them nothing is taken over.
    """

    added: tuple[str, ...]
    changed: Mapping[str, Role]
    kept: tuple[str, ...]
    missing: tuple[str, ...]
    roles: Mapping[str, Role]
    mistakes: tuple[Mistake, ...]


def preview(desk: Desk, course: str, text: str, role: Role) -> Preview:
    """Tell what `spawner.operations.courses.enrol` would do with a roster, as people paste it; it lowers nobody.

    Parameters
    ----------
    role
        Of those for whom the roster says none.

    Raises
    ------
    UnknownName
        If there is no such course.
    """
    found = parse(text)
    with desk.ledger.reading() as books:
        find_in(books, course)
        there = {one.user: one.role for one in books.courses.members(course)}
    wanted = {name: found.roles.get(name, role) for name in found.users}
    added = tuple(name for name in wanted if name not in there)
    changed = {name: there[name] for name, its in wanted.items() if name in there and above(its, there[name])}
    given = set(wanted.values())
    return Preview(
        added=added,
        changed=changed,
        kept=tuple(name for name in wanted if name in there and name not in changed),
        missing=tuple(name for name, its in there.items() if its in given and name not in wanted),
        roles={name: wanted[name] for name in [*added, *changed]},
        mistakes=found.mistakes,
    )


def follow_group(desk: Desk, course: str, users: Collection[str], actor: str) -> tuple[Enrolled, tuple[str, ...]]:
    """Let a roster follow a group of the hub: gives who has come in, and who has gone.

    Who is in the course in another way, or in another role, stays what they are. An archived course follows nobody.

    Parameters
    ----------
    users
        Who is in the group now; nobody, if the course has none any more.
    """
    with desk.ledger.transaction() as books:
        found, now = find_in(books, course), desk.clock()
        if found.archived_at is not None:
            return Enrolled(), ()
        there = {one.user: one for one in books.courses.members(course)}
        wanted = {name for name in users if name.strip() and name.isprintable() and "/" not in name}
        new = sorted(wanted - there.keys())
        gone = sorted(
            name
            for name, one in there.items()
            if one.via == "group" and one.role is Role.STUDENT and name not in wanted
        )
        if not new and not gone:
            return Enrolled(kept=tuple(sorted(wanted))), ()
        books.courses.put_members([Member(course, name, Role.STUDENT, now, actor, "group") for name in new])
        books.courses.remove_members(course, gone)
        told = f"group {found.group}" if found.group else "no group any more"
        if new:
            after = {"role": Role.STUDENT, "users": new}
            books.audit.append(AuditEntry(now, actor, "course.enrol", f"course {course}", None, after, told))
        if gone:
            books.audit.append(AuditEntry(now, actor, "course.expel", f"course {course}", {"users": gone}, None, told))
        return Enrolled(added=tuple(new), kept=tuple(sorted(wanted & there.keys()))), tuple(gone)
