"""What the spawn form says of profiles, GPUs and quota."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..operations.survey import Kind, Survey
from ..policy.admission import format_bytes
from ..policy.leases import Allot, Wait
from ..policy.model import Deny, Grant, Profile
from .words import gpus_words, hours_words, isolation_words, wait_words

# Sensible lengths of a lease; the longest that is allowed comes as a choice of its own.
_HOURS = (0.5, 1, 2, 4, 8, 12, 24, 48, 72, 120, 168, 336)

Offers = Sequence[tuple[Profile, Grant | Deny]]


@dataclass(frozen=True, slots=True)
class KindLine:
    """GPUs of one kind, as a card shows them."""

    model: str
    memory: str
    isolation: str
    simulated: bool
    free: str


@dataclass(frozen=True, slots=True)
class GpuPart:
    """What a card says of its GPUs.

    Attributes
    ----------
    usual
        GPUs that the profile asks for.
    free
        The most of one kind that nobody holds.
    most
        GPUs that its user could get at once.
    busy
        Whether the usual number has to wait now.
    queue
        Who waits, and for how long.
    note
        How the lease would differ from what is asked for.
    """

    kinds: tuple[KindLine, ...]
    usual: int
    free: int
    most: int
    busy: bool
    queue: str
    note: str


@dataclass(frozen=True, slots=True)
class Card:
    slug: str
    name: str
    description: str
    facts: tuple[str, ...]
    refusal: str
    checked: bool
    gpu: GpuPart | None


@dataclass(frozen=True, slots=True)
class GpuFields:
    """The fields that a profile with GPUs brings.

    Attributes
    ----------
    counts
        Numbers of GPUs to choose from.
    hours
        Lengths to choose from: hours, words.
    longest
        Words for the longest lease that is allowed.
    left_hours
        GPU-hours left, for the page's script; empty for no bound.
    """

    counts: tuple[int, ...]
    hours: tuple[tuple[str, str], ...]
    longest: str
    left_hours: str


def make_cards(offers: Offers, chosen: str, surveys: Mapping[str, Survey], problem: str) -> list[Card]:
    """Describe each profile; what its user may not have comes with the reason, and cannot be chosen."""
    refusals = {profile.slug: _refusal(profile, decision, surveys, problem) for profile, decision in offers}
    granted = [slug for slug, refusal in refusals.items() if not refusal]
    selected = chosen if chosen in granted else next(iter(granted), "")
    return [
        Card(
            profile.slug,
            profile.name,
            profile.description,
            facts(profile, decision),
            refusals[profile.slug],
            profile.slug == selected,
            _gpu_part(decision, surveys[profile.slug]) if profile.slug in surveys else None,
        )
        for profile, decision in offers
    ]


def make_fields(cards: Sequence[Card], surveys: Mapping[str, Survey]) -> GpuFields | None:
    """Describe the further fields; None where nothing with GPUs can be chosen."""
    parts = [card.gpu for card in cards if card.gpu is not None and not card.refusal]
    if not parts:
        return None
    # Quota and budget are the user's, so they are the same in each survey.
    survey = next(iter(surveys.values()))
    affordable = survey.longest_hours if survey.left_hours is None else min(survey.longest_hours, survey.left_hours)
    return GpuFields(
        tuple(range(1, max(part.most for part in parts) + 1)),
        tuple((f"{hours:g}", hours_words(hours)) for hours in _HOURS if hours <= affordable),
        hours_words(affordable),
        "" if survey.left_hours is None else f"{survey.left_hours:.4f}",
    )


def quota_words(surveys: Mapping[str, Survey]) -> tuple[str, ...]:
    """Say what one's quota is and what is left of it; nothing where there is no survey."""
    # They all say the same of it.
    survey = next(iter(surveys.values()), None)
    if survey is None:
        return ()
    held = f"you hold {survey.held} of {gpus_words(survey.at_once)}" if survey.held else gpus_words(survey.at_once)
    said = [f"{held} at once", f"leases up to {hours_words(survey.longest_hours)}"]
    if survey.budget_hours is not None and survey.left_hours is not None:
        left = math.floor(survey.left_hours * 10) / 10  # nobody is told of more than there is
        said.append(f"{left:g} of {survey.budget_hours:g} GPU-hours left for these {survey.window_days} days")
    return tuple(said)


def facts(profile: Profile, decision: Grant | Deny) -> tuple[str, ...]:
    """Say what a profile gives, in a few words each."""
    if isinstance(decision, Grant):
        cpu, memory, gpus = decision.limits.cpu, decision.limits.memory, decision.limits.gpus
    else:
        cpu, memory, gpus = profile.size.cpu or 0, profile.size.memory or 0, profile.size.gpus or 0
    said = []
    if cpu:
        said.append(f"{cpu:g} CPU{'s' if cpu != 1 else ''}")
    if memory:
        said.append(f"{format_bytes(memory)} memory")
    if gpus:
        said.append(gpus_words(gpus))
    return tuple(said)


def _refusal(profile: Profile, decision: Grant | Deny, surveys: Mapping[str, Survey], problem: str) -> str:
    if isinstance(decision, Deny):
        return decision.reason
    if not decision.limits.gpus:
        return ""
    survey = surveys.get(profile.slug)
    if survey is None:
        return problem or "Nothing is known of its GPUs now. Try again in a minute."
    answer = survey.answer
    return answer.reason if isinstance(answer, Deny) and answer.code != "busy" else ""


def _gpu_part(decision: Grant | Deny, survey: Survey) -> GpuPart:
    usual = decision.limits.gpus if isinstance(decision, Grant) else 1
    widest = max((kind.widest for kind in survey.kinds), default=0)
    return GpuPart(
        tuple(_kind_line(kind) for kind in survey.kinds),
        usual,
        max((min(kind.free, kind.widest) for kind in survey.kinds), default=0),
        max(usual, min(survey.at_once - survey.held, widest)),
        not isinstance(survey.answer, Allot),
        _queue_words(survey),
        survey.answer.note if isinstance(survey.answer, Allot) else "",
    )


def _kind_line(kind: Kind) -> KindLine:
    return KindLine(
        kind.model,
        format_bytes(kind.memory),
        isolation_words(kind.kind, kind.isolation),
        kind.simulated,
        f"{kind.free} of {kind.total} free now",
    )


def _queue_words(survey: Survey) -> str:
    if not survey.kinds:
        return ""
    who = "Nobody waits" if not survey.waiting else "1 waits" if survey.waiting == 1 else f"{survey.waiting} wait"
    if not isinstance(survey.answer, Wait):
        return f"{who}."
    if survey.eta_seconds is None:
        return f"{who}. How long you would wait cannot be told now."
    return f"{who}. You would likely wait {wait_words(survey.eta_seconds)}."
