"""Users' homes: what may follow what, so that a home's files always are in its volume or in a verified archive.

A home rests as PRESENT (in its volume), ARCHIVED (in a file) or DELETED. A person, or the rule for deleted users'
homes, wishes for another rest; from then on it is ARCHIVING, RESTORING or DELETING until the janitor has done it. Each
wish has a point of no return, its `Phase`; before that it can be taken back, and an owner who starts a server takes it
back. What fails brings the home back to where it rested, with `error` saying why.
"""

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from .model import Deny

JANITOR = "janitor"
"""Who asks for what the rule for deleted users' homes says."""

START_HOLD = timedelta(seconds=150)  # from the word that a container is made until the engine knows it, or gave up
STALE = timedelta(minutes=2)  # without a word, after which a worker is taken for dead


class HomeState(enum.StrEnum):
    """Where a home is, or where it is going."""

    PRESENT = "present"
    ARCHIVING = "archiving"
    ARCHIVED = "archived"
    RESTORING = "restoring"
    DELETING = "deleting"
    DELETED = "deleted"


class Phase(enum.StrEnum):
    """How far a wish is that cannot be taken back any more."""

    OPEN = ""
    SEALED = "sealed"  # the archive is verified; the volume is being removed
    FILLING = "filling"  # the volume is being made from the archive; what there is of it is ours to remove
    REMOVING = "removing"


class DeletedUsers(enum.StrEnum):
    """What becomes of the home of a user whom the hub does not know any more."""

    KEEP = "keep"
    ARCHIVE = "archive"
    DELETE = "delete"


RESTS = frozenset({HomeState.PRESENT, HomeState.ARCHIVED, HomeState.DELETED})


@dataclass(frozen=True, slots=True)
class Home:
    """A user's home.

    Attributes
    ----------
    volume
        Name of its volume on the engine, also while there is none.
    state_since
        Last change of `state`.
    version
        Rises with each wish and each change of state.
    size
        Bytes on disk, when it was last measured.
    last_used_at
        When a container had it last, or a file in it changed.
    in_use
        Whether a container ran with it at the last look.
    start_until
        A server is being started with it; until then it may not be touched, even if the engine knows no container yet.
    owner_gone_at
        Since when the hub does not know its owner.
    kept
        Whether somebody decided against what the rule for deleted users' homes would do.
    asked_at, asked_by, why
        The last wish.
    delete_at
        When the wish to delete it is carried out at the earliest.
    worker, beat_at, done
        Who carries the wish out, when they last said so, and how many bytes are done.
    archive
        Name of the archive's file; of one that is left over where `sha256` is empty.
    archive_size, archived_at, sha256
        Of the verified archive; bytes, digest in hexadecimal digits.
    labels
        The volume's.
    error
        Why the last wish came to nothing, or why it waits; empty if nothing is wrong.
    """

    volume: str
    owner: str
    state: HomeState
    state_since: datetime
    version: int = 1
    size: int | None = None
    measured_at: datetime | None = None
    last_used_at: datetime | None = None
    in_use: bool = False
    start_until: datetime | None = None
    owner_gone_at: datetime | None = None
    kept: bool = False
    asked_at: datetime | None = None
    asked_by: str = ""
    why: str = ""
    delete_at: datetime | None = None
    phase: Phase = Phase.OPEN
    worker: str = ""
    beat_at: datetime | None = None
    done: int = 0
    archive: str = ""
    archive_size: int | None = None
    archived_at: datetime | None = None
    sha256: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    error: str = ""

    @property
    def archived(self) -> bool:
        """Whether its files are in a verified archive."""
        return bool(self.sha256)

    @property
    def rest(self) -> HomeState:
        """Where its files are while nothing is done with them."""
        if self.state is HomeState.DELETED:
            return HomeState.DELETED
        return HomeState.ARCHIVED if self.archived else HomeState.PRESENT

    @property
    def to_do(self) -> int | None:
        """Bytes that carrying out the wish has to go through; None where that is unknown."""
        return self.archive_size if self.state is HomeState.RESTORING else self.size

    def worked_on(self, now: datetime) -> bool:
        return bool(self.worker) and self.beat_at is not None and now < self.beat_at + STALE

    def starting(self, now: datetime) -> bool:
        return self.start_until is not None and now < self.start_until


Answer = Home | Deny


# --- wishes -------------------------------------------------------------------------------------------------------


def ask_archive(home: Home, by: str, why: str, now: datetime) -> Answer:
    """Wish to pack a home into an archive and to remove its volume."""
    refused = _unless(home, {HomeState.PRESENT}) or _while_used(home, now, "archived")
    return refused or _wish(home, HomeState.ARCHIVING, by, why, now)


def ask_restore(home: Home, by: str, why: str, now: datetime) -> Answer:
    """Wish to have a home back in its volume."""
    refused = _unless(home, {HomeState.ARCHIVED})
    if refused:
        return refused
    # Somebody wants to look into a deleted user's home: the rule must not put it away again at once.
    return replace(_wish(home, HomeState.RESTORING, by, why, now), kept=home.kept or home.owner_gone_at is not None)


