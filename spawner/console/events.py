"""Server-sent events about what a board shows."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from time import monotonic

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import StreamingResponse

from ..errors import BerthError
from .problems import Problem
from .watching import L, Look, Watch

_HEARTBEAT_SECONDS = 15.0
_LONGEST_SECONDS = 600.0  # then a viewer comes again, and shows anew that they may
_AGAIN_SECONDS = 10


@dataclass(frozen=True, slots=True)
class Event:
    """A server-sent event."""

    name: str
    data: str

    def text(self, last_id: str = "") -> str:
        lines = [f"event: {self.name}", *(f"data: {line}" for line in self.data.splitlines() or [""])]
        return "\n".join([*([f"id: {last_id}"] if last_id else []), *lines, "", ""])


class EventStream(StreamingResponse):
    """An answer that does not end by itself."""

    media_type = "text/event-stream"

    def __init__(self, events: AsyncIterator[str], status_code: int = 200) -> None:
        super().__init__(events, status_code, {"Cache-Control": "no-store", "X-Accel-Buffering": "no"})


def stamp(watch: Watch[L], snapshot: Look) -> str:
    """Give a board's name, which `since` understands."""
    return f"{watch.board.epoch}-{snapshot.number}"


def since(watch: Watch[L], request: Request, shown: str = "") -> int | None:
    """Tell up to which look somebody knows the board: by ``Last-Event-ID``, or as their page says.

    Returns
    -------
    int | None
        None if that was of another epoch, or they know nothing.
    """
    epoch, _, number = request.headers.get("Last-Event-ID", shown).partition("-")
    known = epoch == watch.board.epoch and number.isascii() and number.isdecimal() and len(number) < 19
    return int(number) if known else None


def stream(watch: Watch[L], name: str, news: Callable[[L], list[Event]]) -> EventStream:
    """Answer with events until the client goes, the ledger is away, or ten minutes are over.

    Parameters
    ----------
    name
        Whose viewer this is.
    news
        Called in a thread, with each board that differs: what to say of it.

    Raises
    ------
    Problem
        503 if too many look on.
    """
    if not watch.has_room(name):
        raise Problem(
            503,
            "too_many_viewers",
            "Too many look on already. Close other windows with this page, or load it again now and then.",
            {"Retry-After": str(_AGAIN_SECONDS)},
        )
    return EventStream(_say(watch, name, news))


async def _say(watch: Watch[L], name: str, news: Callable[[L], list[Event]]) -> AsyncIterator[str]:
    until = monotonic() + _LONGEST_SECONDS
    with watch.looking_on(name) as viewer:
        yield "retry: 3000\n\n"
        number: int | None = None
        while not viewer.over and monotonic() < until:
            viewer.news.clear()
            try:
                snapshot = await run_in_threadpool(watch.board.latest, watch.seconds)
            except BerthError:
                return  # they come again, and are told
            if snapshot.number != number:
                number = snapshot.number
                events = await run_in_threadpool(news, snapshot)
                last = len(events) - 1
                # Only the last has the id: who is cut off in between is told all of it again.
                for place, event in enumerate(events):
                    yield event.text(stamp(watch, snapshot) if place == last else "")
            try:
                async with asyncio.timeout(_HEARTBEAT_SECONDS):
                    await viewer.news.wait()
            except TimeoutError:
                yield ": still there\n\n"
