"""The board of a class as a page shows it: what the ledger knows of its seats, what they do, what has changed since."""

import secrets
import threading
import time
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from functools import cached_property

from ..operations.class_board import ClassBoard, SeatView, class_board
from ..operations.desk import Desk
from ..policy.classes import Role, SeatState
from ..policy.warmup import Pace
from .readings import INTERVAL, HeldReading, Readings
from .watching import Watch

LATELY = timedelta(minutes=5)
_FRESH = 4 * INTERVAL
_STEP = 0.05  # of use: what flutters below that is not worth a message
_MOST_BOARDS = 64  # kept without anybody who looks on


@dataclass(frozen=True, slots=True)
class SeatUse:
    """What a seat does with its GPUs.

    Attributes
    ----------
    sm, memory
        Now, from 0 to 1, on average over its GPUs; None for what is not known.
    memory_used, memory_total
        Bytes, of all of them.
    points
        `sm` of the last minutes with when that was, the oldest first.
    """

    sm: float | None = None
    memory_used: float | None = None
    memory_total: int = 0
    points: tuple[tuple[datetime, float], ...] = ()

    @property
    def memory(self) -> float | None:
        if self.memory_used is None or not self.memory_total:
            return None
        return min(1.0, self.memory_used / self.memory_total)


@dataclass(frozen=True, slots=True)
class Tile:
    """A seat on the board.

    Attributes
    ----------
    number
        From 1, by name: what it is called where names are hidden.
    place
        In the order of hands, from 1; 0 where none is raised.
    changed
        Number of the look that found something else to be shown.
    """

    view: SeatView
    number: int
    place: int
    use: SeatUse | None
    changed: int = 0

    @property
    def user(self) -> str:
        return self.view.user

    @property
    def state(self) -> SeatState:
        return self.view.state

    def opens_for(self, reader: str) -> bool:
        """Tell whether there is a server that somebody of the staff may open: a student's, or their own."""
        runs = self.view.seat.ready_at is not None and self.view.seat.ended_at is None
        return runs and (self.view.role is Role.STUDENT or self.user == reader)


class Sort(StrEnum):
    """In which order seats are shown."""

    NAME = "name"
    STATE = "state"
    ACTIVITY = "activity"
    USE = "use"


_URGENCY = {
    state: place
    for place, state in enumerate(
        (
            SeatState.STUCK,
            SeatState.STARTING,
            SeatState.NOT_STARTED,
            SeatState.IDLE,
            SeatState.READY,
            SeatState.WORKING,
            SeatState.GIVEN_BACK,
            SeatState.ENDED,
        )
    )
}


@dataclass(frozen=True, slots=True)
class WantedSeats:
    """Which seats are shown, in which order; None for all."""

    state: SeatState | None = None
    hand: bool = False
    text: str = ""
    sort: Sort = Sort.NAME

    def of(self, tiles: Iterable[Tile]) -> list[Tile]:
        sought = self.text.casefold()
        found = [
            tile
            for tile in tiles
            if (self.state is None or tile.state is self.state)
            and (not self.hand or tile.place)
            and (not sought or sought in tile.user.casefold())
        ]
        if self.sort is Sort.STATE:
            found.sort(key=lambda tile: (not tile.place, tile.place, _URGENCY[tile.state], tile.number))
        elif self.sort is Sort.ACTIVITY:
            found.sort(key=lambda tile: (-_stamp(tile.view.seat.active_at or tile.view.seat.entered_at), tile.number))
        elif self.sort is Sort.USE:
            found.sort(key=lambda tile: (-(tile.use.sm or 0.0) if tile.use else 1.0, tile.number))
        return found


def _stamp(moment: datetime | None) -> float:
    return moment.timestamp() if moment else 0.0


@dataclass(frozen=True)
class ClassLook:
    """A class's board at one moment.

    Attributes
    ----------
    number
        Of the look that last found something changed.
    head_changed
        Of the one that did so beside the seats: counts, hands, warm-up, phase.
    removed
        Whose seats are there no more, and the number of the look that found so.
    """

    board: ClassBoard
    tiles: tuple[Tile, ...]
    number: int
    head_changed: int
    removed: Mapping[str, int] = field(default_factory=dict)

    @cached_property
    def by_user(self) -> Mapping[str, Tile]:
        return {tile.user: tile for tile in self.tiles}

    @property
    def hands(self) -> list[Tile]:
        return sorted((tile for tile in self.tiles if tile.place), key=lambda tile: tile.place)


