"""What the hub has to know of courses: their people, their groups, and that staff may enter their students' seats."""

import logging
import time
from collections.abc import Iterable
from functools import partial

from ..operations import course_rights, rosters
from ..operations.course_rights import Rights
from ..operations.repairs import JANITOR
from .class_work import Servers
from .hub import HubUnavailable, Server
from .post import Post
from .steps import Step

_LOG = logging.getLogger("berth.janitor")
EVERY = 5.0
_STOP_PATIENCE = 60.0
_ANEW_SECONDS = 120.0  # somebody may have changed the hub's side
_ANEW_NOW_SECONDS = 15.0  # of a class that meets: whom a provider gives groups as they sign in, it takes ours then


def roster_steps(post: Post) -> list[Step]:
    """Make the hub know the people of courses, where anything changed, and all of them every few minutes.

    A course whose steps were carried out is looked at once more: only what needs nothing is settled.
    """
    found = course_rights.all_rights(post.desk, ask=post.settings.classes.ask_students)
    work, hub = post.classes, post.hub
    if not found or hub is None:
        return []
    # Outside of sessions nobody has a seat that staff may enter.
    servers = work.servers(hub, EVERY) if any(one.meets for one in found) else None
    changed = []
    for one in found:
        looks_like = (one, _seats(one, servers or {}))
        known = work.settled.get(one.course.id)
        patience = _ANEW_NOW_SECONDS if one.meets else _ANEW_SECONDS
        if known is None or known[0] != looks_like or time.monotonic() - known[1] > patience:
            changed.append((one, looks_like))
    if not changed:
        return []
    users, groups = hub.users(), hub.groups()
    servers = work.servers(hub, EVERY) if servers is None else servers
    steps: list[Step] = []
    for one, looks_like in changed:
        # What somebody has no right to waits for nothing.
        needed = [*_of_former_staff(post, one, servers), *_of_shares(post, one, users, servers)]
        needed += _of_group(post, one, groups) or [*_of_people(post, one, users), *_of_groups(post, one, users, groups)]
        if not needed:
            work.settled[one.course.id] = looks_like, time.monotonic()
        steps += needed
    return steps


def _seats(rights: Rights, servers: Servers) -> frozenset[str]:
    """Tell which of the seats that staff may enter run."""
    course = rights.course.id
    return frozenset(
        user for user in rights.seats if (one := servers.get((user, course))) and one.course == course and not one.staff
    )


def _of_group(post: Post, rights: Rights, groups: dict[str, frozenset[str]]) -> list[Step]:
    """Let a course's students be those of its group of the hub; a group that is gone changes nothing."""
    course = rights.course
    if course.archived_at is not None or (course.group and course.group not in groups):
        return []
    members = groups[course.group] if course.group else frozenset()
    wanted = {name for name in members if name.strip() and name.isprintable() and "/" not in name}
    everybody = {*rights.students, *rights.staff}
    if wanted <= everybody and rights.by_group <= wanted:
        return []
    text = f"let the roster of {course.id} follow the group {course.group or '(none any more)'}"

    def follow() -> bool:
        enrolled, gone = rosters.follow_group(post.desk, course.id, wanted, JANITOR)
        return bool(enrolled.added or gone)

    return [Step(text, follow)]


def _of_people(post: Post, rights: Rights, users: Iterable[str]) -> list[Step]:
    missing = sorted({*rights.students, *rights.staff} - set(users))
    if not missing or rights.course.archived_at is not None:
        return []
    return [
        Step(f"make the users of {rights.course.id} at the hub: {', '.join(missing)}", partial(_make, post, missing))
    ]


def _make(post: Post, names: list[str]) -> bool:
    made = []
    for name in names:
        try:
            made.append(post.require_hub().make_user(name))
        except HubUnavailable as error:
            if error.passing:
                raise
            _LOG.warning("The user %s could not be made: %s", name, error)
    return any(made)


def _of_groups(post: Post, rights: Rights, users: Iterable[str], groups: dict[str, frozenset[str]]) -> list[Step]:
    """Let a course's groups be its roster; those of one that is archived are empty."""
    course, known, steps = rights.course, frozenset(users), []
    archived = course.archived_at is not None
    for group, members in ((course.students_group, rights.students), (course.staff_group, rights.staff)):
        wanted = frozenset() if archived else frozenset(members) & known
        if group not in groups and archived:
            continue
        if groups.get(group) != wanted:
            text = f"let the hub's group {group} be {', '.join(sorted(wanted)) or 'empty'}"
            steps.append(Step(text, partial(post.require_hub().set_group, group, wanted)))
    return steps


def _of_shares(post: Post, rights: Rights, users: Iterable[str], servers: Servers) -> list[Step]:
    """Let staff enter their students' seats in a session, and nobody else or any longer.

    What was given stands in the ledger: who is in no group and no course any more may still have it.
    """
    course, hub = rights.course, post.require_hub()
    staff = frozenset() if course.archived_at is not None else rights.staff & frozenset(users)
    there = {(owner, user) for user in staff for owner, server in hub.shared_with(user) if server == course.id}
    give = {(owner, user) for owner in _seats(rights, servers) for user in staff} - (there & rights.shares)
    # A seat that has stopped stays shared: it is the same server that starts again.
    owners = {owner for owner in rights.seats if not _is_own(course.id, servers.get((owner, course.id)))}
    leave = {(owner, user) for owner, user in there | rights.shares if owner not in owners or user not in staff}
    return [
        *(
            Step(f"let {user} enter the seat {owner}/{course.id}", partial(_share, post, course.id, owner, user))
            for owner, user in sorted(give)
        ),
        *(
            Step(f"let {user} no longer enter {owner}/{course.id}", partial(_unshare, post, course.id, owner, user))
            for owner, user in sorted(leave)
        ),
    ]


def _is_own(course: str, server: Server | None) -> bool:
    return server is not None and server.told and (server.course != course or server.staff)


def _share(post: Post, course: str, owner: str, user: str) -> bool:
    course_rights.give_share(post.desk, course, owner, user)
    return post.require_hub().share(owner, course, user)


def _unshare(post: Post, course: str, owner: str, user: str) -> bool:
    taken = post.require_hub().unshare(owner, course, user)
    return course_rights.forget_share(post.desk, course, owner, user) or taken


def _of_former_staff(post: Post, rights: Rights, servers: Servers) -> list[Step]:
    """Stop the servers of those who are no staff any more: all that is collected can be read there, now and later."""
    course = rights.course.id
    return [
        Step(f"stop {user}/{course}, who is no staff of it any more", partial(_stop, post, course, user), slow=True)
        for (user, name), one in servers.items()
        if name == one.course == course and one.staff and user not in rights.staff
    ]


def _stop(post: Post, course: str, user: str) -> bool:
    hub = post.require_hub()
    hub.save(user, course)
    if not hub.stop(user, course, _STOP_PATIENCE):
        return False
    course_rights.stopped(post.desk, course, user)
    return True
