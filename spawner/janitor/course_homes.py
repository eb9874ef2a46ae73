"""Homes that archived courses have left behind, put away."""

from functools import partial

from ..operations import course_homes
from ..operations.course_homes import Unused
from ..policy.names import home_volume_prefix
from .post import Post
from .steps import Step

_AT_ONCE = 50  # of each the hub is asked


def course_home_steps(post: Post) -> list[Step]:
    """Wish homes into the archive whose owners have no server but those of courses that are archived, too."""
    hub = post.hub
    if hub is None:
        return []  # the command line has no token of the hub's
    steps = []
    for one in course_homes.left_behind(post.desk, home_volume_prefix(post.hub_id))[:_AT_ONCE]:
        used = hub.used_servers(one.home.owner)
        # Whom the hub does not know, the rule for deleted users' homes is about.
        if used is not None and used <= one.courses:
            steps.append(_step(post, one))
    return steps


def _step(post: Post, one: Unused) -> Step:
    text = f"wish the home of {one.home.owner} into the archive, for the course {one.course.id} is"
    return Step(text, partial(course_homes.put_away, post.desk, one))
