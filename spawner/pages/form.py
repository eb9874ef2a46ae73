"""The spawn form, of servers and of seats in courses."""

from collections.abc import Mapping
from datetime import UTC, datetime

from jinja2 import Environment, FileSystemLoader

from ..operations.offers import Place
from ..operations.seats import Placed
from ..operations.survey import Survey
from ..policy.leasing import describe
from ..policy.model import AtEnd, Deny, Grant
from .cards import Offers, facts, make_cards, make_fields, quota_words
from .files import TEMPLATES

_ENVIRONMENT = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, trim_blocks=True, lstrip_blocks=True)

_ENDS = {AtEnd.CPU: "Go on without GPU", AtEnd.STOP: "Stop the server"}


def _ends(usual: AtEnd) -> list[tuple[str, str]]:
    """List the choices, the usual one first; it is sent as nothing."""
    other = next(end for end in AtEnd if end is not usual)
    return [("", _ENDS[usual]), (str(other), _ENDS[other])]


def spawn_form(
    offers: Offers,
    chosen: str,
    surveys: Mapping[str, Survey] | None = None,
    problem: str = "",
    place: Place | None = None,
    at_end: AtEnd = AtEnd.CPU,
) -> str:
    """Render the choice of profiles as cards, and the further fields of those with GPUs.

    Parameters
    ----------
    offers
        Each profile that the user may see, with the decision on a plain request for it.
    chosen
        Slug of the profile to preselect, where it can be had; else the first that can.
    surveys
        What the profiles with GPUs would meet, by slug.
    problem
        Why nothing can be told of GPUs; empty if it can.
    place
        The server's place in the queue, if it waits already.
    at_end
        What becomes of servers when their leases end, if nothing else is chosen.
    """
    known = surveys or {}
    cards = make_cards(offers, chosen, known, problem)
    return _ENVIRONMENT.get_template("berth-form.html").render(
        cards=cards, fields=make_fields(cards, known), quota=quota_words(known), place=place, at_end=_ends(at_end)
    )


def seat_form(
    seat: Placed | Deny, decision: Grant | Deny | None = None, place: Place | None = None, *, now: datetime
) -> str:
    """Render what a seat in a course is, rather than a choice; outside of sessions when it can be had.

    Parameters
    ----------
    seat
        As `spawner.operations.seats.placed` gives it.
    decision
        What its server gets.
    place
        Its place in the queue, if it waits already.
    """
    template = _ENVIRONMENT.get_template("berth-seat.html")
    if isinstance(seat, Deny):
        return template.render(refusal=seat.reason)
    if isinstance(decision, Deny):
        return template.render(refusal=decision.reason)
    return template.render(
        title=seat.course.title,
        session_title=seat.session.title,
        starts_at=seat.session.starts_at.astimezone(UTC),
        ends_at=seat.ends_at.astimezone(UTC),
        begun=now >= seat.session.starts_at,
        left=describe(seat.ends_at - now),
        after=seat.after,
        exam=seat.session.exam,
        facts=facts(decision.profile, decision) if decision is not None else (),
        place=place,
    )
