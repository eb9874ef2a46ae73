"""What the hub has to know of courses: their people, their groups, and that staff may enter their students' seats."""

import logging
import time
from collections.abc import Iterable
from functools import partial

from ..operations import course_rights, rosters
from ..operations.course_rights import Rights
from ..operations.repairs import JANITOR
from .class_work import Servers
from .hub import HubUnavailable
from .post import Post
from .steps import Step

_LOG = logging.getLogger("berth.janitor")
EVERY = 5.0
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
    servers = work.servers(hub, EVERY) if any(one.meets for one in found) else {}
    changed = []
    for one in found:
        looks_like = (one, _seats(one, servers))
        known = work.settled.get(one.course.id)
        patience = _ANEW_NOW_SECONDS if one.meets else _ANEW_SECONDS
        if known is None or known[0] != looks_like or time.monotonic() - known[1] > patience:
            changed.append((one, looks_like))
    if not changed:
        return []
    users, groups = hub.users(), hub.groups()
    steps: list[Step] = []
    for one, looks_like in changed:
        needed = _of_group(post, one, groups) or [
            *_of_people(post, one, users),
            *_of_groups(post, one, users, groups),
            *_of_shares(post, one, users, servers),
        ]
        if not needed:
            work.settled[one.course.id] = looks_like, time.monotonic()
        steps += needed
    return steps


def _seats(rights: Rights, servers: Servers) -> frozenset[str]:
    return frozenset(user for user in rights.seats if (user, rights.course.id) in servers)


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
            leave = groups.get(group, frozenset()) - wanted if group == course.staff_group else frozenset()
            steps.append(Step(text, partial(_set_group, post, course.id, group, wanted, leave)))
    return steps


def _set_group(post: Post, course: str, group: str, members: frozenset[str], leave: frozenset[str]) -> bool:
    """Change a group; who leaves the staff first loses what they could enter, or nobody would think of it any more."""
    hub = post.require_hub()
    for user in sorted(leave):
        for owner, server in hub.shared_with(user):
            if server == course:
                hub.unshare(owner, server, user)
    return hub.set_group(group, members)


def _of_shares(post: Post, rights: Rights, users: Iterable[str], servers: Servers) -> list[Step]:
    """Let staff enter their students' seats that run, and nobody's else."""
    course, hub, steps = rights.course, post.require_hub(), []
    if course.archived_at is not None:
        return []
    running = _seats(rights, servers)
    for user in sorted(rights.staff & frozenset(users)):
        shared = {owner for owner, server in hub.shared_with(user) if server == course.id}
        steps += [
            Step(f"let {user} enter the seat {owner}/{course.id}", partial(hub.share, owner, course.id, user))
            for owner in sorted(running - shared)
        ]
        # A seat that has stopped stays shared while its student is in the course: it is the same server that starts
        # again.
        steps += [
            Step(f"let {user} no longer enter {owner}/{course.id}", partial(hub.unshare, owner, course.id, user))
            for owner in sorted(shared - rights.seats)
        ]
    return steps
