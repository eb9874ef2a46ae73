"""What each loop does at one turn, and says it has done."""

import json
import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

from ..operations import inventory, leases, offers, quotas, repairs
from ..policy.ends import Ending, endings, idle_since
from ..policy.leases import AtEnd, Lease, LeaseState
from .hub import Hub, HubUnavailable
from .post import Post
from .probing import look
from .reconciling import carry_out, describe, needed, plan

_LOG = logging.getLogger("berth.janitor")
_AT_ONCE = 8  # servers that are ended at the same time
_STOP_PATIENCE = 90.0
_OFFER_AGE = timedelta(seconds=3)  # a start that waits takes its offer itself within a second
_REPORT = timedelta(seconds=120)  # within which a server's word of a busy kernel counts as of now


def reconcile_once(post: Post) -> str:
    """Bring ledger and engine together."""
    outcomes = carry_out(post, plan(post))
    for outcome in outcomes:
        if outcome.done and needed([outcome.repair]):
            _LOG.warning("Repaired: %s", describe(outcome.repair))
        elif outcome.problem:
            _LOG.error("Not repaired: %s: %s", describe(outcome.repair), outcome.problem)
    done = sum(outcome.done for outcome in outcomes if needed([outcome.repair]))
    return f"{done} repairs"


def inventory_once(post: Post) -> str:
    """Look which GPUs there are."""
    layout, _ = look(post)
    changed = inventory.sync(post.desk, post.node, layout.gpus, layout.slots)
    if changed:
        for note in layout.notes:
            _LOG.warning("%s", note)
    return f"{len(layout.gpus)} GPUs, {len(layout.slots)} slots{', changed' if changed else ''}"


def offers_once(post: Post) -> str:
    """Serve the queue, take back what nobody took, and start servers whose turn it is."""
    now = post.desk.clock()
    withdrawn = sum(
        offers.withdraw(post.desk, lease.id)
        for lease in repairs.open_leases(post.desk)
        if lease.state is LeaseState.OFFERED and lease.offered_until is not None and lease.offered_until <= now
    )
    made = offers.offer_now(post.desk)
    started = 0
    if post.hub is not None:
        for lease in repairs.open_leases(post.desk):
            if lease.state is LeaseState.OFFERED and lease.changed_at + _OFFER_AGE <= now:
                started += _start_offered(post, post.hub, lease)
    return f"{len(made)} offers made, {withdrawn} withdrawn, {started} servers started"


def _start_offered(post: Post, hub: Hub, lease: Lease) -> bool:
    ticket = offers.ticket_of(post.desk, lease)
    if ticket is None or not ticket.starts_itself:
        return False
    try:
        return hub.start(lease.user, lease.server, json.loads(ticket.request.options))
    except HubUnavailable as error:
        _LOG.warning("Server %s/%s could not be started by itself: %s", lease.user, lease.server, error)
        return False


def expiry_once(post: Post) -> str:
    """End what is over: leases whose time is up, that do nothing, or whose budget is used up."""
    trimmed = leases.trim_all(post.desk)
    ended = quotas.grants_ended(post.desk)
    open_leases = repairs.open_leases(post.desk)
    idle_of = {lease.id: post.idle_limit(lease) for lease in open_leases}
    due = endings(open_leases, idle_of, post.desk.clock())
    if post.hub is None:
        return f"{len(due)} leases are over, and there is no hub to end their servers"
    hub = post.hub
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="ending") as threads:
        done = sum(threads.map(lambda ending: _end(post, hub, ending), due))
    return f"{done} of {len(due)} leases ended, {len(trimmed)} shortened, {len(ended)} grants ended"


def _end(post: Post, hub: Hub, ending: Ending) -> bool:
    """Release a lease's GPUs and keep the work: saved, stopped, and started again without GPUs if so chosen."""
    lease = ending.lease
    if lease.state is LeaseState.PENDING:
        return False  # the hub cannot stop a server that is starting; its turn comes when it is up
    _LOG.info("Lease %s of %s/%s ends: %s", lease.id, lease.user, lease.server, ending.why)
    try:
        if not hub.save(lease.user, lease.server):
            _LOG.warning("Server %s/%s could not be asked to save", lease.user, lease.server)
        leases.release(post.desk, lease.id, ending.why)
        hub.stop(lease.user, lease.server, _STOP_PATIENCE)
        if lease.at_end is AtEnd.CPU:
            hub.start(lease.user, lease.server, {"profile": lease.profile, "gpus": 0})
    except HubUnavailable as error:
        # Its slots come back by the reconciliation, once the grace is over.
        _LOG.warning("Lease %s: %s", lease.id, error)
        return False
    return True


def idle_once(post: Post) -> str:
    """Note which leases do nothing."""
    if post.probe is None:
        return "no GPUs"
    now = post.desk.clock()
    working = {reading.mig or reading.gpu: reading.sm for reading in post.probe.activity()}
    threshold = post.settings.leases.idle_utilisation
    idle = 0
    for lease in repairs.open_leases(post.desk):
        if lease.state is not LeaseState.ACTIVE:
            continue
        devices = [slot.device for slot in inventory.slots_of(post.desk, lease.slots)]
        read = [working.get(device) for device in devices]
        utilisation = None if None in read else max((one for one in read if one is not None), default=None)
        since = idle_since(lease, utilisation, threshold, _REPORT, now)
        idle += since is not None
        if since != lease.idle_since:
            leases.note_idle(post.desk, replace(lease, idle_since=since), lease)
    return f"{idle} leases idle"
