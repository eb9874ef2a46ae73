"""Whether a request is granted, and what the server then gets."""

from collections.abc import Sequence
from dataclasses import replace

from .limits import Origin, why
from .model import DIMENSIONS, Deny, Grant, LimitRules, Limits, Person, Profile, SpawnRequest
from .quota import ALL, allows


def may_use(profile: Profile, person: Person, allowed: frozenset[str] = ALL) -> bool:
    """Tell whether a profile is open to a person; admins may use every profile.

    Parameters
    ----------
    allowed
        The profiles of the person's quota.
    """
    if person.admin:
        return True
    if not allows(allowed, profile.slug):
        return False
    if not (profile.users or profile.groups):
        return True
    return person.name in profile.users or bool(profile.groups & person.groups)


def profiles_for(profiles: Sequence[Profile], person: Person, rules: LimitRules) -> list[Profile]:
    """List the profiles a person may use, in the settings' order."""
    said = why(rules, person).get("profiles")
    allowed = ALL if said is None else said.value
    return [profile for profile in profiles if may_use(profile, person, allowed)]


def admit(
    request: SpawnRequest,
    person: Person,
    profiles: Sequence[Profile],
    rules: LimitRules,
) -> Grant | Deny:
    """Decide on a request's profile and size; whether GPUs are free is `spawner.policy.leasing.decide`'s matter.

    A profile that asks for more than the person's limit is refused rather than cut down: whoever chooses 16 GiB
    and gets 8 finds out when the training dies.

    Returns
    -------
    Grant or Deny
        ``Deny`` codes: ``unknown_profile`` (a profile that does not exist and one that this person may not use
        look alike, so that nothing leaks), ``over_limit``.
    """
    usable = profiles_for(profiles, person, rules)
    profile = next((profile for profile in usable if profile.slug == request.profile), None)
    if profile is None:
        offered = ", ".join(profile.slug for profile in usable) or "none; ask an admin"
        return Deny("unknown_profile", f"There is no profile {request.profile!r} for you. Yours are: {offered}.")
    explained = why(rules, person)
    size = _size(profile, explained)
    gpus = request.gpus if request.gpus is not None else size.gpus
    over = [_excess(dimension, size, explained) for dimension in DIMENSIONS if dimension != "gpus"]
    reasons = [reason for reason in over if reason]
    if reasons:
        return Deny("over_limit", f"Profile {profile.slug} is too large for you: {'; '.join(reasons)}.")
    if gpus > explained["gpus"].value:
        origin = explained["gpus"]
        return Deny("over_limit", f"{gpus} GPUs asked for; your limit is {origin.value} (from: {origin.source}).")
    return Grant(
        profile,
        Limits(size.cpu, size.memory, size.processes, size.shm, size.open_files, gpus),
    )


def admit_seat(
    slug: str, gpus: int, memory: int, person: Person, profiles: Sequence[Profile], rules: LimitRules
) -> Grant | Deny:
    """Give a seat in a course the size of its profile: open to whoever sits there, and beyond their limits too.

    Parameters
    ----------
    memory
        That staff have given this seat, bytes; 0 takes the profile's.

    Returns
    -------
    Grant or Deny
        ``unknown_profile`` where the course's profile is gone.
    """
    profile = next((profile for profile in profiles if profile.slug == slug), None)
    if profile is None:
        text = f"The profile {slug!r} of this class is not there any more. Its instructors can choose another."
        return Deny("unknown_profile", text)
    size = _size(profile, why(rules, person))
    if memory:
        size = replace(size, memory=memory, shm=min(size.shm, memory))
    return Grant(profile, replace(size, gpus=gpus))


def _size(profile: Profile, explained: dict[str, Origin]) -> Limits:
    """Complete a profile's size with the person's limits; /dev/shm never exceeds the memory it counts in."""
    said = {
        dimension: explained[dimension].value if value is None else value
        for dimension in DIMENSIONS
        if (value := getattr(profile.size, dimension)) is not None or dimension != "gpus"
    }
    if profile.size.shm is None:
        said["shm"] = min(said["shm"], said["memory"] // 2)
    return Limits(**{"gpus": 0, **said})


def _excess(dimension: str, size: Limits, explained: dict[str, Origin]) -> str:
    wanted, origin = getattr(size, dimension), explained[dimension]
    if wanted <= origin.value:
        return ""
    label = dimension.replace("_", " ")
    limit = _amount(dimension, origin.value)
    return f"{label} {_amount(dimension, wanted)}, your limit is {limit} (from: {origin.source})"


def _amount(dimension: str, value: float) -> str:
    if dimension in {"memory", "shm"}:
        return format_bytes(int(value))
    return f"{value:g}"


def format_bytes(count: int) -> str:
    """Write a number of bytes for people, in binary units: ``1536`` as ``1.5 KiB``."""
    units = ("B", "KiB", "MiB", "GiB", "TiB")
    amount, step = float(count), 0
    while amount >= 1024 and step < len(units) - 1:
        amount, step = amount / 1024, step + 1
    return f"{amount:.3g} {units[step]}" if amount < 999.5 else f"{amount:.0f} {units[step]}"
