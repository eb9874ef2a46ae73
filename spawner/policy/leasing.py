"""Whether a request for GPUs is granted, has to wait, or is refused."""

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta

from .accounting import free_again_at, hours_to_ms
from .leases import Allot, GpuRequest, LeaseRules, Spent, Ticket, Wait
from .model import Deny
from .placement import place
from .pool import Pool, SlotClass
from .queue import Terms, TermsOf, ahead_of, in_order, walk
from .quota import ALL, Quota

_HOUR_MS = 3_600_000


def terms(
    pool: Pool, request: GpuRequest, quota: Quota, spent: Spent, rules: LeaseRules, now: datetime
) -> Terms | Deny:
    """Tell what a user's quota gives for a request, were slots free.

    Returns
    -------
    Terms or Deny
        ``Deny`` codes: ``no_gpus`` (no host has so many that will do), ``model_not_allowed``, ``over_limit`` (GPUs at
        once, or length), ``over_budget``.
    """
    classes = pool.classes(request, quota.models)
    if not any(_fits_a_node(pool, slot_class, request.count) for slot_class in classes):
        return _nothing_fits(pool, request, quota)
    if request.count > quota.gpus:
        return Deny("over_limit", f"{_gpus(request.count)} asked for; your quota is {quota.gpus} at once.")
    if spent.gpus_held + request.count > quota.gpus:
        return Deny(
            "over_limit",
            f"You hold {_gpus(spent.gpus_held)} already, and your quota is {quota.gpus} at once. "
            "Stop a server that has GPUs, or choose a profile without.",
        )
    if request.hours is not None and request.hours > quota.lease_hours:
        return Deny(
            "over_limit", f"{request.hours:g} hours asked for; your longest lease is {quota.lease_hours:g} hours."
        )
    return _within_budget(request, quota, spent, rules, now, tuple(classes))


def _within_budget(
    request: GpuRequest,
    quota: Quota,
    spent: Spent,
    rules: LeaseRules,
    now: datetime,
    classes: tuple[SlotClass, ...],
) -> Terms | Deny:
    wanted = timedelta(hours=quota.lease_hours if request.hours is None else request.hours)
    budget = hours_to_ms(quota.gpu_hours)
    if budget is None:
        return Terms(classes, wanted)
    left = max(0, budget - spent.used_ms - spent.committed_ms)
    affordable = timedelta(milliseconds=left // request.count)
    if affordable >= wanted:
        return Terms(classes, wanted)
    if request.hours is None and affordable >= rules.shortest:
        note = f"Shortened to {describe(affordable)}: that is what your GPU budget leaves."
        return Terms(classes, affordable, note)
    needed = (rules.shortest if request.hours is None else wanted) // timedelta(milliseconds=1) * request.count
    # What is committed counts as used: it will be, unless a server is stopped.
    again = free_again_at(spent.past, needed + spent.committed_ms, budget, now, rules.window)
    when = f"From {again:%Y-%m-%d %H:%M} UTC on there is enough" if again else "Ask for less"
    return Deny(
        "over_budget",
        f"{needed / _HOUR_MS:.3g} GPU-hours are needed, and {left / _HOUR_MS:.3g} of your {quota.gpu_hours:g} per "
        f"{rules.window.days} days are left. {when}, or ask an admin.",
    )


def _fits_a_node(pool: Pool, slot_class: SlotClass, count: int) -> bool:
    for ids in pool.members(slot_class).values():
        gpus = set()
        for slot_id in ids:
            gpus.add(pool.slots[slot_id].gpu)
            if len(gpus) >= count:
                return True
    return False


def _nothing_fits(pool: Pool, request: GpuRequest, quota: Quota) -> Deny:
    for_others = pool.classes(request, ALL)
    if any(_fits_a_node(pool, slot_class, request.count) for slot_class in for_others):
        models = ", ".join(sorted({slot_class.model for slot_class in for_others}))
        allowed = ", ".join(sorted(quota.models)) or "none"
        return Deny("model_not_allowed", f"This needs a GPU of model {models}; your quota allows {allowed}.")
    what = f" of model {', '.join(sorted(request.models))}" if request.models else ""
    return Deny(
        "no_gpus",
        f"{_gpus(request.count)}{what} on one host asked for, and this hub has none such to hand out. "
        "Ask for fewer, choose a profile without GPUs, or ask an admin.",
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
    ahead = list(pool.queue.values()) if ticket is None else ahead_of(ticket, pool, rules, now)
    classes = conditions.classes
    if not any(len(ids) >= request.count for c in classes for ids in pool.free(c).values()):
        return Wait(len(ahead) + 1, _busy(request))
    promises = None
    rivals = in_order(_rivals(pool, ahead, classes), pool, rules, now)
    for _, promises in walk(rivals, pool, terms_of, rules, now, rules.depth):
        if promises.closed.issuperset(classes):
            return Wait(len(ahead) + 1, _promised(request))
    found = place(pool, request, classes, conditions.length, rules, now, promises)
    if found is None:
        return Wait(len(ahead) + 1, _promised(request))
    if found.until < now + conditions.length:
        note = f"Shortened to {describe(found.until - now)}: after that the GPUs are reserved."
        return Allot(found.slots, found.until, note)
    return Allot(found.slots, found.until, conditions.note)


def _rivals(pool: Pool, tickets: list[Ticket], classes: Iterable[SlotClass]) -> list[Ticket]:
    """Keep those who want slots of these classes, or of such as their rivals want; the others cannot be passed."""
    wanted = [(ticket, pool.classes(ticket.request, ALL)) for ticket in tickets]
    kinds = {id(theirs): theirs for _, theirs in wanted}.values()  # the pool gives the same for the same wish
    rivalled = set(classes)
    before = 0
    while before < len(rivalled):
        before = len(rivalled)
        rivalled.update(*(theirs for theirs in kinds if not rivalled.isdisjoint(theirs)))
    concerned = {id(theirs) for theirs in kinds if not rivalled.isdisjoint(theirs)}
    return [ticket for ticket, theirs in wanted if id(theirs) in concerned]


def _busy(request: GpuRequest) -> str:
    return f"No {'GPU is' if request.count == 1 else f'{request.count} GPUs are'} free on one host now."


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
            found = terms(pool, ticket.request, quota_of(ticket), spent_of(ticket.user), rules, now)
            known[ticket.id] = None if isinstance(found, Deny) else found
        return known[ticket.id]

    return terms_of
