"""When leases end: who is told, whose time is up, who does nothing."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from zlib import crc32

from .accounting import hours_to_ms, length_ms
from .leases import RESERVED, Lease, LeaseState, Spent
from .quota import Quota

_HOUR, _MINUTE = timedelta(hours=1), timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Notice:
    """Something that a user should know of a server's lease.

    Attributes
    ----------
    id
        The same for the same notice, so that nobody is told twice.
    level
        ``info``, ``warning`` or ``error``.
    actions
        What can be done about it at once: ``extend``, ``release``, ``restart``.
    """

    id: str
    level: str
    text: str
    at: datetime
    actions: tuple[str, ...] = ()


def notices(
    lease: Lease, warn_minutes: Iterable[int], idle: timedelta, idle_warning: timedelta, now: datetime
) -> list[Notice]:
    """List what a lease's user should know now.

    Parameters
    ----------
    warn_minutes
        Minutes before the end at which they are told; of those that have passed, only the last still matters.
    idle
        How long the GPUs may be unused; zero for ever.
    idle_warning
        How long before they are released for that.
    """
    found = []
    if lease.problem:
        found.append(
            Notice(
                f"{lease.id}-gpu",
                "error",
                f"Something is wrong with the server's GPU: {lease.problem}. Save your work and restart the server; "
                "your files are kept.",
                now,
                ("restart",),
            )
        )
    if lease.state is not LeaseState.ACTIVE:
        return found
    if lease.warning:
        # Another one is another notice.
        found.append(Notice(f"{lease.id}-share-{crc32(lease.warning.encode()):x}", "warning", lease.warning, now))
    passed = [minutes for minutes in warn_minutes if lease.ends_at - timedelta(minutes=minutes) <= now]
    if passed and lease.ends_at > now:
        minutes = min(passed)
        left = max(1, round((lease.ends_at - now) / timedelta(minutes=1)))
        what = "the server starts again without it" if lease.at_end == "cpu" else "the server stops"
        why = ", for a class has reserved it" if lease.ending == RESERVED else ""
        found.append(
            Notice(
                f"{lease.id}-ends-{minutes}-{lease.ends_at:%H%M%S}",
                "warning",
                f"The GPU goes back in {left} minute{'' if left == 1 else 's'}{why}: open documents are saved, and "
                f"{what}. Running kernels end.",
                lease.ends_at - timedelta(minutes=minutes),
                ("release",) if why or lease.course else ("extend", "release"),
            )
        )
    elif lease.ending == RESERVED and lease.ends_at > now:
        # At once, and not only when the end is near: there may be time to finish something, or to plan anew.
        ahead = lease.ends_at - now
        length = f"{round(ahead / _HOUR)} hours" if ahead >= 2 * _HOUR else f"{round(ahead / _MINUTE)} minutes"
        found.append(
            Notice(
                f"{lease.id}-reserved-{lease.ends_at:%Y%m%d%H%M%S}",
                "info",
                f"A class has reserved the GPU, so it goes back in {length}, sooner than it was to. Your files are "
                "kept.",
                now,
                ("release",),
            )
        )
    since = lease.idle_since
    if since is not None and idle and not lease.course and now >= since + idle - idle_warning:
        minutes = max(1, round((since + idle - now) / timedelta(minutes=1)))
        found.append(
            Notice(
                f"{lease.id}-idle-{since:%H%M%S}",
                "warning",
                f"The GPU has done nothing for {round((now - since) / timedelta(minutes=1))} minutes and goes back in "
                f"{minutes} minute{'' if minutes == 1 else 's'}, unless it is used.",
                since + idle - idle_warning,
                ("release",),
            )
        )
    return found


@dataclass(frozen=True, slots=True)
class Ending:
    """A lease that is to be ended, and the code of its cause."""

    lease: Lease
    why: str


# Causes for which we end a lease, and not its user's stop or a failure.
_OURS = frozenset({"expired", "idle", "over_budget", "ended_by_admin", "released", RESERVED})


def endings(leases: Iterable[Lease], idle_of: Mapping[str, timedelta], now: datetime) -> list[Ending]:
    """List the leases whose servers have to give back their GPUs now.

    Those that are being released already are among them: whoever began with it may not have lived to go on. A seat in
    a course may be idle: somebody listens.

    Parameters
    ----------
    idle_of
        Per lease, how long its GPUs may be unused; zero or absent for ever.
    """
    found = []
    for lease in leases:
        if lease.state is LeaseState.RELEASING and lease.ending in _OURS:
            found.append(Ending(lease, lease.ending))
        if lease.state not in {LeaseState.ACTIVE, LeaseState.PENDING}:
            continue
        idle = idle_of.get(lease.id, timedelta(0))
        if lease.ends_at <= now:
            found.append(Ending(lease, lease.ending or "expired"))
        elif idle and not lease.course and lease.idle_since is not None and lease.idle_since + idle <= now:
            found.append(Ending(lease, "idle"))
    return found


def idle_since(
    lease: Lease, utilisation: float | None, threshold: float, report: timedelta, now: datetime
) -> datetime | None:
    """Tell since when a lease does nothing: its GPUs at or under the threshold, and none of its kernels busy.

    A utilisation that nobody can read is no sign of idleness: nothing is taken for it.

    Parameters
    ----------
    utilisation
        The highest of its slots, 0 to 1.
    report
        Within which a server's word of a busy kernel counts as of now.
    """
    working = utilisation is None or utilisation > threshold
    kernel = lease.busy_at is not None and now - lease.busy_at < report
    if working or kernel or lease.started_at is None:
        return None
    return lease.idle_since or now


def idle_limit(
    profile: timedelta | None, groups: Iterable[str], by_group: Mapping[str, timedelta], default: timedelta
) -> timedelta:
    """Give how long a server's GPUs may be unused: the profile's word, else the longest of the groups', else all's.

    Zero means for ever, and so is the longest.
    """
    if profile is not None:
        return profile
    said = [by_group[group] for group in groups if group in by_group]
    if not said:
        return default
    return timedelta(0) if timedelta(0) in said else max(said)


def trimmed_ends(leases: Iterable[Lease], quota: Quota, spent: Spent, now: datetime) -> list[tuple[Lease, datetime]]:
    """Give new ends to one user's leases, where together they would use more than the budget has left.

    Those that end last give first.
    """
    budget = hours_to_ms(quota.gpu_hours)
    if budget is None:
        return []
    over = spent.used_ms + spent.committed_ms - budget
    trimmed = []
    for lease in sorted(leases, key=lambda lease: (lease.ends_at, lease.id), reverse=True):
        if over <= 0:
            break
        left = length_ms(now, lease.ends_at)
        taken = min(left, -(-over // len(lease.slots)))
        if taken > 0:
            trimmed.append((lease, lease.ends_at - timedelta(milliseconds=taken)))
            over -= taken * len(lease.slots)
    return trimmed
