"""Metrics of classes: sessions and seats, as the ledger knows them; how starts went, since this janitor runs."""

from .metric import Declaration, Kind, Source

START_BUCKETS = (1.0, 2.0, 3.0, 5.0, 8.0, 13.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0)

CLASS_SESSIONS = Declaration(
    "berth_class_sessions",
    Kind.GAUGE,
    "Sessions of courses by phase: planned, warming, open, or ending while some of its seats still stop.",
    Source.JANITOR,
    ("phase",),
)
CLASS_SEATS = Declaration(
    "berth_class_seats",
    Kind.GAUGE,
    "Seats of sessions that are being warmed up, run or end, by state: not_started, starting, ready, working, idle, "
    "stuck, given_back, ended.",
    Source.JANITOR,
    ("state",),
)
CLASS_SEAT_START = Declaration(
    "berth_class_seat_start_seconds",
    Kind.HISTOGRAM,
    "From the request of a seat's server until it answered, since this janitor runs.",
    Source.JANITOR,
    (),
    START_BUCKETS,
)
CLASS_SEAT_FAILURES = Declaration(
    "berth_class_seat_failures_total",
    Kind.COUNTER,
    "Seats that came to nothing since this janitor runs, by why: start (its server did not start), gone (its server "
    "ended before its session), busy (the hub could not start it then, and is asked again), image (its image is not to "
    "be had).",
    Source.JANITOR,
    ("why",),
)
FAILURES = ("start", "gone", "busy", "image")

CLASS_METRICS = tuple(value for value in globals().copy().values() if isinstance(value, Declaration))
