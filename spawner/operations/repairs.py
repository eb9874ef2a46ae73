"""Carrying out what `spawner.policy.reconcile` plans, as far as it is the ledger's."""

from dataclasses import replace
from datetime import datetime

from ..ledger import AuditEntry, Books
from ..policy.leases import Lease, LeaseState
from ..policy.model import AtEnd
from ..policy.observed import ObservedContainer
from ..policy.reconcile import Activate, Adopt, Quarantine, Release, Repair, Seen, Withdraw
from .desk import Desk
from .leases import book_and_close, make_active
from .offers import make_offers, withdraw

JANITOR = "janitor"
REPAIRED = {
    "lease.activate": "activate",
    "lease.adopt": "adopt",
    "lease.release": "release",
    "container.remove": "remove",
    "slot.quarantine": "quarantine",
}
"""Actions of the janitor's in the audit, and the kind of repair that each is."""


def open_leases(desk: Desk) -> list[Lease]:
    with desk.ledger.reading() as books:
        return books.leases.open()


def quarantined_slots(desk: Desk) -> frozenset[str]:
    with desk.ledger.reading() as books:
        return frozenset(books.gpus.quarantined_slots())


def apply(desk: Desk, repair: Repair) -> bool:
    """Carry out one repair on the ledger; True if it changed anything.

    Two that carry out the same do it once: each looks whether the lease still is what the plan was made for. Removals
    of containers are the caller's.
    """
    if isinstance(repair, Seen):
        return _seen(desk, repair)
    if isinstance(repair, Activate):
        return _activate(desk, repair)
    if isinstance(repair, Release):
        return _release(desk, repair)
    if isinstance(repair, Withdraw):
        return withdraw(desk, repair.lease.id)
    if isinstance(repair, Adopt):
        return _adopt(desk, repair)
    if isinstance(repair, Quarantine):
        return _quarantine(desk, repair)
    return False


def note_end(desk: Desk, repair: Release) -> bool:
    """Note when a server ended, before its container is removed; False if something else has happened to its lease.

    The engine knows the time no more once the container is gone, and the hub may close the lease first, or another
    janitor after this one was killed.
    """
    with desk.ledger.transaction() as books:
        lease = _if_unchanged(books, repair.lease)
        if lease is None:
            return False
        if repair.ended_at is not None:
            _saw(books, lease, repair.ended_at, desk.clock())
        return True


def _if_unchanged(books: Books, lease: Lease) -> Lease | None:
    """Give a lease as it is now, unless something has happened to it since the plan was made."""
    found = books.leases.get(lease.id)
    if found is None or (found.state, found.changed_at) != (lease.state, lease.changed_at):
        return None
    return found


def _activate(desk: Desk, repair: Activate) -> bool:
    with desk.ledger.transaction() as books:
        now = desk.clock()
        lease = _if_unchanged(books, repair.lease)
        if lease is None:
            return False
        started = repair.container.started_at or lease.granted_at
        make_active(books, lease, repair.container.id, started, repair.at, now)
        _note(books, now, "lease.activate", f"lease {lease.id}", {"container": repair.container.id, "user": lease.user})
        return True


def _release(desk: Desk, repair: Release) -> bool:
    with desk.ledger.transaction() as books:
        now = desk.clock()
        lease = _if_unchanged(books, repair.lease)
        if lease is None:
            return False
        book_and_close(books, lease, repair.ended_at, repair.why, now)
        _note(books, now, "lease.release", f"lease {lease.id}", {"user": lease.user, "why": repair.why})
        make_offers(desk, books, now)
        return True


def _seen(desk: Desk, repair: Seen) -> bool:
    with desk.ledger.transaction() as books:
        now = desk.clock()
        lease = books.leases.get(repair.lease.id)
        if lease is None or lease.state is not LeaseState.ACTIVE:
            return False
        return _saw(books, replace(lease, container=repair.container.id), repair.at, now)


def _saw(books: Books, lease: Lease, ran_until: datetime, now: datetime) -> bool:
    """Note until when a lease's container surely ran; never taken back, whatever clocks do."""
    seen = max(lease.seen_at or ran_until, min(ran_until, now))
    return books.leases.update(replace(lease, seen_at=seen), lease)


def _adopt(desk: Desk, repair: Adopt) -> bool:
    """Give a lease to a container that runs without one; nothing if its slots are held or unknown by now."""
    container = repair.container
    with desk.ledger.transaction() as books:
        now = desk.clock()
        slots = {slot.id for slot in books.gpus.slots()}
        held = {slot for lease in books.leases.open() for slot in lease.slots}
        if not set(container.slots) <= slots or held & set(container.slots):
            return False
        if books.leases.of_server(container.user, container.server) is not None:
            return False
        old = books.leases.get(container.lease)
        # What was booked already is not booked again.
        started = max(filter(None, [container.started_at, old.closed_at if old else None]), default=now)
        ends_at = max(old.ends_at, now + desk.rules.shortest) if old else now + desk.rules.window
        following = [
            one.starts_at - desk.rules.turnover
            for one in books.reservations.upcoming(now)
            if not set(one.slots).isdisjoint(container.slots)
            and (old is None or one.course != old.course or not old.course)
        ]
        if following and min(following) < ends_at:
            # What is reserved stays certain, but nobody is cut off at once for it.
            ends_at = max(min(following), now + desk.rules.shortest)
        lease = Lease(
            desk.new_id(),
            container.user,
            container.server,
            old.profile if old else "",
            LeaseState.ACTIVE,
            container.slots,
            granted_at=min(started, now),
            ends_at=ends_at,
            changed_at=now,
            groups=old.groups if old else frozenset(),
            course=old.course if old else "",
            at_end=old.at_end if old else AtEnd.CPU,
            started_at=min(started, now),
            seen_at=min(started, now),
            container=container.id,
        )
        books.leases.insert(lease)
        _note(books, now, "lease.adopt", f"lease {lease.id}", {"container": container.id, "user": container.user})
        return True


def _quarantine(desk: Desk, repair: Quarantine) -> bool:
    with desk.ledger.transaction() as books:
        now = desk.clock()
        new = set(repair.slots) - set(books.gpus.quarantined_slots())
        done = [slot for slot in sorted(new) if books.gpus.quarantine_slot(slot, repair.why, now)]
        for slot in done:
            _note(books, now, "slot.quarantine", f"slot {slot}", {"container": repair.container.id, "why": repair.why})
    return bool(done)


def note_removed(desk: Desk, container: ObservedContainer, why: str) -> None:
    """Note that the reconciliation has removed a container."""
    with desk.ledger.transaction() as books:
        after = {"user": container.user, "lease": container.lease, "why": why}
        _note(books, desk.clock(), "container.remove", f"container {container.id}", after)


def _note(books: Books, now: datetime, action: str, subject: str, after: dict[str, str]) -> None:
    books.audit.append(
        AuditEntry(at=now, actor=JANITOR, action=action, subject=subject, before=None, after=after, why="reconcile")
    )
