"""Volumes that stood for homes in exams, removed when they are over for long and their work was collected."""

import logging
from datetime import timedelta
from functools import partial

from ..engine.volumes import exam_volumes, remove_volume
from ..operations import exams
from .course_materials import tidy_steps
from .post import Post
from .steps import Step

_LOG = logging.getLogger("berth.janitor")


def leftover_steps(post: Post) -> list[Step]:
    """Remove what classes have left behind: files that nobody knows, and volumes of exams."""
    return [*tidy_steps(post), *exam_volume_steps(post)]


def exam_volume_steps(post: Post) -> list[Step]:
    days = post.settings.classes.exam_days
    if not days:
        return []
    found = {(one.session, one.user): one.name for one in exam_volumes(post.engine, post.hub_id)}
    gone = exams.done_with(post.desk, found, timedelta(days=days))
    return [
        Step(f"remove {found[key]}, {key[1]}'s home in the exam {key[0]}", partial(_remove, post, found[key]))
        for key in sorted(gone)
    ]


def _remove(post: Post, volume: str) -> bool:
    reason = remove_volume(post.engine, volume)
    if reason:
        _LOG.warning("%s", reason)
    return not reason
