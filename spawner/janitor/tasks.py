"""What each loop looks for at one turn."""

import json
import logging
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial

from ..engine import containers
from ..engine.client import engine_errors
from ..operations import ends, inventory, leases, offers, quotas, repairs, reservations
from ..policy.ends import Ending, endings, idle_since
from ..policy.leases import GpuRequest, Lease, LeaseState, TicketState
from ..policy.model import AtEnd
from .class_work import ENDED_HERE
from .hub import HubUnavailable
from .post import Post
from .probing import look
from .reconciling import carry_out, describe, needed, plan
from .steps import Step

_LOG = logging.getLogger("berth.janitor")
_STOP_PATIENCE = 90.0
_OFFER_AGE = timedelta(seconds=3)  # a start that waits takes its offer itself within a second
_REPORT = timedelta(seconds=120)  # within which a server's word of a busy kernel counts as of now
_GAP = timedelta(minutes=2)  # without a look at what GPUs do, after which nobody knows whether they did nothing


def inventory_steps(post: Post) -> list[Step]:
    """Look which GPUs there are."""
    layout, _ = look(post)

    def take_over() -> bool:
        changed = inventory.sync(post.desk, post.node, layout.gpus, layout.slots)
        for note in layout.notes if changed else ():
            _LOG.warning("%s", note)
        return changed

    return [Step(f"take over {len(layout.gpus)} GPUs with {len(layout.slots)} slots", take_over)]


def reconcile_steps(post: Post) -> list[Step]:
    """Compare the ledger with the engine; all repairs are one step, for their order matters."""
    planned = plan(post)
    repaired = needed(planned)

    def repair() -> bool:
        outcomes = carry_out(post, planned)
        for outcome in outcomes:
            if outcome.problem:
                _LOG.error("Not repaired: %s: %s", describe(outcome.repair), outcome.problem)
            elif outcome.done and needed([outcome.repair]):
                _LOG.warning("Repaired: %s", describe(outcome.repair))
        return any(outcome.done for outcome in outcomes if needed([outcome.repair]))

    return [Step("; ".join(map(describe, repaired)) or "note that all servers are as they should be", repair)]


def offer_steps(post: Post) -> list[Step]:
    """Serve the queue, take back what nobody took, and start servers whose turn it is."""
    now = post.desk.clock()
    steps = []
    offered = [lease for lease in repairs.open_leases(post.desk) if lease.state is LeaseState.OFFERED]
    for lease in offered:
        if lease.offered_until is not None and lease.offered_until <= now:
            steps.append(
                Step(
                    f"take back from {whose(lease)} the offer that lapsed",
                    partial(offers.withdraw, post.desk, lease.id),
                )
            )
        elif lease.changed_at + _OFFER_AGE <= now:
            steps.append(
                Step(
                    f"start the server {whose(lease)}, whose turn it is",
                    partial(_start_offered, post, lease),
                    slow=True,
                )
            )
    served = offers.servable(post.desk)
    if served:
        names = ", ".join(whose(serving.ticket.request) for serving in served)
        steps.append(Step(f"offer GPUs to {names}", lambda: bool(offers.offer_now(post.desk))))
    return steps


def _start_offered(post: Post, lease: Lease) -> bool:
    ticket = offers.ticket_of(post.desk, lease)
    if ticket is None or ticket.state is not TicketState.OFFERED or not ticket.starts_itself:
        return False
    try:
        return post.require_hub().start(lease.user, lease.server, json.loads(ticket.request.options))
    except HubUnavailable as error:
        _LOG.warning("The server %s could not be started by itself: %s", whose(lease), error)
        return False


def expiry_steps(post: Post) -> list[Step]:
    """End what is over: grants, leases beyond their user's budget, leases whose time is up or that do nothing.

    And note which reservations have begun, with all their slots or without.
    """
    steps = [
        Step(
            f"note that the reservation {one.id} of course {one.course} has begun",
            partial(reservations.note_begun, post.desk, one.id),
        )
        for one in reservations.begun(post.desk)
    ]
    over = quotas.over(post.desk)
    if over:
        names = ", ".join(f"{grant.dimension} of {grant.subject} {grant.name}".rstrip() for grant in over)
        steps.append(
            Step(f"take back what was granted for a time: {names}", lambda: bool(quotas.grants_ended(post.desk)))
        )
    too_long = ends.too_long(post.desk)
    if too_long:
        names = ", ".join(f"{lease.id} of {whose(lease)} to {end:%H:%M:%S} UTC" for lease, end in too_long)
        steps.append(Step(f"shorten to their users' budgets: {names}", lambda: bool(ends.trim_all(post.desk))))
    open_leases = repairs.open_leases(post.desk)
    due = _due(post, open_leases)
    now = post.desk.clock()
    return steps + [
        _end_step(post, ending) for ending in due if not _of_class(ending, now) and _can_end(post, ending.lease)
    ]


