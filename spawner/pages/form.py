"""The spawn form."""

from collections.abc import Mapping

from jinja2 import Environment, FileSystemLoader

from ..operations.offers import Place
from ..operations.survey import Survey
from ..policy.model import AtEnd
from .cards import Offers, make_cards, make_fields, quota_words
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
