"""Work taken out of homes at the end of sessions, and when staff ask for it."""

import logging
import os
from functools import partial
from pathlib import Path

from ..course_directory import CourseDirectory, Places, file_part
from ..engine.collecting import NothingThere, take
from ..engine.volumes import HomeVolume, home_volume
from ..errors import CourseFilesFailed
from ..operations import collections
from ..operations.collections import ToCollect
from ..policy.handouts import Collected
from ..policy.names import exam_volume_name, home_volume_name
from ..state import StateDirectory
from .class_work import Key
from .post import Post
from .steps import Step

_LOG = logging.getLogger("berth.janitor")
_AT_A_TURN = 24  # seats; a class of hundreds holds up no other's for longer than these take


class _Stopped(Exception):
    """The process is to end."""


def places_of(post: Post) -> Places:
    """Give where this deployment's courses keep their files."""
    return Places(StateDirectory(post.settings.state_dir).courses, post.settings.classes.push_bytes)


def collection_steps(post: Post) -> list[Step]:
    """Collect the work of sessions that are over, and what staff have asked for; some of it at a turn."""
    found = collections.due(post.desk, ask=post.settings.classes.ask_students)
    found.sort(key=lambda one: post.classes.put_off[_key(one)])
    return [
        Step(
            f"collect {one.folder or 'all'} of {one.user}'s home for {one.course.id}",
            partial(_collect, post, one),
            slow=True,
        )
        for one in found[:_AT_A_TURN]
    ]


def _key(wanted: ToCollect) -> Key:
    return wanted.session.id, wanted.user


def _collect(post: Post, wanted: ToCollect) -> bool:
    post.classes.put_off[_key(wanted)] += 1
    done = _take(post, wanted)
    del post.classes.put_off[_key(wanted)]
    return done


def _take(post: Post, wanted: ToCollect) -> bool:
    if post.stopping.is_set():
        return False
    taken_at = post.desk.clock()
    said = Collected("", wanted.session.id, wanted.user, wanted.folder, taken_at, "", 0, 0, "")
    if not wanted.agreed:
        collections.note(post.desk, said, problem="They have not agreed yet that work is collected from their home.")
        return True
    if wanted.runs and post.hub is not None and not post.hub.save(wanted.user, wanted.course.id):
        _LOG.info("The seat %s/%s could not be asked to save", wanted.user, wanted.course.id)
    volume = home_volume(post.engine, _volume(post, wanted))
    directory = places_of(post).course(wanted.course.id)
    try:
        _keep(post, directory, _reachable(volume), said)
    except _Stopped:
        return False
    except NothingThere as error:
        collections.note(post.desk, said, problem=str(error))
    except CourseFilesFailed as error:
        _LOG.error("The work of %s in %s was not collected: %s", wanted.user, wanted.course.id, error)
        collections.note(post.desk, said, problem=str(error))
    return True


def _volume(post: Post, wanted: ToCollect) -> str:
    if wanted.session.exam:
        return exam_volume_name(post.hub_id, wanted.session.id, wanted.user)
    return home_volume_name(post.hub_id, wanted.user)


def _reachable(volume: HomeVolume | None) -> Path:
    if volume is None:
        raise NothingThere("There is no home: no server has run with it, or it is in the archive.")
    if volume.mounted and not os.path.ismount(volume.path):
        raise CourseFilesFailed("The home lies elsewhere, and is mounted only while a server runs with it.")
    try:
        if Path(volume.path).is_dir():
            return Path(volume.path)
    except OSError:
        pass
    raise CourseFilesFailed(
        f"{volume.path}, where the engine keeps the home, cannot be read. The janitor has to run as root, on the "
        "engine's machine."
    )


def _keep(post: Post, directory: CourseDirectory, home: Path, said: Collected) -> None:
    """Write the archive, and note it; both or none."""

    def pulse() -> None:
        if post.stopping.is_set():
            raise _Stopped

    target = directory.archive(said.session, said.user, said.taken_at)
    with directory.new_file() as (file, part):
        taken = take(home, said.folder, file, file_part(said.user), post.settings.classes.collect_bytes, pulse)
        try:
            os.fchmod(file.fileno(), 0o644)  # staff read it in their seats, under another uid
            if not target.parent.is_dir():
                target.parent.mkdir(exist_ok=True)
                target.parent.chmod(0o755)
            target.hardlink_to(part)  # never over another
            _sync(target.parent)
        except OSError as error:
            raise CourseFilesFailed(f"The archive could not be kept: {target}: {error.strerror}.") from error
    try:
        collections.note(
            post.desk,
            said,
            archive=str(target.relative_to(directory.collected)),
            files=taken.files,
            size=taken.size,
            sha256=taken.sha256,
            problem=taken.problem,
        )
    except BaseException:
        target.unlink(missing_ok=True)  # of which nobody would know
        raise


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
