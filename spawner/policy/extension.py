"""Whether a lease may last longer."""

from datetime import datetime, timedelta

from .accounting import hours_to_ms, length_ms
from .leases import Lease, LeaseRules, LeaseState, Spent
from .leasing import describe, lease_length
from .model import Deny
from .pool import Pool, SlotClass, class_of
from .queue import TermsOf
from .quota import Quota, allows

_MS = timedelta(milliseconds=1)
_MINUTE = timedelta(minutes=1)


def extend(
    pool: Pool,
    lease: Lease,
    hours: float | None,
    quota: Quota,
    spent: Spent,
    rules: LeaseRules,
    now: datetime,
    terms_of: TermsOf,
) -> datetime | Deny:
    """Give a lease's new end.

    A lease never lasts longer than the longest one from now on; who extends holds the GPUs no longer ahead than who
    asks anew.

    Parameters
    ----------
    hours
        To add to the present end; None takes as much as is allowed.

    Returns
    -------
    datetime or Deny
        ``Deny`` codes: ``invalid_option`` (not above 0), ``lease_over``, ``others_wait``, ``model_not_allowed``,
        ``over_limit``, ``over_budget``, ``reserved``.
    """
    if hours is not None and not hours > 0:
        return Deny("invalid_option", f"By how much should it last longer? {hours:g} hours are no time.")
    if lease.state not in {LeaseState.PENDING, LeaseState.ACTIVE} or lease.ends_at <= now:
        return Deny("lease_over", "This lease is over already; ask for a new one.")
    classes = {class_of(pool.slots[slot]) for slot in lease.slots if slot in pool.slots}
    for ticket in pool.queue.values():
        their = terms_of(ticket)
        if their is not None and not classes.isdisjoint(their.classes):
            return Deny("others_wait", "Somebody waits for such a GPU, so leases are not extended now.")
    over = _over_quota(classes, quota, spent)
    if over is not None:
        return over
    longest = now + lease_length(quota.lease_hours)
    wanted = longest if hours is None else lease.ends_at + lease_length(hours)
    if hours is not None and wanted > longest:
        return Deny(
            "over_limit",
            f"It would last {describe(wanted - now)} from now; you may have GPUs for {describe(longest - now)} at a "
            "time. Ask for less.",
        )
    bounds = [(wanted, "")]
    budget = hours_to_ms(quota.gpu_hours)
    if budget is not None:
        affordable = max(0, budget - spent.used_ms - spent.committed_ms) // len(lease.slots)
        if affordable <= length_ms(lease.ends_at, wanted):
            bounds.append((lease.ends_at + affordable * _MS, "over_budget"))
    for slot in lease.slots:
        following = [start for start, finish in pool.reserved(slot, lease.course) if finish > lease.ends_at]
        if following:
            bounds.append((min(following) - rules.turnover, "reserved"))
    end, cause = min(bounds)
    if end <= lease.ends_at or (hours is not None and cause):
        return _refused(cause, end, lease, now)
    return end


def _over_quota(classes: set[SlotClass], quota: Quota, spent: Spent) -> Deny | None:
    """Refuse what a quota that was lowered meanwhile would not give any more."""
    others = sorted({slot_class.model for slot_class in classes if not allows(quota.models, slot_class.model)})
    if others:
        text = f"Your quota has no GPUs of model {' or '.join(others)} any more, so this lease is not extended."
        return Deny("model_not_allowed", text)
    if spent.gpus_held > quota.gpus:
        return Deny(
            "over_limit",
            f"You hold {spent.gpus_held} GPU{'' if spent.gpus_held == 1 else 's'}, and your quota is "
            f"{quota.gpus or 'none'} at once by now, so your leases are not extended.",
        )
    return None


def _refused(cause: str, end: datetime, lease: Lease, now: datetime) -> Deny:
    more = max(end - lease.ends_at, timedelta(0))
    most = f"{describe(more)} more" if more >= _MINUTE else "no more time"
    if cause == "over_budget":
        return Deny("over_budget", f"Your GPU budget leaves {most} for this server. Ask an admin for more.")
    if cause == "reserved":
        return Deny("reserved", f"These GPUs are reserved afterwards, which leaves {most} for this server.")
    return Deny(
        "over_limit",
        f"It lasts {describe(lease.ends_at - now)} from now already, the longest that you may have GPUs at a time.",
    )
