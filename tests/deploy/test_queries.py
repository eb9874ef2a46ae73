"""Every query of a dashboard and every rule, asked of a real Prometheus: none fails, none is empty without a reason."""

import contextlib
import json
import re
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from deploy.grafana.boards import files
from spawner.metrics import of_containers, of_gpus, of_leases
from spawner.metrics.metric import Source

from ..support.berth import Berth, deployment, eventually
from ..support.metrics_standin import Standin, standin
from ..support.ports import free_ports
from ..support.prometheus import Prometheus, after, job, metrics_of, prometheus
from .names import rules

# What a live Berth of simulated GPUs has no samples of, and why. A query that asks for nothing else may be empty.
_NEVER_ON_SIMULATED = {
    of_gpus.ECC_ERRORS.name,
    of_gpus.XID_ERRORS.name,
    of_leases.RESERVED_SLOTS.name,
}
_JOBS = ("berth-exporter", "berth-janitor", "berth-hub")


def queries() -> dict[str, str]:
    """Give each panel's queries, by the panel's name, with variables in place."""
    found = {}
    for text in files().values():
        board = json.loads(text)
        for panel in board["panels"]:
            for target in panel.get("targets", []):
                name = f"{board['uid']}: {panel['title']} {target['refId']}"
                found[name] = target["expr"]
    return found


def filled(expression: str, **values: str) -> str:
    for name, value in values.items():
        expression = expression.replace(f"${name}", value)
    # Prometheus is seconds old.
    return re.sub(r"\[(?:1d|1h|10m|5m|15m|\$__range)\]", "[20s]", expression)


def unanswered(server: Prometheus, **values: str) -> list[str]:
    """Name the panels whose queries give nothing."""
    return [name for name, expression in queries().items() if not server.query(filled(expression, **values))]


def unrecorded(server: Prometheus) -> list[str]:
    """Name the recording rules without a sample, and whatever rule fails."""
    broken = [f"{rule['name']}: {rule['lastError']}" for rule in server.rules() if rule["health"] == "err"]
    recorded = [rule["record"] for name in ("thresholds", "rules") for rule in rules(name)]
    return broken + [name for name in recorded if not server.query(name)]


def silent(server: Prometheus) -> dict[str, str]:
    """Name the jobs of which nothing was read, each with why."""
    found = server.targets()
    return {name: found.get(name, "not yet") for name in _JOBS if found.get(name, "not yet")}


def firing(server: Prometheus) -> set[str]:
    """Name the alerts whose condition holds, however long they want it to."""
    return {alert["metric"]["alertname"] for alert in server.query("ALERTS")}


@contextlib.contextmanager
def scraped(made: Standin, folder: Any) -> Iterator[Prometheus]:
    ports = made.ports
    jobs = [job(f"berth-{source}", ports[source]) for source in (Source.EXPORTER, Source.JANITOR, Source.HUB)]
    with prometheus(folder, jobs) as server:
        yield server


@pytest.fixture(scope="module")
def normal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    with standin() as made, scraped(made, tmp_path_factory.mktemp("prometheus")) as server:
        yield server


@pytest.mark.prometheus
def test_all_is_answered_where_all_metrics_are(normal: Prometheus) -> None:
    values = {"gpu": "GPU-0", "user": "ann", "course": "dl101"}
    assert not after(1, lambda: unanswered(normal, **values))
    assert not after(1, lambda: unrecorded(normal))
    assert not silent(normal)


@pytest.mark.prometheus
def test_an_ordinary_hour_raises_nothing(normal: Prometheus) -> None:
    assert not after(1, lambda: unrecorded(normal))
    assert firing(normal) == set()


# What is served, and the alerts that it raises. Alerts that look back for an hour or a day are left to promtool.
_FAULTS: list[dict[str, tuple[str, Callable[[dict[str, str]], float | None]]]] = [
    {
        "BerthGpuLost": (of_gpus.GPU_UP.name, lambda _: 0),
        "BerthGpuHot": (of_gpus.TEMPERATURE.name, lambda _: 92),
        "BerthGpuThrottled": (of_gpus.THROTTLED.name, lambda row: row["reason"] == "hw_thermal"),
        "BerthForeignProcess": (of_gpus.FOREIGN_PROCESSES.name, lambda _: 2),
        "BerthQueueWait": (of_leases.QUEUE_OLDEST.name, lambda _: 20_000),
        "BerthBudgetOverrun": (of_leases.BUDGET_USED.name, lambda _: 400_000),
        "BerthHomeNearlyFull": (of_containers.HOME_USED.name, lambda _: 1.95e10),
        "BerthReservationBroken": (of_leases.RESERVED_SLOTS.name, lambda _: 1),
        "BerthLeaseWithoutContainer": (of_gpus.LEASE_INFO.name, lambda _: None),
        "BerthJanitorLoopLate": (of_leases.LOOP_SUCCESS.name, lambda _: time.time() - 900),
    },
    {"BerthContainerWithoutLease": (of_leases.OPEN_LEASE_INFO.name, lambda _: None)},
    {
        "BerthProbeFailing": (of_containers.PROBE_UP.name, lambda _: 0),
        "BerthLedgerDown": (of_leases.LEDGER_UP.name, lambda _: 0),
    },
]


