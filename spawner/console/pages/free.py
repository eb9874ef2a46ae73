"""What is free now, and over the next days."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from ...operations import leases
from ...operations.availability import Busy, KindOfGpu, Step, availability, coarse
from ...policy.limits import quota_of
from ...policy.quota import ALL, Quota, allows
from ..api.free import may_know
from ..callers import Caller, allowed
from ..context import Console, Here
from ..own_words import slot_words
from ..plots import Plotter
from ..rendering import reader_of
from ..scopes import Scope

router = APIRouter()

DAYS = (1, 3, 7)
_USUAL_DAYS = 3
_MOST_STEPS = 240  # in a picture
_MOST_CHANGES = 8  # in words
# What a band of the picture shows, from the bottom on, and its class.
_BANDS = ("free", "reserved", "leased", "out")


@dataclass(frozen=True, slots=True)
class Piece:
    """Part of a band of a timeline, in parts of a thousand of its width and height."""

    css: str
    x: float
    y: float
    width: float
    height: float
    title: str


@dataclass(frozen=True, slots=True)
class Line:
    """A kind of GPU on the page.

    Attributes
    ----------
    may
        Whether the reader's quota has such ones.
    changes
        When how many are free, the next few, without repeats.
    busy
        What classes have, each with its name, empty where the reader may not know it.
    """

    kind: KindOfGpu
    name: str
    about: str
    may: bool
    pieces: tuple[Piece, ...]
    said: str
    changes: tuple[Step, ...]
    busy: tuple[Busy, ...]


@router.get("/free")
def show_free(
    request: Request,
    here: Here,
    caller: Annotated[Caller, allowed(Scope.SELF_READ)],
    days: Annotated[int, Query(ge=1, le=30)] = _USUAL_DAYS,
) -> Response:
    _ = here.pages.gettext(request)
    found = availability(here.desk, timedelta(days=days))
    models = _models(here, caller)
    lines = [_line(_, kind, caller, models, found.at, found.until) for kind in found.kinds]
    return here.pages.render(
        request,
        caller,
        "free/free.html",
        found=found,
        lines=lines,
        times=Plotter(reader_of(request), _).times(found.at, found.until),
        days=days,
        choices=DAYS,
        can_start=caller.kind == "user" and caller.may(Scope.SELF),
    )


def _models(here: Console, caller: Caller) -> frozenset[str]:
    if caller.kind != "user":
        return ALL
    quota: Quota = quota_of(leases.rules_now(here.desk), caller.person)
    return quota.models if quota.gpus else frozenset()


def _line(
    _: Callable[[str], str],
    kind: KindOfGpu,
    caller: Caller,
    models: frozenset[str],
    begin: datetime,
    end: datetime,
) -> Line:
    name, about = slot_words(kind.kind, kind.isolation)
    told = tuple(
        Busy(one.course if may_know(caller, one.course) else "", one.starts_at, one.ends_at, one.count)
        for one in kind.reserved
    )
    least = min(step.free for step in kind.steps)
    most = max(step.free for step in kind.steps)
    said = _("{model}: {free} of {total} free now; from {least} to {most} in this time").format(
        model=kind.model, free=kind.now.free, total=kind.total, least=least, most=most
    )
    pieces = tuple(_pieces(_, coarse(kind.steps, end, _MOST_STEPS), kind.total, begin, end))
    return Line(kind, _(name), _(about), allows(models, kind.model), pieces, said, tuple(_changes(kind.steps)), told)


def _pieces(_: Callable[[str], str], steps: Sequence[Step], total: int, begin: datetime, end: datetime) -> list[Piece]:
    words = {"free": _("free"), "reserved": _("reserved"), "leased": _("in use"), "out": _("out of service")}
    span = (end - begin).total_seconds()
    found = []
    ends = [*(step.at for step in steps[1:]), end]
    for step, until in zip(steps, ends, strict=True):
        x = 1000 * (step.at - begin).total_seconds() / span
        width = 1000 * (until - step.at).total_seconds() / span
        counts = {band: int(getattr(step, band)) for band in _BANDS}
        title = ", ".join(f"{count} {words[band]}" for band, count in counts.items() if count)
        floor = 1000.0
        for band, count in counts.items():
            if count:
                height = 1000 * count / total
                floor -= height
                found.append(Piece(band, round(x, 2), round(floor, 2), round(width, 2), round(height, 2), title))
    return found


def _changes(steps: Sequence[Step]) -> list[Step]:
    """Give the next steps at which the number that is free changes."""
    found: list[Step] = []
    before = steps[0].free
    for step in steps[1:]:
        if step.free != before:
            found.append(step)
            before = step.free
        if len(found) == _MOST_CHANGES:
            break
    return found
