"""The board of GPUs as a page shows it, and what is sent to whoever looks on."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import quote, urlencode

from markupsafe import Markup, escape
from starlette.requests import Request

from ..policy.gpus import GpuState
from .board import Snapshot, Standing, View, Wanted, count
from .callers import Caller
from .context import Console
from .etags import etag_of
from .events import Event, since, stamp
from .gpu_words import KINDS, LOOKS, SIGNS, STANDINGS, anchor, trouble_text
from .scopes import Scope

MOST_CARDS = 200  # above that, the heat map is what one sees first
_PAGE = 60
_COLOURS = "use", "state"
_VIEWS = "cards", "map"
WORDS: dict[str, Any] = {
    "anchor": anchor, "kinds": KINDS, "looks": LOOKS, "signs": SIGNS, "standings": STANDINGS
}  # fmt: skip


@dataclass(frozen=True)
class Choice:
    """What a reader has chosen to see.

    Attributes
    ----------
    view
        ``cards`` or ``map``; empty leaves it to how many there are.
    colour
        Of the heat map: by ``use`` or ``state``.
    page
        Of the cards, from 1.
    """

    which: Wanted
    view: str = ""
    colour: str = ""
    page: int = 1

    def query(self, **changes: object) -> str:
        """Write it as a query, with some things changed."""
        which = self.which
        said: dict[str, object] = {
            "search": which.text,
            "node": which.node,
            "model": which.model,
            "standing": which.standing or "",
            "holder": which.holder,
            "view": self.view,
            "colour": self.colour,
            "page": self.page if self.page > 1 else "",
            **changes,
        }
        return urlencode({name: value for name, value in said.items() if value not in {"", None}})

    @property
    def filtered(self) -> bool:
        return self.which != Wanted()


def choice_of(
    search: str = "",
    node: str = "",
    model: str = "",
    standing: str = "",
    holder: str = "",
    view: str = "",
    colour: str = "",
    page: str = "",
) -> Choice:
    """Read a page's query; what makes no sense is left out."""
    return Choice(
        Wanted(
            node=node[:255],
            model=model[:255],
            standing=Standing(standing) if standing in list(Standing) else None,
            holder=holder.strip()[:255],
            text=search.strip()[:200],
        ),
        view if view in _VIEWS else "",
        colour if colour in _COLOURS else "",
        int(page) if page.isascii() and page.isdecimal() and len(page) < 7 and int(page) else 1,
    )


class Cells:
    """Writes the cells of the heat map, of which a page may have a thousand: no template is quick enough.

    Parameters
    ----------
    words
        The macros of ``gpus/parts.html``.
    """

    def __init__(self, prefix: str, gettext: Callable[[str], str], words: Any) -> None:
        self._path = escape(f"{prefix}gpus/")
        self._standings = {standing: escape(gettext(word)) for standing, word in STANDINGS.items()}
        self._share: Callable[[float | None], str] = lru_cache(maxsize=64)(words.share)

    def write(self, view: View) -> Markup:
        gpu, standing, level = view.gpu, view.standing, view.level
        users = escape(", ".join(lease.user for lease in view.leases))
        held = f" ({users})" if users else ""
        said = f"{escape(gpu.name)}: {self._standings[standing]}{held}, {self._share(view.rounded_sm)}"
        shade = "hx" if level is None else f"h{level}"
        return Markup(  # noqa: S704  all of it is escaped above, or is ours
            f'<a class="cell {shade} s-{standing}" id="{anchor("cell", gpu.uuid)}" href="{self._path}'
            f'{quote(gpu.uuid, safe="")}" title="{said}" aria-label="{said}"'
            f' data-sign="{SIGNS.get(standing, gpu.index)}"></a>\n'
        )


@dataclass(frozen=True)
class Group:
    """What a page shows of a node."""

    counts: Markup
    pieces: Sequence[Markup]


