"""The spawn form."""

from collections.abc import Mapping

from jinja2 import Environment, FileSystemLoader

from ..operations.offers import Place
from ..operations.survey import Survey
from .cards import Offers, make_cards, make_fields
from .files import TEMPLATES

_ENVIRONMENT = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, trim_blocks=True, lstrip_blocks=True)


def spawn_form(
    offers: Offers,
    chosen: str,
    surveys: Mapping[str, Survey] | None = None,
    problem: str = "",
    place: Place | None = None,
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
    """
    known = surveys or {}
    cards = make_cards(offers, chosen, known, problem)
    return _ENVIRONMENT.get_template("berth-form.html").render(
        cards=cards, fields=make_fields(cards, known), place=place
    )
