"""The board of a class as a page shows it, and what is sent to whoever looks on."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from markupsafe import Markup
from starlette.requests import Request

from ..policy.classes import Phase, SeatState, Session
from .callers import Caller
from .class_live import LATELY, ClassLook, Sort, WantedSeats
from .class_words import ACTIONS, DANGEROUS, KINDS, PHASES, ROLES, SORTS, STATES, WISHES, Action
from .context import Console
from .course_access import InCourse
from .etags import etag_of
from .events import Event, since, stamp
from .gpu_words import anchor

MOST_CARDS = 60  # above that, small tiles are what one sees first
_VIEWS = "cards", "wall"
WORDS: dict[str, Any] = {
    "anchor": anchor, "states": STATES, "phases": PHASES, "wishes": WISHES, "roles": ROLES, "kinds": KINDS,
    "actions": ACTIONS,
}  # fmt: skip
_HEIGHT = 20


@dataclass(frozen=True)
class Choice:
    """What a reader has chosen to see.

    Attributes
    ----------
    view
        ``cards`` or ``wall``; empty leaves it to how many there are.
    hidden
        Whether seats have numbers in place of names, for a projector; then nothing can be done from there.
    """

    which: WantedSeats
    view: str = ""
    hidden: bool = False

    def query(self, **changes: object) -> str:
        """Write it as a query, with some things changed."""
        which = self.which
        said: dict[str, object] = {
            "search": which.text,
            "state": which.state or "",
            "hand": 1 if which.hand else "",
            "sort": which.sort if which.sort is not Sort.NAME else "",
            "view": self.view,
            "names": "hidden" if self.hidden else "",
            **changes,
        }
        return urlencode({name: value for name, value in said.items() if value not in {"", None}})

    @property
    def filtered(self) -> bool:
        return replace(self.which, sort=Sort.NAME) != WantedSeats()


def choice_of(
    search: str = "", state: str = "", hand: str = "", sort: str = "", view: str = "", names: str = ""
) -> Choice:
    """Read a page's query; what makes no sense is left out."""
    hidden = names == "hidden"
    return Choice(
        WantedSeats(
            SeatState(state) if state in list(SeatState) else None,
            hand == "1",
            "" if hidden else search.strip()[:200],
            Sort(sort) if sort in list(Sort) else Sort.NAME,
        ),
        view if view in _VIEWS else "",
        hidden,
    )


def board_path(here: Console, session: Session) -> str:
    return f"{here.prefix}courses/{session.course}/sessions/{session.id}/board"


class ClassPage:
    """The board for one reader's choice."""

    def __init__(self, request: Request, here: Console, found: InCourse, choice: Choice, look: ClassLook) -> None:
        self._request, self._here = request, here
        self.choice, self.look = choice, look
        self.path = board_path(here, look.board.session)
        self.shown = choice.which.of(look.tiles)
        self.small = choice.view == "wall" or (not choice.view and len(look.tiles) > MOST_CARDS)
        # Over a screen that all look at, nobody's server is opened by mistake.
        self.acts = not choice.hidden and look.board.phase in {Phase.PLANNED, Phase.WARMING, Phase.OPEN, Phase.ENDING}
        self._caller: Caller = found.caller
        self._parts = here.pages.parts(
            request,
            "class_board/parts.html",
            **WORDS,
            board=look.board,
            path=self.path,
            hidden=choice.hidden,
            acts=self.acts,
            small=self.small,
            spark=spark,
            me=found.caller.name,
        )

    @property
    def fingerprint(self) -> str:
        """Tell which seats are shown, in which order."""
        return etag_of([self.small, self.acts, [tile.user for tile in self.shown]]).strip('"')[:16]

    @property
    def live(self) -> str:
        """The query with which a page asks for what changes from now on."""
        watch = self._here.classes.watch(self.look.board.session.id)
        return self.choice.query(since=stamp(watch, self.look), shown=self.fingerprint)

    def values(self) -> dict[str, Any]:
        """Give the template what it needs."""
        board = self.look.board
        return {
            **WORDS,
            "page": self,
            "board": board,
            "course": board.course,
            "session": board.session,
            "choice": self.choice,
            "path": self.path,
            "small": self.small,
            "acts": self.acts,
            "hidden": self.choice.hidden,
            "head": self._parts.head(self.look, self.choice),
            "tiles": [self._parts.tile(tile) for tile in self.shown],
            "sorts": SORTS,
            "dangerous": DANGEROUS,
            "choices": _bulk(self.look),
        }

    def changes(self, known: int) -> str:
        """Render what has changed since a look, each part to take the place of what the page has."""
        parts = [self._parts.head(self.look, self.choice)] if self.look.head_changed > known else []
        parts += [self._parts.tile(tile) for tile in self.shown if tile.changed > known]
        return Markup("\n").join(parts)


def _bulk(look: ClassLook) -> Sequence[Action]:
    guests = any(tile.view.seat.guest for tile in look.tiles)
    return [one for one in Action if one is not Action.TAKE_BACK or guests]


def spark(points: Sequence[tuple[datetime, float]], now: datetime) -> str:
    """Give the points of a line over the last minutes, in a box of 100 by 20."""
    return " ".join(
        f"{100 - 100 * ((now - at) / LATELY):.0f},{_HEIGHT - _HEIGHT * min(1.0, value):.1f}" for at, value in points
    )


class ClassNews:
    """What is sent to a page that is open: its parts that have changed, or all of it where others are to be shown."""

    def __init__(
        self, request: Request, here: Console, found: InCourse, choice: Choice, session: str, known: str, shown: str
    ) -> None:
        self._request, self._here, self._found, self._choice = request, here, found, choice
        self._known = since(here.classes.watch(session), request, known)
        self._fingerprint = shown

    def __call__(self, look: ClassLook) -> list[Event]:
        page = ClassPage(self._request, self._here, self._found, self._choice, look)
        known, self._known = self._known, look.number
        same, self._fingerprint = page.fingerprint == self._fingerprint, page.fingerprint
        if same and known is not None:
            told = page.changes(known)
            return [Event("changed", told)] if told else []
        answer = self._here.pages.render(self._request, self._found.caller, "class_board/board.html", **page.values())
        return [Event("board", bytes(answer.body).decode())]
