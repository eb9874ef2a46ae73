"""What the janitor does with users' homes, as far as it is the ledger's: what it sees, and each step of its work."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from ..ledger import Books
from ..policy import home_keeping as keeping
from ..policy.homes import JANITOR, RESTS, DeletedUsers, Home, HomeState, Phase
from .desk import Desk
from .homes import note


@dataclass(frozen=True, slots=True)
class SeenVolume:
    """A home's volume on the engine.

    Attributes
    ----------
    in_use
        Whether a running container has it.
    """

    name: str
    owner: str
    created_at: datetime
    in_use: bool


@dataclass(frozen=True, slots=True)
class Noted:
    """A home before and after something was seen; None before for a new one, None after for one to be forgotten."""

    before: Home | None
    after: Home | None


def unlike(desk: Desk, volumes: Sequence[SeenVolume], prefix: str, looked_at: datetime) -> list[Noted]:
    """Tell what the ledger does not know yet of the volumes there are; changes nothing.

    Parameters
    ----------
    prefix
        With which the names of this hub's volumes begin.
    looked_at
        When the engine was asked.
    """
    with desk.ledger.reading() as books:
        return _unlike(books, volumes, prefix, looked_at)


def take_over(desk: Desk, volumes: Sequence[SeenVolume], prefix: str, looked_at: datetime) -> bool:
    """Note what there is; parameters as of `unlike`."""
    with desk.ledger.transaction() as books:
        now = desk.clock()
        found = _unlike(books, volumes, prefix, looked_at)
        for one in found:
            if one.after is None:
                if one.before is not None:
                    books.homes.remove(one.before.volume)
            elif one.before is None:
                books.homes.insert(one.after)
            else:
                books.homes.update(one.after)
                if one.after.state is not one.before.state:
                    action = "home.gone" if one.after.state is HomeState.DELETED else "home.found"
                    note(books, now, action, JANITOR, one.before, one.after, "seen on the engine")
        return bool(found)


def _unlike(books: Books, volumes: Sequence[SeenVolume], prefix: str, looked_at: datetime) -> list[Noted]:
    there = {volume.name: volume for volume in volumes}
    found = []
    for home in books.homes.all():
        if home.volume.startswith(prefix):
            volume = there.pop(home.volume, None)
            after = keeping.seen(home, volume is not None, volume is not None and volume.in_use, looked_at)
            if after != home:
                found.append(Noted(home, after))
    for volume in there.values():
        new = Home(
            volume.name,
            volume.owner,
            HomeState.PRESENT,
            looked_at,
            last_used_at=looked_at if volume.in_use else min(volume.created_at, looked_at),
            in_use=volume.in_use,
        )
        found.append(Noted(None, new))
    return found


def to_be_measured(desk: Desk, every: timedelta, count: int) -> list[Home]:
    """List the homes whose size is to be measured, those first that were measured longest ago."""
    now = desk.clock()
    with desk.ledger.reading() as books:
        homes = [
            home
            for home in books.homes.all({HomeState.PRESENT})
            if home.last_used_at is not None and keeping.to_be_measured(home, every, now)
        ]
    homes.sort(key=lambda home: (home.measured_at is not None, home.measured_at or home.state_since, home.volume))
    return homes[:count]


def note_size(desk: Desk, volume: str, size: int | None, newest: datetime | None) -> bool:
    """Note what a home takes on the disk; None where that could not be measured."""
    return _change(desk, volume, lambda home, now: keeping.measured(home, size, newest, now)) is not None


def strangers(desk: Desk, known: Collection[str], rule: DeletedUsers, grace: timedelta) -> list[Noted]:
    """Tell what changes by which users the hub knows; changes nothing."""
    with desk.ledger.reading() as books:
        return _strangers(books, known, rule, grace, desk.clock())


def retire(desk: Desk, known: Collection[str], rule: DeletedUsers, grace: timedelta) -> bool:
    """Note whose owners the hub does not know any more, and do what the rule says for them."""
    with desk.ledger.transaction() as books:
        now = desk.clock()
        found = _strangers(books, known, rule, grace, now)
        actions = {HomeState.ARCHIVING: "home.archive", HomeState.DELETING: "home.delete"}
        for one in found:
            if one.before is None or one.after is None:
                continue
            books.homes.update(one.after)
            if one.after.state is not one.before.state:
                action = actions.get(one.after.state, "home.cancel")
                note(books, now, action, JANITOR, one.before, one.after, one.after.why)
        return bool(found)


def _strangers(
    books: Books, known: Collection[str], rule: DeletedUsers, grace: timedelta, now: datetime
) -> list[Noted]:
    found = []
    for home in books.homes.all():
        if home.state is not HomeState.DELETED:
            after = keeping.retire(home, home.owner in known, rule, grace, now)
            if after != home:
                found.append(Noted(home, after))
    return found


# --- carrying wishes out ----------------------------------------------------------------------------------------------


def due(desk: Desk, prefix: str) -> list[Home]:
    """List the homes that something is to be done with now, the oldest wish first."""
    now = desk.clock()
    with desk.ledger.reading() as books:
        homes = books.homes.to_do(RESTS)
    return [home for home in homes if home.volume.startswith(prefix) and keeping.due(home, now)]


def claim(desk: Desk, volume: str, worker: str) -> Home | None:
    """Take a home to carry out what is due; None if nothing is any more, or another has it."""
    return _change(desk, volume, lambda home, now: keeping.claim(home, worker, now))


def beat(desk: Desk, volume: str, worker: str, done: int) -> bool:
    """Say that one is still at it; False where it is to be left alone from now on."""
    return _change(desk, volume, lambda home, now: keeping.beat(home, worker, done, now)) is not None


def pass_point(desk: Desk, volume: str, worker: str, phase: Phase) -> Home | None:
    """Begin what cannot be taken back; None where it is to be left alone."""
    return _change(desk, volume, lambda home, now: keeping.pass_point(home, worker, phase, now))


def seal(desk: Desk, volume: str, worker: str, size: int, sha256: str, labels: Mapping[str, str]) -> Home | None:
    """Trust a verified archive with the home's files, so that its volume can go; None where that is not wished."""
    return _change(desk, volume, lambda home, now: keeping.seal(home, worker, size, sha256, labels, now))


