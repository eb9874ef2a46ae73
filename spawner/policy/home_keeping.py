"""What the janitor makes of users' homes: what it sees of them, and the steps of carrying a wish out.

Each step gives the home as it is afterwards, or None where whoever takes it has lost the claim.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from .homes import (
    JANITOR,
    RESTS,
    STALE,
    Answer,
    DeletedUsers,
    Home,
    HomeState,
    Phase,
    ask_archive,
    ask_delete,
    cancel,
    renewed,
    settle,
)
from .model import Deny

SURELY_GONE = timedelta(hours=1)  # the hub's word that there is no such user has to hold for so long
_NOTE_EVERY = timedelta(minutes=10)  # of a home that is in use

# --- what the janitor sees ----------------------------------------------------------------------------------------


def seen(home: Home, there: bool, in_use: bool, looked_at: datetime) -> Home | None:
    """Take over whether there is a volume, and whether a running container has it.

    Returns
    -------
    Home or None
        None where there never was one: the start that was to make it has failed.
    """
    if not there:
        gone = home.state is HomeState.PRESENT and not home.starting(looked_at) and home.state_since < looked_at - STALE
        if not gone:
            return replace(home, in_use=False)
        if home.last_used_at is None:
            return None
        found = settle(home, HomeState.DELETED, looked_at)
        return replace(found, in_use=False, error="Its volume was removed, and not by Berth.")
    if home.state is HomeState.DELETED and home.state_since < looked_at:
        home = renewed(home, looked_at)
    noted = home.last_used_at
    if in_use != home.in_use or (in_use and (noted is None or noted + _NOTE_EVERY <= looked_at)):
        noted = looked_at if noted is None else max(noted, looked_at)
    return replace(home, in_use=in_use, last_used_at=noted)


def measured(home: Home, size: int | None, newest: datetime | None, now: datetime) -> Home:
    """Take over what a measurement found: None where it could not be measured, and keeps the size it had.

    Parameters
    ----------
    newest
        When a file in it changed last, by the file's own word.
    """
    used = home.last_used_at
    if newest is not None and newest <= now and (used is None or used < newest):
        used = newest
    return replace(home, size=home.size if size is None else size, measured_at=now, last_used_at=used)


def to_be_measured(home: Home, every: timedelta, now: datetime) -> bool:
    """Tell whether a home's size may have changed since it was measured; one that nobody uses keeps its size."""
    if home.state is not HomeState.PRESENT or not every:
        return False
    if home.measured_at is None:
        return True
    used = home.in_use or (home.last_used_at is not None and home.last_used_at > home.measured_at)
    return used and home.measured_at + every <= now


def retire(home: Home, known: bool, rule: DeletedUsers, grace: timedelta, now: datetime) -> Home:
    """Take over whether the hub knows a home's owner, and do what the rule says for who is gone.

    Parameters
    ----------
    known
        Whether the hub has a user of the owner's name.
    """
    if known:
        if home.owner_gone_at is None:
            return home
        back = replace(home, owner_gone_at=None, kept=False)
        if back.state in RESTS or back.asked_by != JANITOR:
            return back
        cancelled = cancel(back, JANITOR, "its owner is back", now)
        return back if isinstance(cancelled, Deny) else cancelled
    if home.owner_gone_at is None:
        return replace(home, owner_gone_at=now)
    if home.kept or home.error or now < home.owner_gone_at + SURELY_GONE:
        return home
    answer: Answer = home
    if rule is DeletedUsers.ARCHIVE:
        answer = ask_archive(home, JANITOR, "its owner was deleted", now)
    elif rule is DeletedUsers.DELETE:
        answer = ask_delete(home, JANITOR, "its owner was deleted", now + grace, now)
    return home if isinstance(answer, Deny) else answer


# --- carrying wishes out ------------------------------------------------------------------------------------------


def due(home: Home, now: datetime) -> bool:
    """Tell whether there is something that the janitor may do with a home now."""
    if home.worked_on(now):
        return False
    if home.state in RESTS:
        return bool(home.archive) and not home.archived
    if home.state is HomeState.RESTORING or home.phase is not Phase.OPEN:
        return True
    if home.starting(now) or (home.in_use and not home.archived):
        return False
    return home.state is HomeState.ARCHIVING or (home.delete_at is not None and home.delete_at <= now)


def claim(home: Home, worker: str, now: datetime) -> Home | None:
    """Let a worker carry out what is due; None if nothing is, or another is at it."""
    if not due(home, now):
        return None
    claimed = replace(home, worker=worker, beat_at=now, done=0)
    if home.state is HomeState.ARCHIVING and not home.archive:
        return replace(claimed, archive=f"{home.volume}-{now:%Y%m%dT%H%M%S}.tar.gz")
    return claimed


def beat(home: Home, worker: str, done: int, now: datetime) -> Home | None:
    """Keep a claim; None where it is lost, because the wish was taken back or another worker has taken over."""
    return None if home.worker != worker else replace(home, beat_at=now, done=done)


def pass_point(home: Home, worker: str, phase: Phase, now: datetime) -> Home | None:
    """Pass the point of no return; None where the claim is lost, or somebody is about to use the home."""
    if home.worker != worker or (home.starting(now) and not home.archived):
        return None
    return replace(home, phase=phase, beat_at=now)


def seal(home: Home, worker: str, size: int, sha256: str, labels: Mapping[str, str], now: datetime) -> Home | None:
    """Trust an archive, which is verified and on the disk, with the home's files."""
    if home.state is not HomeState.ARCHIVING:
        return None
    passed = pass_point(home, worker, Phase.SEALED, now)
    if passed is None:
        return None
    return replace(passed, archive_size=size, archived_at=now, sha256=sha256, labels=dict(labels))


def finished(home: Home, worker: str, now: datetime) -> Home | None:
    """Note that a wish is carried out."""
    if home.worker != worker:
        return None
    if home.state is HomeState.ARCHIVING:
        return settle(home, HomeState.ARCHIVED, now) if home.archived else None
    if home.state is HomeState.RESTORING:
        # The archive's file is left over; its name stays until it is removed.
        restored = replace(home, sha256="", archive_size=None, archived_at=None, last_used_at=now)
        return settle(restored, HomeState.PRESENT, now)
    if home.state is HomeState.DELETING:
        gone = replace(home, sha256="", archive="", archive_size=None, archived_at=None, size=None, measured_at=None)
        return settle(gone, HomeState.DELETED, now)
    return replace(home, archive="", worker="", beat_at=None)


def failed(home: Home, worker: str, error: str, now: datetime) -> Home | None:
    """Give a wish up. One whose point of no return is passed stays, and is tried again."""
    if home.worker != worker:
        return None
    undone = home.phase is Phase.OPEN or home.phase is Phase.FILLING
    if home.state in RESTS or not undone:
        return postponed(home, worker, error)
    return replace(settle(home, home.rest, now), error=error)


def postponed(home: Home, worker: str, error: str = "") -> Home | None:
    """Give a claim back; the wish is carried out later."""
    if home.worker != worker:
        return None
    return replace(home, worker="", beat_at=None, error=error)
