"""The spawn form: what each profile would meet now, for the page to show."""

from typing import Any

from ..errors import BerthError
from ..operations.desk import utc_now
from ..operations.offers import Place, look_up
from ..operations.seats import Placed
from ..operations.survey import Survey, survey
from ..pages import seat_form, spawn_form
from ..policy.admission import profiles_for
from ..policy.model import AtEnd, Deny, Grant, LimitRules, Profile, SpawnRequest
from . import seats


async def render_form(spawner: Any) -> str:
    """Render the choice of profiles, each with the decision on a plain request for it; of a seat, what it is."""
    rules = await spawner.quota_rules()
    spawner.seat = None
    if (seat := await seats.find_seat(spawner)) is not None:
        return await _seat_form(spawner, seat, rules)
    offers: list[tuple[Profile, Grant | Deny]] = [
        (profile, spawner.decide(SpawnRequest(profile.slug), rules))
        for profile in profiles_for(spawner.catalogue, spawner.person, rules)
    ]
    chosen = str((spawner.user_options or {}).get("profile", ""))
    surveys, place, problem = await _look(spawner, offers)
    return spawn_form(offers, chosen, surveys, problem, place, AtEnd(spawner.leases.at_end))


async def _seat_form(spawner: Any, seat: Placed | Deny, rules: LimitRules) -> str:
    now = utc_now()
    if isinstance(seat, Deny):
        return seat_form(seat, now=now)
    try:
        place = await spawner.operate(look_up, spawner.person.name, spawner.name)
    except BerthError:
        place = None
    return seat_form(seat, seats.decide(spawner, seat, rules), place, now=now)


async def _look(
    spawner: Any, offers: list[tuple[Profile, Grant | Deny]]
) -> tuple[dict[str, Survey], Place | None, str]:
    """Ask the ledger about the profiles with GPUs and the queue; where it cannot be asked, say why."""
    requests = {
        profile.slug: spawner.gpu_request(decision, SpawnRequest(profile.slug))
        for profile, decision in offers
        if isinstance(decision, Grant) and decision.limits.gpus
    }
    if not requests:
        return {}, None, ""
    if spawner.desk is None:
        return {}, None, "This hub hands out no GPUs."
    try:
        surveys = await spawner.operate(survey, spawner.person, requests)
        return surveys, await spawner.operate(look_up, spawner.person.name, spawner.name), ""
    except BerthError as error:
        spawner.log.warning("The spawn form cannot show GPUs: %s", error)
        return {}, None, "Which GPUs are free cannot be told now; servers without GPUs start as always."
