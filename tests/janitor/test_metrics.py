"""What the janitor serves to Prometheus, over HTTP."""

import sqlite3
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from spawner.janitor.loops import Runner
from spawner.janitor.metrics import LedgerMetrics
from spawner.janitor.schedule import loops
from spawner.metrics.of_leases import LEASE_METRICS
from spawner.metrics.pseudonyms import Pseudonyms
from spawner.metrics.server import serve
from spawner.operations import ends, inventory, leases, offers, repairs, reservations
from spawner.policy.gpus import GpuState
from spawner.policy.observed import ObservedContainer
from spawner.policy.reconcile import Seen

from ..support.office import HOUR, MINUTE, NOW, Office
from ..support.slots import gpus, shared
from ..support.waiting import eventually
from .conftest import Watch

START = NOW.timestamp()
LOOPS = [
    *("inventory", "reconcile", "offers", "expiry", "idle", "watchdog"),
    *("rosters", "prepare", "warmup", "seats", "endings"),
    *("collections", "materials", "course-homes", "leftovers"),
    *("homes", "archives", "volumes", "sizes", "owners"),
]
DECLARED = {metric.name: metric.labels for metric in LEASE_METRICS}
NAMES = Pseudonyms(None)


@dataclass(frozen=True)
class Serving:
    """A janitor's metrics, served."""

    port: int
    runners: dict[str, Runner]

    def __call__(self) -> dict[str, Any]:
        """Scrape: per metric its value, or the values by its one label, or by all of them as they are declared."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=30) as answer:
            text = answer.read().decode()
        found: dict[str, Any] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                names = DECLARED.get(sample.name, tuple(sorted(sample.labels)))
                assert sorted(names) == sorted(sample.labels)
                name = sample.name.removeprefix("berth_")
                if not names:
                    found[name] = sample.value
                    continue
                key = tuple(sample.labels[label] for label in names)
                its = found.setdefault(name, {})
                assert key not in its
                its[key[0] if len(key) == 1 else key] = sample.value
        return found


Serve = Callable[..., Serving]


@pytest.fixture
def serve_metrics(watch: Watch) -> Iterator[Serve]:
    with ExitStack() as stack:

        def start(names: Pseudonyms = NAMES, patience: float = 20.0) -> Serving:
            planned = loops(watch.post.settings)
            runners = {loop.name: Runner(watch.post, loop, "me") for loop in planned}
            metrics = LedgerMetrics(watch.office.desk, runners, planned, names, patience)
            server = serve(watch.post.settings.metrics, 0, metrics.collect)
            stack.callback(server.close)
            return Serving(server.port, runners)

        yield start


def test_who_holds_what(office: Office, serve_metrics: Serve) -> None:
    office.fit(gpus(2), shared(2, index=2, model="T4"))
    lease = office.running("ann", 2, 8, groups=frozenset({"lab", "staff"}), course="nlp", server="two")
    part = office.granted("bob", models=frozenset({"T4"}))
    waiting = office.queued("cleo", models=frozenset({"Simulated GPU"}))
    office.wait(MINUTE)
    ends.note_idle(office.desk, office.lease(lease.id), NOW)
    found = serve_metrics()()
    assert found["leases"] == {"offered": 0, "pending": 1, "active": 1, "releasing": 0}
    one = ("two", "nlp", "gpu", "active")
    assert found["open_lease_info"] == {
        **{(lease.id, slot, slot, "ann", *one): 1 for slot in ("SIM-local-0", "SIM-local-1")},
        (part.id, "SIM-local-2", part.slots[0], "bob", "", "", "gpu", "pending"): 1,
    }
    assert found["lease_group_info"] == {(lease.id, "lab"): 1, (lease.id, "staff"): 1, (part.id, ""): 1}
    assert found["lease_gpus"] == {lease.id: 2, part.id: 1}
    assert found["lease_granted_timestamp_seconds"] == {lease.id: START, part.id: START}
    assert found["lease_end_timestamp_seconds"] == {lease.id: START + 8 * 3600, part.id: START + 4 * 3600}
    assert found["lease_idle_since_timestamp_seconds"] == {lease.id: START}
    assert found["slots"] == {
        ("Simulated GPU", "exclusive", "held"): 2,
        ("Simulated GPU", "exclusive", "free"): 0,
        ("Simulated GPU", "exclusive", "unusable"): 0,
        ("T4", "shared", "held"): 1,
        ("T4", "shared", "free"): 1,
        ("T4", "shared", "unusable"): 0,
    }
    assert found["queue_length"] == {"waiting": 1, "offered": 0}
    assert found["queue_oldest_wait_seconds"] == 60
    assert found["ledger_up"] == 1
    offers.cancel(office.desk, "cleo", waiting.request.server)


def test_what_admins_took_out_of_service(office: Office, serve_metrics: Serve) -> None:
    office.fit(gpus(2))
    inventory.set_state(office.desk, "gpu0", GpuState.DRAINING, "olga", "a test")
    found = serve_metrics()()
    states = {"SIM-local-0": "draining", "SIM-local-1": "in_service"}
    assert found["gpu_admin_state"] == {(gpu, state): state == its for gpu, its in states.items() for state in GpuState}
    kind = ("Simulated GPU", "exclusive")
    assert found["slots"] == {(*kind, "held"): 0, (*kind, "free"): 1, (*kind, "unusable"): 1}


def test_what_of_a_budget_is_used(office: Office, serve_metrics: Serve) -> None:
    office.fit(gpus(3))
    office.running("ann", 2, 4)
    office.granted("bob")
    scrape = serve_metrics()
    office.wait(HOUR)
    assert scrape()["gpu_budget_used_seconds"] == {"ann": 7200, "bob": 0}


def test_who_used_how_much_and_may_use(office: Office, serve_metrics: Serve) -> None:
    office.fit(gpus(3))
    office.give("user", "ann", "gpu_hours", 10)
    office.give("user", "ann", "home", 1 << 30)
    lease = office.running("ann", 2, 4, groups=frozenset({"lab"}), course="nlp")
    office.granted("bob")
    scrape = serve_metrics()
    office.wait(HOUR)
    container = ObservedContainer("c", "c", "ann", "", lease.id, lease.slots, running=True)
    repairs.apply(office.desk, Seen(lease, container, NOW + HOUR / 2))
    found = scrape()
    assert found["gpu_seconds_total"] == {"ann": 3600, "bob": 0}
    assert found["group_gpu_seconds_total"] == {"lab": 3600, "": 0}
    assert found["course_gpu_seconds_total"] == {"nlp": 3600}
    assert found["quota_gpus"] == {"ann": 4, "bob": 4}
    assert found["gpu_budget_seconds"] == {"ann": 36_000}
    assert found["gpu_budget_used_seconds"] == {"ann": 0, "bob": 0}  # a seat in a course costs its user nothing
    assert found["home_quota_bytes"] == {"ann": 1 << 30}
    office.stop(lease)
    assert scrape()["gpu_seconds_total"] == serve_metrics()()["gpu_seconds_total"] == {"ann": 7200, "bob": 0}


def test_how_long_people_waited(office: Office, serve_metrics: Serve) -> None:
    office.fit(gpus(1))
    first = office.running("ann")
    office.queued("bob")
    office.wait(4 * MINUTE)
    office.stop(first)
    scrape = serve_metrics()
    assert scrape()["queue_length"] == {"waiting": 0, "offered": 1}
    office.granted("bob")
    found = scrape()
    assert found["queue_wait_seconds_count"] == 1
    assert found["queue_wait_seconds_sum"] == 240
    assert found["queue_wait_seconds_bucket"]["60.0"] == 0
    assert found["queue_wait_seconds_bucket"]["300.0"] == found["queue_wait_seconds_bucket"]["+Inf"] == 1
    assert found["tickets_total"] == {"served": 1, "cancelled": 0, "expired": 0}
    assert found["offers_expired_total"] == 0
    assert found["queue_oldest_wait_seconds"] == 0


def test_reservations(office: Office, watch: Watch, serve_metrics: Serve) -> None:
    office.fit(gpus(3))
    office.reserve("nlp", NOW + HOUR, NOW + 3 * HOUR, "SIM-local-0", "SIM-local-1")
    office.reserve("vision", NOW + 5 * HOUR, NOW + 6 * HOUR, "SIM-local-0")
    scrape = serve_metrics()
    assert scrape()["reservations"] == {"coming": 2, "running": 0}
    office.wait(HOUR)
    office.granted("ann", course="nlp", hours=1)
    found = scrape()
    assert found["reservations"] == {"coming": 1, "running": 1}
    assert found["reserved_slots"] == {
        ("nlp", "free"): 1,
        ("nlp", "held"): 1,
        ("nlp", "taken"): 0,
        ("nlp", "unusable"): 0,
    }
    assert found["reservations_started_total"] == {"kept": 0, "broken": 0}
    assert reservations.begun(office.desk)
    assert scrape.runners["expiry"].turn()
    found = scrape()
    assert found["reservations_started_total"] == {"kept": 1, "broken": 0}
    assert found["janitor_steps_total"] == {**dict.fromkeys(LOOPS, 0), "expiry": 1}
    scrape.runners["expiry"].turn()
    assert scrape()["janitor_steps_total"]["expiry"] == 1


def test_how_the_loops_go(office: Office, watch: Watch, serve_metrics: Serve) -> None:
    scrape = serve_metrics()
    assert scrape()["janitor_loop_interval_seconds"] == {
        "inventory": 30,
        "reconcile": 30,
        "offers": 2,
        "expiry": 5,
        "idle": 30,
        "watchdog": 15,
        "rosters": 5,
        "prepare": 30,
        "warmup": 2,
        "seats": 5,
        "endings": 3,
        "collections": 3,
        "materials": 10,
        "course-homes": 900,
        "leftovers": 3600,
        "homes": 5,
        "archives": 5,
        "volumes": 20,
        "sizes": 60,
        "owners": 900,
    }
    scrape.runners["offers"].turn()
    office.wait(MINUTE)
    scrape.runners["reconcile"].turn()  # whose engine is away
    found = scrape()
    assert found["janitor_loop_last_success_timestamp_seconds"] == {"offers": START}
    assert found["janitor_loop_last_failure_timestamp_seconds"] == {"reconcile": START + 60}


def test_users_are_hashed_and_nobody_else(office: Office, serve_metrics: Serve) -> None:
    office.fit(gpus(1))
    lease = office.granted("ann", server="two", groups=frozenset({"lab"}), course="nlp")
    names = Pseudonyms(b"k" * 32)
    found = serve_metrics(names)()
    assert list(found["open_lease_info"]) == [
        (lease.id, "SIM-local-0", "SIM-local-0", names.of("ann"), "two", "nlp", "gpu", "pending")
    ]
    for name in ("gpu_seconds_total", "quota_gpus", "gpu_budget_used_seconds"):
        assert list(found[name]) == [names.of("ann")]
    assert list(found["group_gpu_seconds_total"]) == ["lab"]


def test_a_ledger_that_is_away_takes_its_metrics_along(
    office: Office, serve_metrics: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    office.fit(gpus(1))
    scrape = serve_metrics()
    before = scrape()
    path = Path(office.place.url.removeprefix("sqlite:///"))
    hidden = path.rename(path.with_suffix(".away"))
    for _ in range(3):
        found = scrape()
        assert found["ledger_up"] == 0
        assert {name for name in found if not name.startswith("class_seat_")} == {
            *("ledger_up", "janitor_loop_interval_seconds", "janitor_steps_total")
        }
    assert caplog.text.count("No metrics of the ledger") == 1
    hidden.rename(path)
    assert scrape() == before


def test_a_ledger_that_is_locked_makes_no_scrape_late(office: Office, serve_metrics: Serve) -> None:
    office.fit(gpus(1))
    scrape = serve_metrics(patience=0.2)
    eventually(lambda: scrape()["ledger_up"])
    before = scrape()
    office.ledger.close()  # so that the lock is to be had
    locked = sqlite3.connect(office.place.url.removeprefix("sqlite:///"), isolation_level=None)
    locked.execute("PRAGMA locking_mode = EXCLUSIVE")
    locked.execute("BEGIN EXCLUSIVE")
    assert scrape()["ledger_up"] == 0  # long before the ledger itself gives up
    assert scrape()["ledger_up"] == 0
    locked.close()
    eventually(lambda: scrape() == before)


def test_a_lease_ends_without_a_trace_but_its_time(office: Office, serve_metrics: Serve) -> None:
    office.fit(gpus(1))
    lease = office.granted("ann")
    scrape = serve_metrics()
    assert scrape()["gpu_seconds_total"] == {"ann": 0}
    leases.close(office.desk, lease.id, None, "start_failed")
    found = scrape()
    assert "gpu_seconds_total" not in found
    assert "open_lease_info" not in found