def ask_delete(home: Home, by: str, why: str, delete_at: datetime, now: datetime) -> Answer:
    """Wish to remove a home for good, its volume or its archive, not before `delete_at`."""
    refused = _unless(home, {HomeState.PRESENT, HomeState.ARCHIVED}) or _while_used(home, now, "deleted")
    return refused or replace(_wish(home, HomeState.DELETING, by, why, now), delete_at=max(delete_at, now))


def cancel(home: Home, by: str, why: str, now: datetime) -> Answer:
    """Take a wish back, as long as nothing has been done that cannot be undone."""
    if home.state in RESTS:
        return Deny("home_at_rest", f"Nothing is to be done with the home of {home.owner}: {_SAID[home.state]}.")
    if home.phase is not Phase.OPEN or (home.state is HomeState.RESTORING and home.worker):
        cure = {
            HomeState.ARCHIVING: "restore it when that is done",
            HomeState.RESTORING: "archive it again when that is done",
        }.get(home.state, "it cannot be brought back")
        return Deny("too_late", f"It is too late: the home of {home.owner} {_SAID[home.state]}; {cure}.")
    kept = home.kept or (home.owner_gone_at is not None and by != JANITOR)
    return replace(settle(home, home.rest, now), asked_at=now, asked_by=by, why=why, kept=kept)


def start(home: Home, now: datetime) -> Answer:
    """Say what a server's start, by the home's owner, makes of it.

    Who comes back takes back what is not done yet. An archived home is wished back.

    Returns
    -------
    Home
        In state PRESENT, held for the start; or RESTORING: the start has to wait.
    Deny
        ``home_busy``: it is being put away, or removed.
    """
    if home.state is HomeState.DELETED:
        return renewed(home, now)
    if home.state in {HomeState.ARCHIVING, HomeState.DELETING}:
        if home.phase is not Phase.OPEN:
            return Deny("home_busy", f"Your home {_SAID[home.state]}. {_AFTER[home.state]}")
        home = replace(
            settle(home, home.rest, now), asked_at=now, asked_by=home.owner, why="its owner started a server"
        )
    if home.state is HomeState.ARCHIVED:
        return _wish(home, HomeState.RESTORING, home.owner, "its owner started a server", now)
    return home


def hold(home: Home, now: datetime) -> Answer:
    """Hold a home for a container that is about to be made."""
    if home.state is not HomeState.PRESENT:
        return Deny("home_busy", f"Your home {_SAID[home.state]}. Start the server again.")
    return replace(home, start_until=now + START_HOLD)


def renewed(home: Home, now: datetime) -> Home:
    """Let a home begin anew under the name of one that was deleted."""
    return Home(home.volume, home.owner, HomeState.PRESENT, now, home.version + 1, archive=home.archive)


def possible(home: Home, now: datetime) -> tuple[str, ...]:
    """List the wishes that a home takes now: ``archive``, ``restore``, ``delete``, ``cancel``."""
    answers = {
        "archive": ask_archive(home, "", "", now),
        "restore": ask_restore(home, "", "", now),
        "delete": ask_delete(home, "", "", now, now),
        "cancel": cancel(home, "", "", now),
    }
    return tuple(wish for wish, answer in answers.items() if isinstance(answer, Home))


# --- in words -----------------------------------------------------------------------------------------------------

_SAID = {
    HomeState.PRESENT: "is there",
    HomeState.ARCHIVING: "is being archived",
    HomeState.ARCHIVED: "is archived",
    HomeState.RESTORING: "is being brought back from its archive",
    HomeState.DELETING: "is being deleted",
    HomeState.DELETED: "is deleted",
}
_AFTER = {
    HomeState.ARCHIVING: "Start the server again in a few minutes; then it is brought back.",
    HomeState.DELETING: "Start the server again in a few minutes; it then begins with an empty one.",
}


def _unless(home: Home, wanted: set[HomeState]) -> Deny | None:
    if home.state in wanted:
        return None
    said = _SAID[home.state]
    if home.state is HomeState.DELETING and home.phase is Phase.OPEN and home.delete_at is not None:
        said = f"is to be deleted on {home.delete_at:%d %B %Y}"
    cure = "" if home.state in RESTS else " Wait for that, or cancel it first."
    return Deny("home_state", f"The home of {home.owner} {said}.{cure}")


def _while_used(home: Home, now: datetime, what: str) -> Deny | None:
    if home.archived or not (home.in_use or home.starting(now)):
        return None
    if not home.in_use:
        return Deny("home_in_use", f"{home.owner} started a server a moment ago. Look again in three minutes.")
    return Deny("home_in_use", f"A server of {home.owner} runs. Stop it first: a home in use is not {what}.")


def _wish(home: Home, state: HomeState, by: str, why: str, now: datetime) -> Home:
    return replace(settle(home, state, now), asked_at=now, asked_by=by, why=why)


def settle(home: Home, state: HomeState, now: datetime) -> Home:
    """Enter a state with nothing done yet, and nothing left of the one before."""
    # The file of an archive that came to nothing is left over: `sha256` is empty, and the janitor removes it.
    return replace(
        home,
        state=state,
        state_since=now,
        version=home.version + 1,
        delete_at=None,
        phase=Phase.OPEN,
        worker="",
        beat_at=None,
        done=0,
        error="",
    )
