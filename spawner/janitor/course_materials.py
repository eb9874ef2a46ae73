"""Courses' materials kept fresh: fetched by git, or from a directory; and what files of courses nobody needs."""

import logging
import os
import time
from dataclasses import replace
from functools import partial

from ..course_directory import CourseDirectory
from ..errors import CourseFilesFailed
from ..operations import handouts, materials
from ..operations.materials import MaterialsState
from ..policy.classes import Course
from ..policy.materials import check_materials
from ..state import StateDirectory
from .course_collections import places_of
from .git import Git, left_behind
from .materials_fetch import fetch, public_only
from .materials_snapshot import snapshot
from .post import Post
from .steps import Step

_LOG = logging.getLogger("berth.janitor")
_LEFT_OVER = 3600.0  # seconds, after which a file that nobody knows is surely of a process that died


def materials_steps(post: Post) -> list[Step]:
    """Look at the materials of courses that meet soon, or whose source was changed; side by side."""
    return [
        Step(
            f"look at the materials of {course.id}, from {course.materials}",
            partial(_freshen, post, course, state),
            slow=True,
        )
        for course, state in materials.due(post.desk, places_of(post))
    ]


def _freshen(post: Post, course: Course, was: MaterialsState | None) -> bool:
    """Look at a course's materials; True if seats get others now, or are told of another problem."""
    places = places_of(post)
    same = was is not None and (was.source, was.wanted) == (course.materials, course.branch)
    now = post.desk.clock()
    # What seats get stays until there is something else.
    state = (
        replace(was, tried_at=now, source=course.materials, wanted=course.branch, problem="", failures=0, left_out=())
        if was is not None
        else MaterialsState(course.materials, course.branch, now)
    )
    if not same:
        state = replace(state, fresh_at=None, fingerprint="")
    try:
        state = replace(_bring(post, course, places.course(course.id).create(), state), fresh_at=now)
    except CourseFilesFailed as error:
        if was is None or was.problem != str(error):
            _LOG.warning("The materials of %s: %s", course.id, error)
        again = was is not None and was.problem == str(error)
        state = replace(state, problem=str(error), failures=1 + (was.failures if was is not None and again else 0))
    materials.keep_state(places, course.id, state)
    return was is None or (was.commit, was.problem) != (state.commit, state.problem)


def _bring(post: Post, course: Course, directory: CourseDirectory, state: MaterialsState) -> MaterialsState:
    settings = post.settings.classes
    wrong = check_materials(course.materials, course.branch, settings.materials, settings.git_hosts)
    if wrong is not None:
        raise CourseFilesFailed(wrong.reason)
    bundle = StateDirectory(post.settings.state_dir).certificates
    git = Git(directory.materials.absolute(), certificates=bundle.absolute() if bundle.is_file() else None)
    offered = settings.materials.get(course.materials)
    if offered is not None:
        found = snapshot(git, offered, state.fingerprint, post.desk.clock())
        state = replace(state, left_out=found.left_out, fingerprint=found.fingerprint)
        fetched = found.fetched
    else:
        pinned = public_only(course.materials, settings.git_hosts)
        fetched = fetch(git, course.materials, course.branch, pinned)
    return state if fetched is None else replace(state, commit=fetched.commit, branch=fetched.branch)


def tidy_steps(post: Post) -> list[Step]:
    """Remove files of courses that nobody knows: of pushes that came to nothing, of processes that died."""
    places = places_of(post)
    with post.desk.ledger.reading() as books:
        known = [course.id for course in books.courses.all(archived=True)]
    steps = []
    for course in known:
        directory = places.course(course)
        left = _left_over(post, course, directory) if directory.path.is_dir() else []
        if left:
            steps.append(Step(f"remove {len(left)} files of {course} that nobody knows", partial(_remove, left)))
    return steps


def _left_over(post: Post, course: str, directory: CourseDirectory) -> list[os.PathLike[str]]:
    old = time.time() - _LEFT_OVER
    parts = [*directory.path.glob(".part-*"), *left_behind(directory.materials)]
    named = handouts.unnamed(post.desk, course)
    pushed = [path for path in directory.pushes.glob("*") if path.name not in named]
    return [path for path in (*parts, *pushed) if path.lstat().st_mtime < old]


def _remove(left: list[os.PathLike[str]]) -> bool:
    for path in left:
        os.unlink(path)  # noqa: PTH108  of a path that may be any
    return bool(left)
