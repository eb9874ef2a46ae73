"""The spawn form: what each profile would meet now, for the page to show."""

from typing import Any

from ..errors import BerthError
from ..operations.offers import Place, look_up
from ..operations.survey import Survey, survey
from ..pages import spawn_form
from ..policy.admission import profiles_for
from ..policy.model import AtEnd, Deny, Grant, Profile, SpawnRequest


async def render_form(spawner: Any) -> str:
    """Render the choice of profiles, each with the decision on a plain request for it."""
    rules = await spawner.quota_rules()
    offers: list[tuple[Profile, Grant | Deny]] = [
        (profile, spawner.decide(SpawnRequest(profile.slug), rules))
        for profile in profiles_for(spawner.catalogue, spawner.person, rules)
    ]
    chosen = str((spawner.user_options or {}).get("profile", ""))
    surveys, place, problem = await _look(spawner, offers)
    return spawn_form(offers, chosen, surveys, problem, place, AtEnd(spawner.leases.at_end))


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
