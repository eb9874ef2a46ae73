"""Who looks on at a board: one look at the ledger every two seconds, for however many they are."""

import asyncio
import logging
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from ..errors import BerthError

_LOG = logging.getLogger("berth.console")
LOOK_SECONDS = 2.0
_MOST, _MOST_OF_ONE = 100, 8


class Look(Protocol):
    """What a board finds at one moment."""

    @property
    def number(self) -> int:
        """Of the look that last found something changed."""


L = TypeVar("L", bound=Look)
L_co = TypeVar("L_co", bound=Look, covariant=True)


class Looks(Protocol[L_co]):
    """A board: of the GPUs, or of a class."""

    @property
    def epoch(self) -> str:
        """Numbers of another epoch, that of another process, mean nothing here."""

    def look(self) -> L_co:
        """Look now."""

    def latest(self, seconds: float) -> L_co:
        """Give what a look of the last so many seconds found."""


@dataclass(eq=False)
class Viewer:
    """Somebody who looks on, in an event loop."""

    name: str
    loop: asyncio.AbstractEventLoop
    news: asyncio.Event = field(default_factory=asyncio.Event)
    over: bool = False

    def wake(self) -> bool:
        """Let them look; false if their loop is no more."""
        try:
            self.loop.call_soon_threadsafe(self.news.set)
        except RuntimeError:
            return False
        return True


class Watch(Generic[L]):
    """Looks at a board as long as somebody looks on. Thread-safe."""

    def __init__(self, board: Looks[L], seconds: float = LOOK_SECONDS) -> None:
        self.board, self.seconds = board, seconds
        self._lock = threading.Lock()
        self._viewers: set[Viewer] = set()
        self._thread: threading.Thread | None = None
        self._left = threading.Event()

    @property
    def viewers(self) -> int:
        return len(self._viewers)

    def has_room(self, name: str) -> bool:
        """Tell whether one more may look on."""
        with self._lock:
            own = sum(1 for other in self._viewers if other.name == name)
            return len(self._viewers) < _MOST and own < _MOST_OF_ONE

    def join(self, name: str) -> Viewer:
        """Look on, within an event loop; `leave` ends it."""
        viewer = Viewer(name, asyncio.get_running_loop())
        with self._lock:
            self._viewers.add(viewer)
            self._left.clear()
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
                self._thread.start()
        return viewer

    def leave(self, viewer: Viewer) -> None:
        with self._lock:
            self._viewers.discard(viewer)
            if not self._viewers:
                self._left.set()

    def close(self) -> None:
        """Send all viewers away."""
        with self._lock:
            viewers = list(self._viewers)
        self._end(viewers)

    def _run(self) -> None:
        number = -1
        while True:
            self._left.wait(self.seconds)
            with self._lock:
                if not self._viewers:  # nobody has come since the last one left
                    self._thread = None
                    return
                viewers = list(self._viewers)
            try:
                found = self.board.look().number
            except BerthError as error:
                # They come again, and are told.
                _LOG.warning("Nobody can look on: %s", error)
                self._end(viewers)
                continue
            except Exception:  # noqa: BLE001  whatever it is, they come again
                _LOG.exception("Nobody can look on")
                self._end(viewers)
                continue
            if found != number:
                number = found
                for viewer in viewers:
                    if not viewer.wake():
                        self.leave(viewer)

    def _end(self, viewers: Iterable[Viewer]) -> None:
        for viewer in viewers:
            viewer.over = True
            viewer.wake()
            self.leave(viewer)

    @contextmanager
    def looking_on(self, name: str) -> Iterator[Viewer]:
        """Look on as somebody, within an event loop."""
        viewer = self.join(name)
        try:
            yield viewer
        finally:
            self.leave(viewer)
