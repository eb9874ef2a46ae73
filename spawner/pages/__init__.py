"""The hub's own pages in our look, and the spawn form."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader

from ..operations.survey import Survey
from ..policy.admission import format_bytes
from ..policy.model import Deny, Grant, Profile

TEMPLATES = Path(__file__).parent / "templates"
STATIC = Path(__file__).parent / "static"

_ENVIRONMENT = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, trim_blocks=True, lstrip_blocks=True)


def _facts(profile: Profile, decision: Grant | Deny) -> list[str]:
    """Say what a profile gives, in a few words each."""
    if isinstance(decision, Grant):
        cpu, memory, gpus = decision.limits.cpu, decision.limits.memory, decision.limits.gpus
    else:
        cpu, memory, gpus = profile.size.cpu or 0, profile.size.memory or 0, profile.size.gpus or 0
    facts = []
    if cpu:
        facts.append(f"{cpu:g} CPU{'s' if cpu != 1 else ''}")
    if memory:
        facts.append(f"{format_bytes(memory)} memory")
    if gpus:
        facts.append(f"{gpus} GPU{'s' if gpus != 1 else ''}")
    return facts


def spawn_form(
    offers: Sequence[tuple[Profile, Grant | Deny]],
    chosen: str,
    surveys: Mapping[str, Survey] | None = None,
    problem: str = "",
) -> str:
    """Render the choice of profiles as cards.

    Parameters
    ----------
    offers
        Each profile that the user may see, with the decision on a plain request for it.
    chosen
        Slug of the profile to preselect, where it is granted; else the first that is.
    surveys
        What the profiles with GPUs would meet, by slug.
    problem
        Why nothing can be told of GPUs; empty if it can.
    """
    del surveys, problem
    granted = [profile.slug for profile, decision in offers if isinstance(decision, Grant)]
    selected = chosen if chosen in granted else next(iter(granted), "")
    cards: list[dict[str, Any]] = [
        {
            "slug": profile.slug,
            "name": profile.name,
            "description": profile.description,
            "facts": _facts(profile, decision),
            "refusal": decision.reason if isinstance(decision, Deny) else "",
            "checked": profile.slug == selected,
        }
        for profile, decision in offers
    ]
    return _ENVIRONMENT.get_template("berth-form.html").render(cards=cards)