def _of_class(ending: Ending, now: datetime) -> bool:
    """Tell whether a class's loop ends a lease; where it did not, this one does."""
    lease = ending.lease
    since = lease.changed_at if lease.state is LeaseState.RELEASING else lease.ends_at
    return bool(lease.course) and ending.why in {"expired", "reserved"} and now < since + ENDED_HERE


def _due(post: Post, open_leases: list[Lease]) -> list[Ending]:
    idle_of = {lease.id: post.idle_limit(lease) for lease in open_leases} if _watching(post) else {}
    return endings(open_leases, idle_of, post.desk.clock())


def _watching(post: Post) -> bool:
    """Tell whether somebody has looked all the time for GPUs that do nothing."""
    last = _last_look(post)
    return last is not None and post.desk.clock() - last < _GAP


def _last_look(post: Post) -> datetime | None:
    """Tell when somebody last looked for GPUs that do nothing."""
    with post.desk.ledger.reading() as books:
        return next((loop.succeeded_at for loop in books.loops.all() if loop.name == "idle"), None)


def _can_end(post: Post, lease: Lease) -> bool:
    """Tell whether the hub can stop a lease's server: one that is starting gets its turn when it is up."""
    if lease.state is not LeaseState.RELEASING or not lease.container:
        return lease.state is LeaseState.ACTIVE
    # Somebody did not live to finish it. The server that the hub has may be another by now, without GPUs.
    with engine_errors():
        state = containers.state(post.engine, lease.container)
    return state is not None and state.running


def _end_step(post: Post, ending: Ending) -> Step:
    after = "start it again without GPUs" if ending.lease.at_end is AtEnd.CPU else "leave it stopped"
    text = f"end the lease {ending.lease.id} ({ending.why}): save and stop {whose(ending.lease)}, {after}"
    return Step(text, lambda: _end(post, ending), slow=True)


def _end(post: Post, ending: Ending) -> bool:
    """Release a lease's GPUs and keep the work: saved, stopped, and started again without GPUs if so chosen."""
    # It may have been extended or used since it was looked at, or its user have chosen otherwise.
    current = [lease for lease in repairs.open_leases(post.desk) if lease.id == ending.lease.id]
    if ending.why not in [found.why for found in _due(post, current)]:
        return False
    [lease] = current
    _LOG.info("Lease %s of %s ends: %s", lease.id, whose(lease), ending.why)
    try:
        hub = post.require_hub()
        if not hub.save(lease.user, lease.server):
            _LOG.warning("The server %s could not be asked to save", whose(lease))
        leases.release(post.desk, lease.id, ending.why)
        hub.stop(lease.user, lease.server, _STOP_PATIENCE)
        if lease.at_end is AtEnd.CPU:
            hub.start(lease.user, lease.server, {"profile": lease.profile, "gpus": 0})
    except HubUnavailable as error:
        # Its slots come back by the reconciliation, once the grace is over.
        _LOG.warning("Lease %s: %s", lease.id, error)
        return False
    return True


def idle_steps(post: Post) -> list[Step]:
    """Note which leases do nothing."""
    if post.probe is None:
        return []
    now = post.desk.clock()
    working = {reading.mig or reading.gpu: reading.sm for reading in post.probe.activity()}
    threshold = post.settings.leases.idle_utilisation
    steps = []
    known, last = inventory.known_slots(post.desk), _last_look(post)
    watching = last is not None and now - last < _GAP
    for lease in repairs.open_leases(post.desk):
        if lease.state is not LeaseState.ACTIVE:
            continue
        read = [working.get(known[slot_id].device) if slot_id in known else None for slot_id in lease.slots]
        utilisation = None if None in read else max((one for one in read if one is not None), default=None)
        seen = lease if watching else replace(lease, idle_since=None)
        since = idle_since(seen, utilisation, threshold, _REPORT, now)
        if since != lease.idle_since:
            state = f"idle since {since:%H:%M:%S} UTC" if since else "at work"
            until = now if watching else last or lease.idle_since
            steps.append(
                Step(
                    f"note that {whose(lease)} is {state}",
                    partial(ends.note_idle, post.desk, lease, since, until),
                )
            )
    return steps


def whose(owned: Lease | GpuRequest) -> str:
    """Name a server."""
    return f"{owned.user}/{owned.server}" if owned.server else owned.user
