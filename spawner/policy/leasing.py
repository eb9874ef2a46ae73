"""Whether a request for GPUs is granted, has to wait, or is refused."""

import math
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from functools import lru_cache
from itertools import chain

from .accounting import free_again_at, hours_to_ms
from .leases import Allot, GpuRequest, LeaseRules, Spent, Ticket, TicketState, Wait
from .model import Deny
from .placement import Placement, place
from .pool import Pool, SlotClass
from .queue import Ahead, Rivals, Terms, TermsOf, ahead_of, walk
from .quota import ALL, Quota

_HOUR_MS = 3_600_000
_DAY = timedelta(days=1)
_TEN_YEARS = 10 * 365 * 24.0


def terms(
    pool: Pool, request: GpuRequest, quota: Quota, spent: Spent, rules: LeaseRules, now: datetime
) -> Terms | Deny:
    """Tell what a user's quota gives for a request, were slots free.

    Returns
    -------
    Terms or Deny
        ``Deny`` codes: ``no_gpus`` (no host has so many that will do), ``model_not_allowed``, ``over_limit`` (GPUs at
        once, or length), ``over_budget``; ``no_session`` for a seat whose session is over.
    """
    found = _allowed(pool, request, quota, spent, rules, now)
    return found if found is not None else _refusal(pool, request, quota, spent, rules, now)


def _allowed(
    pool: Pool, request: GpuRequest, quota: Quota, spent: Spent, rules: LeaseRules, now: datetime
) -> Terms | None:
    if request.is_seat:
        return _of_seat(pool, request, now)
    if _is_over(request, now):
        return None
    classes = pool.classes(request, quota.models)
    if (
        spent.gpus_held + request.count > quota.gpus
        or (request.hours is not None and request.hours > quota.lease_hours)
        or not pool.able(classes, request.count, usable=False)
    ):
        return None
    wanted = _wanted(request, quota, now)
    budget = hours_to_ms(quota.gpu_hours)
    if budget is None:
        return Terms(classes, wanted)
    affordable = _left(budget, spent) // request.count
    if affordable >= _ms_up(wanted):
        return Terms(classes, wanted)
    if request.hours is None and affordable >= _ms_up(rules.shortest):
        length = timedelta(milliseconds=affordable)
        return Terms(classes, length, f"Shortened to {describe(length)}: that is what your GPU budget leaves.")
    return None


def _of_seat(pool: Pool, request: GpuRequest, now: datetime) -> Terms | None:
    """Give a seat what its session does: the reservation is the course's, and so are the limits."""
    classes = pool.classes(request, ALL)
    if request.ends_at is None or _is_over(request, now) or not pool.able(classes, request.count, usable=False):
        return None
    return Terms(classes, request.ends_at - now)


def _is_over(request: GpuRequest, now: datetime) -> bool:
    return request.ends_at is not None and request.ends_at <= now


def _refusal(pool: Pool, request: GpuRequest, quota: Quota, spent: Spent, rules: LeaseRules, now: datetime) -> Deny:
    """Say why a request is not allowed."""
    if _is_over(request, now):
        return Deny("no_session", "The session of this seat is over.")
    if request.is_seat:
        return _nothing_fits(pool, request, replace(quota, models=ALL))
    if not any(_fits_a_node(pool, slot_class, request.count) for slot_class in pool.classes(request, quota.models)):
        return _nothing_fits(pool, request, quota)
    if spent.gpus_held + request.count > quota.gpus:
        return Deny("over_limit", _too_many(request.count, quota.gpus, spent.gpus_held))
    if request.hours is not None and request.hours > quota.lease_hours:
        return Deny(
            "over_limit",
            f"{_hours(request.hours)} asked for; you may have GPUs for {_hours(quota.lease_hours)} at a time. "
            "Ask for less: a lease can be extended while nobody waits.",
        )
    budget = round(quota.gpu_hours * _HOUR_MS)
    needed = _ms_up(rules.shortest if request.hours is None else _wanted(request, quota, now)) * request.count
    again = free_again_at(spent.past, needed, budget, now, rules.window)
    # To the next full minute, or it would not be true yet at the time that is shown.
    when = (
        f"There is enough from {again + timedelta(seconds=59):%Y-%m-%d %H:%M} UTC on."
        if again
        else "That is more than you ever have: ask for less, or ask an admin."
    )
    return Deny(
        "over_budget",
        f"{'At least ' if request.hours is None else ''}{_amount(needed, math.ceil)} GPU-hours are needed, and "
        f"{_amount(_left(budget, spent), math.floor)} of your {quota.gpu_hours:g} per {_period(rules.window)} are "
        f"left. {when}",
    )


def _wanted(request: GpuRequest, quota: Quota, now: datetime) -> timedelta:
    length = lease_length(quota.lease_hours if request.hours is None else request.hours)
    return length if request.ends_at is None else min(length, request.ends_at - now)


def _left(budget: int, spent: Spent) -> int:
    return max(0, budget - spent.used_ms - spent.committed_ms)


@lru_cache(maxsize=256)
def lease_length(hours: float) -> timedelta:
    """Give hours as a length of time; what a calendar does not hold is cut down to ten years."""
    return timedelta(hours=min(hours, _TEN_YEARS))