class BoardPage:
    """The board for one reader's choice.

    Parameters
    ----------
    snapshot
        What there is.
    """

    def __init__(self, request: Request, here: Console, caller: Caller, choice: Choice, snapshot: Snapshot) -> None:
        self._request, self._here, self._caller = request, here, caller
        self.choice, self.snapshot = choice, snapshot
        self._fitting = snapshot.fitting(choice.which)
        self.compact = choice.view == "map" or (not choice.view and len(self._fitting) > MOST_CARDS)
        self.pages = 1 if self.compact else max(1, -(-len(self._fitting) // _PAGE))
        self.page = min(choice.page, self.pages)
        first = (self.page - 1) * _PAGE
        self.shown = self._fitting if self.compact else self._fitting[first : first + _PAGE]
        self._parts = here.pages.parts(request, "gpus/parts.html", **WORDS)
        self._cells = Cells(here.prefix, here.pages.gettext(request), self._parts)

    @property
    def fingerprint(self) -> str:
        """Tell which GPUs are shown, in which order."""
        return etag_of([self.compact, self.page, self.pages, [view.gpu.uuid for view in self.shown]]).strip('"')[:16]

    @property
    def live(self) -> str:
        """The query with which a page asks for what changes from now on."""
        return self.choice.query(since=stamp(self._here.watch, self.snapshot), shown=self.fingerprint)

    def values(self) -> dict[str, Any]:
        """Give the template what it needs."""
        members: dict[str, list[View]] = {}
        for view in self.shown:
            members.setdefault(view.gpu.node, []).append(view)
        nodes = self.snapshot.nodes
        return {
            **WORDS,
            "board": self,
            "choice": self.choice,
            "compact": self.compact,
            "colour": self.choice.colour or "use",
            "shown": len(self.shown),
            "all": len(self.snapshot.views),
            "summary": self._summary(),
            "groups": [
                (
                    nodes[node],
                    Group(
                        # Of the only node, the summary has told it.
                        self._parts.node(nodes[node], self.compact) if len(nodes) > 1 else Markup(""),
                        [self._piece(view) for view in views],
                    ),
                )
                for node, views in members.items()
            ],
            "may_operate": self._caller.may(Scope.GPUS),
        }

    def changes(self, known: int) -> str:
        """Render what has changed since a look, each part to take the place of what the page has."""
        changed = [view for view in self.snapshot.views if view.changed > known]
        parts = [self._summary()] if changed or self.snapshot.number > known else []
        on_page = {view.gpu.node for view in self.shown}
        parts += [
            self._parts.node(self.snapshot.nodes[node], self.compact)
            for node in dict.fromkeys(view.gpu.node for view in changed)
            if node in on_page and len(self.snapshot.nodes) > 1
        ]
        parts += [
            self._piece(view) for view in self.shown if (view.cell_changed if self.compact else view.changed) > known
        ]
        return Markup("\n").join(parts)

    def _piece(self, view: View) -> Markup:
        piece: Markup = self._cells.write(view) if self.compact else self._parts.card(view)
        return piece

    def _summary(self) -> Markup:
        problem = self._here.readings.problem
        told = trouble_text(self._here.pages.gettext(self._request), problem) if problem and self.snapshot.views else ""
        counts = count("", self._fitting)
        return Markup(self._parts.summary(counts, self.snapshot.waiting, told))  # noqa: S704  a template's


class News:
    """What is sent to a page that is open: its parts that have changed, or all of it where others are to be shown."""

    def __init__(
        self, request: Request, here: Console, caller: Caller, choice: Choice, known: str, fingerprint: str
    ) -> None:
        self._request, self._here, self._caller, self._choice = request, here, caller, choice
        self._known = since(here.watch, request, known)
        self._fingerprint = fingerprint

    def __call__(self, snapshot: Snapshot) -> list[Event]:
        page = BoardPage(self._request, self._here, self._caller, self._choice, snapshot)
        known, self._known = self._known, snapshot.number
        same, self._fingerprint = page.fingerprint == self._fingerprint, page.fingerprint
        if same and known is not None:
            told = page.changes(known)
            return [Event("changed", told)] if told else []
        answer = self._here.pages.render(self._request, self._caller, "gpus/board.html", **page.values())
        return [Event("board", bytes(answer.body).decode())]


def page_numbers(page: int, pages: int) -> list[int]:
    """Give the pages that are named beside the one that is shown: the first, the last, and those around."""
    return sorted({1, pages, *(one for one in range(page - 2, page + 3) if 1 <= one <= pages)})


def actions_for(state: GpuState) -> list[GpuState]:
    """Give what can be done with a GPU."""
    return [one for one in (GpuState.IN_SERVICE, *list(GpuState)[1:]) if one is not state]
