"""Metrics of the ledger: leases, queue, quotas, accounting; and of the janitor, which serves them.

They come from the ledger, so counters go on where they were after a restart.
"""

from .metric import Declaration, Kind, Source

WAIT_BUCKETS = (1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 1800.0, 3600.0, 7200.0, 14400.0, 28800.0, 86400.0)


def _gauge(name: str, text: str, *labels: str) -> Declaration:
    return Declaration(f"berth_{name}", Kind.GAUGE, text, Source.JANITOR, labels)


def _counter(name: str, text: str, *labels: str) -> Declaration:
    return Declaration(f"berth_{name}_total", Kind.COUNTER, text, Source.JANITOR, labels)


LEASES = _gauge("leases", "Open leases by state: offered, pending, active or releasing.", "state")
OPEN_LEASE_INFO = Declaration(
    "berth_open_lease_info",
    Kind.INFO,
    "An open lease in the ledger, one sample per slot; the exporter's `berth_lease_info` is what containers say.",
    Source.JANITOR,
    ("lease", "gpu", "slot", "user", "server", "course", "profile", "state"),
)
LEASE_GROUP_INFO = Declaration(
    "berth_lease_group_info",
    Kind.INFO,
    "A group that the holder of an open lease was in when it was granted; `group` is empty for who was in none.",
    Source.JANITOR,
    ("lease", "group"),
)
LEASE_GPUS = _gauge("lease_gpus", "Slots that an open lease holds.", "lease")
LEASE_GRANTED = _gauge("lease_granted_timestamp_seconds", "When an open lease was granted, since 1970.", "lease")
LEASE_ENDS = _gauge("lease_end_timestamp_seconds", "When an open lease ends at the latest, since 1970.", "lease")
LEASE_IDLE_SINCE = _gauge(
    "lease_idle_since_timestamp_seconds", "Since when an open lease's GPUs and kernels do nothing, since 1970.", "lease"
)
SLOTS = _gauge(
    "slots", "Slots by model, kind and state: held, free, or unusable (not in service).", "model", "kind", "state"
)
GPU_ADMIN_STATE = _gauge(
    "gpu_admin_state",
    "1 for the state that a GPU is in, 0 for the others: in_service, draining, out_of_service, quarantined.",
    *("gpu", "state"),
)

QUEUE_LENGTH = _gauge("queue_length", "Tickets in the queue by state: waiting or offered.", "state")
QUEUE_OLDEST = _gauge("queue_oldest_wait_seconds", "How long the oldest waiting ticket has waited; 0 without any.")
QUEUE_WAIT = Declaration(
    "berth_queue_wait_seconds",
    Kind.HISTOGRAM,
    "From a ticket's arrival to the grant of its lease; who was served at once has no ticket.",
    Source.JANITOR,
    (),
    WAIT_BUCKETS,
)
TICKETS = _counter("tickets", "Tickets that left the queue, by how: served, cancelled, expired.", "outcome")
OFFERS_EXPIRED = _counter("offers_expired", "Offers that nobody took in time.")

GPU_SECONDS = _counter(
    "gpu_seconds", "GPU time of a user's leases, closed and running, in seconds of one slot.", "user"
)
GROUP_GPU_SECONDS = _counter(
    "group_gpu_seconds",
    "GPU time of leases whose holder was in a group; who is in two counts in both, who is in none under an empty name.",
    "group",
)
COURSE_GPU_SECONDS = _counter("course_gpu_seconds", "GPU time of leases in a course's seats.", "course")

QUOTA_GPUS = _gauge(
    "quota_gpus", "GPUs at once that a user may have; of users who have a lease, a ticket or used GPUs lately.", "user"
)
BUDGET = _gauge(
    "gpu_budget_seconds", "GPU time per window that a user may use; no sample for who has no bound.", "user"
)
BUDGET_USED = _gauge(
    "gpu_budget_used_seconds",
    "GPU time that a user has used in the window, running leases included, seats in courses not.",
    "user",
)
HOME_QUOTA = _gauge("home_quota_bytes", "Size that a user's home may have; no sample for who has no bound.", "user")

RESERVATIONS = _gauge("reservations", "Reservations by state: coming or running.", "state")
RESERVED_SLOTS = _gauge(
    "reserved_slots",
    "Slots of running reservations, by state: free, held by the course, taken by others, or unusable.",
    "course",
    "state",
)
RESERVATIONS_KEPT = _counter(
    "reservations_started", "Reservations that began, by whether all their slots were there: kept or broken.", "outcome"
)

REPAIRS = _counter(
    "reconcile_repairs",
    "What the reconciliation of ledger and engine had to mend, by kind: activate, adopt, quarantine, release, remove.",
    "kind",
)
LOOP_SUCCESS = _gauge(
    "janitor_loop_last_success_timestamp_seconds", "When a loop's turn last went well, since 1970.", "loop"
)
LOOP_FAILURE = _gauge(
    "janitor_loop_last_failure_timestamp_seconds", "When a loop's turn last failed, since 1970.", "loop"
)
LOOP_INTERVAL = _gauge("janitor_loop_interval_seconds", "How often a loop is to take a turn.", "loop")
JANITOR_STEPS = _counter("janitor_steps", "Steps that changed something since this janitor runs.", "loop")
LEDGER_UP = _gauge("ledger_up", "Whether the ledger could be read; without it the metrics from it have no samples.")

LEASE_METRICS = tuple(value for value in globals().copy().values() if isinstance(value, Declaration))