@pytest.mark.prometheus
def test_faults_raise_their_alerts_and_no_others(tmp_path_factory: pytest.TempPathFactory) -> None:
    with standin() as made, scraped(made, tmp_path_factory.mktemp("prometheus")) as server:
        assert not after(1, lambda: unrecorded(server))
        for faults in _FAULTS:
            made.values = dict(faults.values())
            assert not after(0.5, lambda faults=faults: set(faults) ^ firing(server))
            made.values = {}
            assert not after(0.5, lambda: firing(server))


@pytest.mark.prometheus
def test_silence_raises_its_alerts(tmp_path_factory: pytest.TempPathFactory) -> None:
    dead = free_ports(1)[0]
    jobs = [job("berth-exporter", dead), job("berth-hub", dead)]  # of the janitor nobody told
    with prometheus(tmp_path_factory.mktemp("prometheus"), jobs) as server:
        wanted = {"BerthExporterSilent", "BerthJanitorSilent", "BerthHubSilent"}
        assert not after(0.5, lambda: wanted - firing(server))


PROFILES = [
    {"slug": "cpu", "name": "CPU", "cpu": 1, "memory": "1 GiB", "gpus": 0},
    {"slug": "gpu", "name": "GPU", "cpu": 1, "memory": "1 GiB", "gpus": 1},
]


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Berth]:
    """A hub with one simulated GPU, which ann's server holds; bob waits for it, cat's request was refused."""
    variables = {
        "BERTH_GPUS": "sim:1",
        "BERTH_PROFILES": json.dumps(PROFILES),
        "BERTH_LEASES": json.dumps({"wait_seconds": 2}),
        "BERTH_METRICS__HOME_MINUTES": "0.05",
        "BERTH_LIMITS": json.dumps({"default": {"gpu_hours": 100}}),
    }
    with deployment(tmp_path_factory.mktemp("berth"), **variables) as berth, berth.hub():
        for user in ("ann", "bob", "cat"):
            berth.add_user(user)
        eventually(lambda: berth.start_server("ann", {"profile": "gpu", "hours": 1, "if_busy": "refuse"}).ok)
        eventually(lambda: berth.ready("ann"))
        berth.start_server("bob", {"profile": "gpu", "hours": 1, "if_busy": "queue"})
        berth.start_server("cat", {"profile": "gpu", "hours": 1, "if_busy": "refuse"})
        yield berth


def only_of(expression: str, names: set[str]) -> bool:
    """Tell whether a query asks for metrics that are not there."""
    return any(name in names for name, _ in metrics_of(expression))


@pytest.mark.prometheus
@pytest.mark.hub
@pytest.mark.docker
@pytest.mark.image
def test_a_live_berth_answers(live: Berth, tmp_path: Any) -> None:
    variables = live.variables
    jobs = [
        job("berth-exporter", int(variables["BERTH_METRICS__EXPORTER_PORT"])),
        job("berth-janitor", int(variables["BERTH_METRICS__JANITOR_PORT"])),
        job("berth-hub", live.port, "/hub/metrics", live.state.prometheus_token),
    ]
    with prometheus(tmp_path, jobs) as server:
        assert not after(1, lambda: silent(server))
        assert not after(1, lambda: {"ann"} - {one["metric"]["user"] for one in server.query("berth:lease_slot:used")})
        values = {"gpu": server.query("berth_gpu_info")[0]["metric"]["gpu"], "user": "ann", "course": "none"}
        expected = {
            name: filled(expression, **values)
            for name, expression in queries().items()
            if not only_of(expression, _NEVER_ON_SIMULATED)
            and not name.startswith("berth-class")
            and "course" not in expression
        }
        assert not after(1, lambda: [name for name, asked in expected.items() if not server.query(asked)])
        # A class needs a course with seats; its panels are at least answered.
        for name, expression in queries().items():
            if name not in expected:
                server.query(filled(expression, **values))
        assert not after(1, lambda: [name for name in unrecorded(server) if not name.startswith("berth:course")])
        assert firing(server) <= {"BerthGpuIdle"}
