"""What exists, as the reconciliation sees it."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import docker
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spawner.engine import containers
from spawner.engine.containers import ContainerSpec
from spawner.engine.devices import GpuWay, gpu_access
from spawner.engine.observe import finished_at, from_inspect, from_list, observe, parse_time, started_at
from spawner.errors import EngineUnavailable
from spawner.policy.observed import ObservedContainer

from ..support.flaky_engine import FlakyEngine

Specify = Callable[..., ContainerSpec]
LABELS = {"berth.hub": "h", "berth.user": "ann", "berth.server": "lab"}
LEASED = {**LABELS, "berth.lease": "4711", "berth.slots": "GPU-1,GPU-2:3"}


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("", None),
        ("0001-01-01T00:00:00Z", None),
        ("2026-11-21T05:00:00Z", datetime(2026, 11, 21, 5, tzinfo=UTC)),
        ("2026-11-21T05:00:00.5Z", datetime(2026, 11, 21, 5, 0, 0, 500_000, tzinfo=UTC)),
        ("2026-11-21T05:00:00.123456789Z", datetime(2026, 11, 21, 5, 0, 0, 123_456, tzinfo=UTC)),
        ("2026-11-21T05:00:00.000001999+01:00", datetime(2026, 11, 21, 4, 0, 0, 1, tzinfo=UTC)),
    ],
)
def test_the_engines_times(text: str, moment: datetime | None) -> None:
    read = parse_time(text)
    assert read == moment
    assert read is None or read.tzinfo is UTC


@given(st.datetimes(min_value=datetime(1970, 1, 1), max_value=datetime(2200, 1, 1)), st.integers(0, 999))  # noqa: DTZ001  hypothesis wants them so
def test_every_time_is_read_to_the_microsecond(moment: datetime, nanoseconds: int) -> None:
    written = f"{moment.isoformat(timespec='microseconds')}{nanoseconds:03}Z"
    assert parse_time(written) == moment.replace(tzinfo=UTC)


@pytest.mark.parametrize("text", ["yesterday", "2026-11-21", "2026-11-21T05:00:00"])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(ValueError, match="not a time of the engine's"):
        parse_time(text)


def test_from_a_list() -> None:
    entry = {"Id": "c0ffee", "Names": ["/berth-1-ann"], "State": "running", "Created": 1_800_000_000, "Labels": LABELS}
    assert from_list(entry) == ObservedContainer(
        id="c0ffee",
        name="berth-1-ann",
        user="ann",
        server="lab",
        running=True,
        created_at=datetime(2027, 1, 15, 8, tzinfo=UTC),
    )
    assert from_list({**entry, "Names": None, "State": "removing"}).name == ""


def _inspected(**state: Any) -> dict[str, Any]:
    return {
        "Id": "c0ffee",
        "Name": "/berth-1-ann",
        "Created": "2026-11-21T05:00:00.25Z",
        "Config": {"Labels": LEASED},
        "State": {
            "Status": "exited",
            "ExitCode": 137,
            "OOMKilled": True,
            "StartedAt": "2026-11-21T05:00:01.5Z",
            "FinishedAt": "2026-11-21T06:00:00.75Z",
            **state,
        },
    }


def test_from_an_inspection() -> None:
    five = datetime(2026, 11, 21, 5, tzinfo=UTC)
    ended = ObservedContainer(
        id="c0ffee",
        name="berth-1-ann",
        user="ann",
        server="lab",
        lease="4711",
        slots=("GPU-1", "GPU-2:3"),
        running=False,
        created_at=five + timedelta(seconds=0.25),
        started_at=five + timedelta(seconds=1.5),
        finished_at=five + timedelta(hours=1, seconds=0.75),
        exit_code=137,
        out_of_memory=True,
    )
    assert from_inspect(_inspected()) == ended
    again = from_inspect(_inspected(Status="running", OOMKilled=False))
    assert (again.running, again.finished_at, again.exit_code) == (True, None, None)
    never = from_inspect(
        _inspected(Status="created", ExitCode=0, StartedAt="0001-01-01T00:00:00Z", FinishedAt="0001-01-01T00:00:00Z")
    )
    assert (never.running, never.started_at, never.finished_at, never.exit_code) == (False, None, None, None)


@pytest.mark.docker
def test_what_exists(
    client: docker.APIClient, flaky: FlakyEngine, flaky_client: docker.APIClient, specify: Specify, hub_id: str
) -> None:
    before = datetime.now(UTC)
    held = {
        "lease": "4711",
        "slots": ("SIM-1", "SIM-2"),
        "gpu_access": gpu_access(("SIM-1", "SIM-2"), GpuWay.SIMULATED),
    }
    plain = containers.create(client, specify("plain", server="lab"))
    leased = containers.create(client, specify("leased", **held))
    unborn = containers.create(client, specify("unborn", **held))
    ended = containers.create(client, specify("ended", behave="exit", **held))
    for container in (plain, leased, ended):
        containers.start(client, container)
    client.wait(ended)

    seen = {container.id: container for container in observe(flaky_client, hub_id)}
    assert set(seen) == {plain, leased, unborn, ended}
    assert flaky.seen("GET .*/containers/json") == 1
    assert flaky.seen(f"GET .*/containers/{plain}/json") == 0
    assert (seen[plain].user, seen[plain].server, seen[plain].running) == ("plain", "lab", True)
    assert (seen[plain].lease, seen[plain].slots) == ("", ())
    now = datetime.now(UTC)
    assert before - timedelta(seconds=1) <= seen[plain].created_at <= now  # type: ignore[operator]

    assert (seen[leased].lease, seen[leased].slots, seen[leased].running) == ("4711", ("SIM-1", "SIM-2"), True)
    begun = seen[leased].started_at
    assert begun is not None
    assert before <= begun <= now
    assert seen[leased].finished_at is None
    assert started_at(client, leased) == begun
    assert finished_at(client, leased) is None

    assert (seen[unborn].running, seen[unborn].started_at, seen[unborn].finished_at) == (False, None, None)
    assert (seen[ended].running, seen[ended].exit_code, seen[ended].out_of_memory) == (False, 3, False)
    end = seen[ended].finished_at
    assert end is not None
    # Of a container that ends at once the engine may note the end a moment before the start.
    assert seen[ended].started_at - timedelta(seconds=1) < end <= now  # type: ignore[operator]
    assert finished_at(client, ended) == end

    containers.remove(client, ended)
    assert finished_at(client, ended) is None
    assert started_at(client, ended) is None
    assert ended not in {container.id for container in observe(client, hub_id)}
    assert observe(client, "nobody") == []


@pytest.mark.docker
def test_a_failing_engine_never_looks_like_an_empty_one(
    client: docker.APIClient, flaky: FlakyEngine, flaky_client: docker.APIClient, specify: Specify, hub_id: str
) -> None:
    container = containers.create(client, specify("doubted", lease="1", slots=("SIM-1",)))
    flaky.answer("GET .*/containers/json", 500, times=1)
    with pytest.raises(EngineUnavailable):
        observe(flaky_client, hub_id)
    flaky.answer(f"GET .*/containers/{container}/json", 500)
    with pytest.raises(EngineUnavailable):
        observe(flaky_client, hub_id)
    with pytest.raises(EngineUnavailable):
        finished_at(flaky_client, container)
    with pytest.raises(EngineUnavailable):
        started_at(flaky_client, container)


@pytest.mark.docker
def test_one_that_goes_while_it_is_looked_at(
    client: docker.APIClient, flaky: FlakyEngine, flaky_client: docker.APIClient, specify: Specify, hub_id: str
) -> None:
    container = containers.create(client, specify("fleeting", lease="1", slots=("SIM-1",)))
    flaky.answer(f"GET .*/containers/{container}/json", 404)
    assert container not in {seen.id for seen in observe(flaky_client, hub_id)}
    assert container in {seen.id for seen in observe(client, hub_id)}


@pytest.mark.docker
def test_a_paused_container_holds_its_gpus(client: docker.APIClient, specify: Specify, hub_id: str) -> None:
    container = containers.create(client, specify("still", lease="1", slots=("SIM-1",)))
    containers.start(client, container)
    client.pause(container)
    seen = next(seen for seen in observe(client, hub_id) if seen.id == container)
    assert (seen.running, seen.finished_at, seen.exit_code) == (True, None, None)
