"""Homes archived, restored and deleted: one wish carried out, so that its files always are in one place or the other.

A volume is removed only when the archive is on the disk, compared with it, and noted in the ledger; an archive only
when the volume is filled, on the disk, and noted. Whoever is killed in between leaves a claim that goes stale, and the
next one begins where nothing is lost.
"""

import logging
import os
import secrets
import socket
import time
from collections.abc import Callable
from pathlib import Path

from ..engine import archives
from ..engine.volumes import HomeVolume, holders, home_volume, make_volume, remove_volume
from ..errors import ArchiveFailed, BerthError, LedgerUnavailable
from ..operations import home_work as work
from ..policy.homes import RESTS, Home, HomeState, Phase
from .post import Post

_LOG = logging.getLogger("berth.janitor")
_BEAT_SECONDS = 2.0
_SILENT_SECONDS = 60.0  # while the ledger does not answer; well before the claim goes stale

Checkpoint = Callable[[str], None]
"""Called before each step with its name; for tests, which end the process there."""


class _TakenBack(Exception):
    """The wish does not hold any more, or another has taken over."""


class _Stopped(Exception):
    """The process is to end."""


class _Waits(Exception):
    """Something is in the way that goes away by itself, or by a person."""


def carry_out(post: Post, home: Home, checkpoint: Checkpoint = lambda _step: None) -> bool:
    """Carry out what is wished for a home; False if it is not wished any more, another is at it, or it has to wait.

    Raises
    ------
    EngineUnavailable, LedgerUnavailable
        Then it is tried again later.
    """
    worker = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
    claimed = work.claim(post.desk, home.volume, worker)
    if claimed is None:
        return False
    return _Mover(post, claimed, worker, checkpoint).run()


class _Mover:
    def __init__(self, post: Post, home: Home, worker: str, checkpoint: Checkpoint) -> None:
        self._post, self._home, self._worker, self._reached = post, home, worker, checkpoint
        self._beaten = time.monotonic()

    def run(self) -> bool:
        desk, volume, home = self._post.desk, self._home.volume, self._home
        carry = {
            HomeState.ARCHIVING: self._archive,
            HomeState.RESTORING: self._restore,
            HomeState.DELETING: self._delete,
        }.get(home.state, self._tidy)
        if home.state not in RESTS:
            _LOG.info("The home of %s: %s begins", home.owner, home.state)
        try:
            carry()
        except _TakenBack:
            _LOG.info("The home of %s: %s was taken back", home.owner, home.state)
            return False
        except _Stopped:
            work.postpone(desk, volume, self._worker)
            return False
        except _Waits as error:
            work.postpone(desk, volume, self._worker, str(error))
            return False
        except ArchiveFailed as error:
            _LOG.error("The home of %s: %s failed: %s", home.owner, home.state, error)
            work.fail(desk, volume, self._worker, str(error))
            return True
        except BerthError as error:
            work.postpone(desk, volume, self._worker, str(error))
            raise
        except Exception as error:
            work.postpone(desk, volume, self._worker, f"{type(error).__name__}: {error}")
            raise
        self._reached("done")
        return True

    # --- archiving

    def _archive(self) -> None:
        home, desk = self._home, self._post.desk
        if home.phase is Phase.SEALED:
            archives.check_there(self._file, home.archive_size or 0)
        else:
            volume = self._unused_volume()
            packed = archives.pack(Path(volume.path), self._file, self._pulse)
            self._unused_volume()
            self._reached("before seal")
            sealed = work.seal(desk, home.volume, self._worker, packed.size, packed.sha256, volume.labels)
            if sealed is None:
                raise _TakenBack
        self._reached("sealed")
        self._remove_volume()
        self._reached("volume removed")
        self._finish()

    # --- restoring

    def _restore(self) -> None:
        home, desk, engine = self._home, self._post.desk, self._post.engine
        archives.check_there(self._file, home.archive_size or 0)
        if home.phase is Phase.FILLING:
            self._remove_part()
        elif home_volume(engine, home.volume) is not None:
            raise ArchiveFailed(
                f"{home.owner} has a new home by now, the volume {home.volume}. Save what is in it and remove it, "
                "then restore again."
            )
        elif work.pass_point(desk, home.volume, self._worker, Phase.FILLING) is None:
            raise _TakenBack
        self._reached("before volume")
        volume = make_volume(engine, home.volume, home.labels)
        self._reached("volume made")
        try:
            archives.unpack(self._file, self._reachable(volume), home.sha256, self._pulse)
        except ArchiveFailed:
            self._remove_part()
            raise
        self._reached("before finish")
        self._finish()

    def _remove_part(self) -> None:
        """Remove what there is of a volume that was not filled; nobody has ever used it."""
        reason = remove_volume(self._post.engine, self._home.volume)
        if reason:
            raise _Waits(reason)

    # --- deleting

    def _delete(self) -> None:
        home = self._home
        if home.phase is Phase.OPEN:
            if not home.archived and home_volume(self._post.engine, home.volume) is not None:
                self._unused_volume()
            self._reached("before removal")
            if work.pass_point(self._post.desk, home.volume, self._worker, Phase.REMOVING) is None:
                raise _TakenBack
        self._reached("removing")
        if not home.archived:
            self._remove_volume()
        self._reached("volume removed")
        if home.archive:
            archives.discard(self._file)
        self._reached("before finish")
        self._finish()

    def _tidy(self) -> None:
        archives.discard(self._file)
        self._reached("before finish")
        self._finish()

    # --- what they share

    @property
    def _file(self) -> Path:
        return self._post.archive_dir / self._home.archive

    def _unused_volume(self) -> HomeVolume:
        home, engine = self._home, self._post.engine
        volume = home_volume(engine, home.volume)
        if volume is None:
            raise ArchiveFailed(f"There is no volume {home.volume} on the engine.")
        having = holders(engine, home.volume)
        if having:
            raise ArchiveFailed(f"The home is in use by {', '.join(having)}. Stop and remove that, then try again.")
        if volume.mounted:
            raise ArchiveFailed(
                f"The volume {home.volume} has a driver or options of its own, so its files lie elsewhere. Archive or "
                "delete them there."
            )
        self._reachable(volume)
        return volume

    def _reachable(self, volume: HomeVolume) -> Path:
        path = Path(volume.path)
        try:
            if path.is_dir():
                return path
        except OSError:
            pass
        raise ArchiveFailed(
            f"{path}, where the engine keeps the home, cannot be read. The janitor has to run as root, on the engine's "
            "machine."
        )

    def _remove_volume(self) -> None:
        reason = remove_volume(self._post.engine, self._home.volume)
        if reason:
            raise ArchiveFailed(reason)

    def _finish(self) -> None:
        if work.finish(self._post.desk, self._home.volume, self._worker) is None:
            raise _TakenBack

    def _pulse(self, step: str, done: int) -> None:
        """Say now and then that the work goes on, and hear whether it still is to."""
        self._reached(step)
        if self._post.stopping.is_set():
            raise _Stopped
        now = time.monotonic()
        if step in {"writing", "checking", "unpacking"} and now < self._beaten + _BEAT_SECONDS:
            return
        try:
            if not work.beat(self._post.desk, self._home.volume, self._worker, done):
                raise _TakenBack
        except LedgerUnavailable:
            if now > self._beaten + _SILENT_SECONDS:
                raise
        else:
            self._beaten = now
