"""Metrics of requests and starts; the hub serves them beside JupyterHub's own, at ``/hub/metrics``."""

from .metric import Declaration, Kind, Source

PHASE_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0)

LEASE_REQUESTS = Declaration(
    "berth_lease_requests_total",
    Kind.COUNTER,
    "Requests for GPUs by outcome (granted, queued, on_cpu, denied, failed, cancelled) and reason: the refusal's or "
    "error's code, empty where granted.",
    Source.HUB,
    ("outcome", "reason"),
)
SPAWN_PHASE = Declaration(
    "berth_spawn_phase_seconds",
    Kind.HISTOGRAM,
    "How long each phase of a start took: claim (of GPUs), pull (of the image), create (of the container, its start "
    "included), ready (until the server answered), and total; those that came to nothing left out.",
    Source.HUB,
    ("phase",),
    PHASE_BUCKETS,
)
SPAWNS = Declaration(
    "berth_spawns_total",
    Kind.COUNTER,
    "Starts by outcome (ready, queued, refused, failed, cancelled) and reason: the refusal's or error's code, empty "
    "where ready.",
    Source.HUB,
    ("outcome", "reason"),
)

HUB_METRICS = (LEASE_REQUESTS, SPAWN_PHASE, SPAWNS)