_DONE = {
    HomeState.ARCHIVING: "home.archived",
    HomeState.RESTORING: "home.restored",
    HomeState.DELETING: "home.deleted",
}


def finish(desk: Desk, volume: str, worker: str) -> Home | None:
    """Note that a wish is carried out."""
    return _change(desk, volume, lambda home, now: keeping.finished(home, worker, now), _DONE)


def fail(desk: Desk, volume: str, worker: str, error: str) -> Home | None:
    """Give a wish up, and say why."""
    failing = dict.fromkeys(_DONE, "home.failed")
    return _change(desk, volume, lambda home, now: keeping.failed(home, worker, error, now), failing)


def postpone(desk: Desk, volume: str, worker: str, error: str = "") -> Home | None:
    """Leave a wish to be carried out later, and say why."""
    return _change(desk, volume, lambda home, _now: keeping.postponed(home, worker, error))


def _change(
    desk: Desk,
    volume: str,
    step: Callable[[Home, datetime], Home | None],
    actions: Mapping[HomeState, str] | None = None,
) -> Home | None:
    """Take one step with a home, and audit it where it ends what was wished."""
    with desk.ledger.transaction() as books:
        now = desk.clock()
        before = books.homes.get(volume)
        after = None if before is None else step(before, now)
        if before is None or after is None:
            return None
        books.homes.update(after)
        if actions and after.state is not before.state:
            why = f"{before.asked_by}: {before.why}" if before.why else before.asked_by
            note(books, now, actions[before.state], JANITOR, before, after, why)
        return after