def _ms_up(length: timedelta) -> int:
    return -(-length // timedelta(milliseconds=1))


def _amount(gpu_ms: int, rounded: Callable[[float], int]) -> str:
    return f"{rounded(gpu_ms / (_HOUR_MS / 100)) / 100:g}"


def _period(window: timedelta) -> str:
    return f"{window.days} day{'' if window.days == 1 else 's'}" if not window % _DAY else describe(window)


def _hours(hours: float) -> str:
    return f"{hours:g} hour{'' if hours == 1 else 's'}"


def _too_many(count: int, most: int, held: int) -> str:
    if most == 0:
        return "Your quota has no GPUs. Choose a profile without GPUs, or ask an admin."
    if count > most:
        return f"{_gpus(count)} asked for; your quota is {most} at once. Ask for fewer, or ask an admin."
    return (
        f"You hold {_gpus(held)} already, and your quota is {most} at once. "
        "Stop a server that has GPUs, or choose a profile without."
    )


def _fits_a_node(pool: Pool, slot_class: SlotClass, count: int) -> bool:
    return pool.widest(slot_class, usable=False) >= count


def _nothing_fits(pool: Pool, request: GpuRequest, quota: Quota) -> Deny:
    for_others = pool.classes(request, ALL)
    fitting = {slot_class.model for slot_class in for_others if _fits_a_node(pool, slot_class, request.count)}
    if fitting:
        allowed = ", ".join(sorted(quota.models)) or "none"
        what = _gpus(request.count) if request.count > 1 else "a GPU"
        return Deny(
            "model_not_allowed",
            f"This needs {what} of model {' or '.join(sorted(fitting))}; your quota allows {allowed}. "
            "Choose another profile, or ask an admin.",
        )
    what = f" of model {' or '.join(sorted(request.models))}" if request.models else ""
    where = " on one host" if request.count > 1 else ""
    return Deny(
        "no_gpus",
        f"{_gpus(request.count)}{what}{where} asked for, and this hub has none such to hand out. "
        f"{'Ask for fewer, choose' if request.count > 1 else 'Choose'} a profile without GPUs, or ask an admin.",
    )


def decide(
    pool: Pool,
    request: GpuRequest,
    quota: Quota,
    spent: Spent,
    rules: LeaseRules,
    now: datetime,
    terms_of: TermsOf,
    ticket: Ticket | None = None,
) -> Allot | Wait | Deny:
    """Decide on a request.

    Parameters
    ----------
    terms_of
        The terms of the tickets in the queue.
    ticket
        The place which the request has in the queue already, or would have as a newcomer.

    Returns
    -------
    Allot, Wait or Deny
        `Allot` passes nobody: not one ahead who could use the slots now, nor the promised start of one who waits for
        more.
    """
    conditions = terms(pool, request, quota, spent, rules, now)
    if isinstance(conditions, Deny):
        return conditions
    ahead = ahead_of(ticket, pool, rules, now)
    classes = conditions.classes
    if not any(pool.has_free(slot_class, request.count) for slot_class in classes):
        return Wait(len(ahead) + 1, _busy(request))
    found = place(pool, request, classes, conditions.length, rules, now)
    if ahead and found is not None:
        found = _behind(ahead, request, conditions, pool, rules, now, terms_of)
    if found is None:
        return Wait(len(ahead) + 1, _promised(request))
    if found.until < now + conditions.length:
        note = f"Shortened to {describe(found.until - now)}: after that the GPUs are reserved."
        return Allot(found.slots, found.until, note)
    return Allot(found.slots, found.until, conditions.note)


def _behind(
    ahead: Ahead,
    request: GpuRequest,
    conditions: Terms,
    pool: Pool,
    rules: LeaseRules,
    now: datetime,
    terms_of: TermsOf,
) -> Placement | None:
    """Give what a request can have without passing those ahead."""
    rivals = Rivals(pool, ahead, conditions.classes, now)
    seated = bool(pool.reservations_of(request.course, now))
    last = Ticket("", request, TicketState.WAITING, now)
    found = None
    for serving, closed in walk(
        chain(rivals, [last]),
        pool,
        lambda ticket: conditions if ticket is last else terms_of(ticket),
        rules,
        now,
        rules.depth,
    ):
        found = serving.placement if serving.ticket is last else None
        rivals.closed = closed
        if closed.issuperset(conditions.classes) and not seated:
            break
    return found


def _busy(request: GpuRequest) -> str:
    return "No GPU is free now." if request.count == 1 else f"Fewer than {request.count} GPUs are free on one host now."


def _promised(request: GpuRequest) -> str:
    return (
        f"{'The free GPU is' if request.count == 1 else 'The free GPUs are'} reserved, or promised to somebody who "
        "came before you. A shorter lease may fit in."
    )


def _gpus(count: int) -> str:
    return f"{count} GPU{'' if count == 1 else 's'}"


def describe(length: timedelta) -> str:
    """Write a length of time for people, in hours and minutes: ``1 h 30 min``."""
    minutes = int(length.total_seconds()) // 60
    hours, minutes = divmod(minutes, 60)
    if not hours:
        return f"{minutes} min"
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


SpentOf = Callable[[str], Spent]


def terms_by(
    pool: Pool,
    quota_of: Callable[[Ticket], Quota],
    spent_of: SpentOf,
    rules: LeaseRules,
    now: datetime,
) -> TermsOf:
    """Give the function that tells a ticket's terms, each asked for at most once."""
    known: dict[str, Terms | None] = {}

    def terms_of(ticket: Ticket) -> Terms | None:
        if ticket.id not in known:
            known[ticket.id] = _allowed(pool, ticket.request, quota_of(ticket), spent_of(ticket.user), rules, now)
        return known[ticket.id]

    return terms_of