@dataclass
class LiveClass:
    """Looks at a session's seats, and numbers what it finds changed. Thread-safe."""

    desk: Desk
    readings: Readings
    session: str
    pace: Pace
    epoch: str = field(default_factory=lambda: secrets.token_hex(4))
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _begun: float = float("-inf")
    _last: ClassLook | None = None
    _keys: dict[str, Hashable] = field(default_factory=dict)
    _head: Hashable = None

    def look(self) -> ClassLook:
        """Read the ledger and the readings now; those who ask at the same time share it.

        Raises
        ------
        LedgerUnavailable, UnknownName
        """
        return self.latest(0.0)

    def latest(self, seconds: float) -> ClassLook:
        """Give what a look of the last so many seconds found.

        Raises
        ------
        LedgerUnavailable, UnknownName
        """
        oldest = time.monotonic() - seconds
        with self._lock:
            if self._last is None or self._begun < oldest:
                begun = time.monotonic()
                self._last = self._numbered(class_board(self.desk, self.session, self.pace))
                self._begun = begun
            return self._last

    def _numbered(self, board: ClassBoard) -> ClassLook:
        before = self._last
        known = before.by_user if before else {}
        number = (before.number if before else 0) + 1
        places = {view.user: place for place, view in enumerate(board.hands, 1)}
        tiles, keys = [], {}
        for place, view in enumerate(board.seats, 1):
            tile = Tile(view, place, places.get(view.user, 0), self._use(view, board.at))
            key = keys[view.user] = _key(tile)
            was = known.get(view.user)
            tiles.append(replace(tile, changed=was.changed if was and self._keys.get(view.user) == key else number))
        head = _head_key(board)
        head_changed = before.head_changed if before and self._head == head else number
        same = before is not None and self._keys == keys and self._head == head
        removed = {user: at for user, at in (before.removed if before else {}).items() if user not in keys}
        removed |= {user: number for user in known if user not in keys}
        self._keys, self._head = keys, head
        return ClassLook(board, tuple(tiles), number - 1 if same else number, head_changed, removed)

    def _use(self, view: SeatView, now: datetime) -> SeatUse | None:
        if view.lease is None:
            return None
        series = [one.points for one in self.readings.of_lease(view.lease.id, LATELY)]
        latest = [points[-1] for points in series if points and now - points[-1].at <= _FRESH]
        sm = [one.sm for one in latest if one.sm is not None]
        memory = [one.memory for one in latest if one.memory is not None]
        return SeatUse(
            sum(sm) / len(sm) if sm else None,
            sum(memory) if memory else None,
            sum(slot.memory for slot in view.slots),
            _together([one for one in series if one]),
        )


def _together(series: Sequence[Sequence[HeldReading]]) -> tuple[tuple[datetime, float], ...]:
    """Give the average use of all GPUs of a seat over time."""
    if len(series) == 1:  # as most have, and hundreds of seats are looked at
        return tuple((one.at, one.sm) for one in series[0] if one.sm is not None)
    by_time: dict[datetime, list[float]] = {}
    for points in series:
        for one in points:
            if one.sm is not None:
                by_time.setdefault(one.at, []).append(one.sm)
    return tuple((at, sum(values) / len(values)) for at, values in sorted(by_time.items()))


def _key(tile: Tile) -> Hashable:
    """Tell what is shown of a seat: not each second of activity, nor each breath of a GPU."""
    view, use = tile.view, tile.use
    active, entered = _minute(view.seat.active_at), _minute(view.seat.entered_at)
    seat = replace(view.seat, active_at=active, entered_at=entered, heard_at=None)
    lease = view.lease and (view.lease.id, view.lease.state, view.lease.ends_at, view.lease.problem)
    doing = use and (_stepped(use.sm), _stepped(use.memory), use.memory_total)
    return seat, view.state, view.role, lease, tile.number, tile.place, doing


def _head_key(board: ClassBoard) -> Hashable:
    warm_up = replace(board.warm_up, expected_at=_minute(board.warm_up.expected_at))
    warm_up = replace(warm_up, begins_at=_minute(warm_up.begins_at))
    hands = tuple((view.user, view.seat.hand_at) for view in board.hands)
    return board.session, board.phase, warm_up, hands, tuple(sorted(board.counts.items())), board.left, board.course


def _minute(moment: datetime | None) -> datetime | None:
    return None if moment is None else moment.replace(second=0, microsecond=0)


def _stepped(value: float | None) -> int | None:
    return None if value is None else round(value / _STEP)


class Classes:
    """The boards of all sessions that somebody looks at. Thread-safe."""

    def __init__(self, desk: Desk, readings: Readings, pace: Pace) -> None:
        self._desk, self._readings, self._pace = desk, readings, pace
        self._lock = threading.Lock()
        self._watches: dict[str, Watch[ClassLook]] = {}

    def watch(self, session: str) -> Watch[ClassLook]:
        """Give the watch over a session's board, one for all who look on."""
        with self._lock:
            found = self._watches.pop(session, None)
            if found is None:
                found = Watch(LiveClass(self._desk, self._readings, session, self._pace))
            self._watches[session] = found  # the last in order: the first go first
            idle = [key for key, watch in self._watches.items() if key != session and not watch.viewers]
            for key in idle[: max(0, len(self._watches) - _MOST_BOARDS)]:
                del self._watches[key]
            return found

    def close(self) -> None:
        """Send all viewers away."""
        with self._lock:
            watches = list(self._watches.values())
        for watch in watches:
            watch.close()
