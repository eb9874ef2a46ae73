import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest
import requests
from docker.errors import APIError, DockerException, NotFound

from spawner.engine.client import Engine, engine_errors, shared_engine
from spawner.errors import EngineUnavailable

from ..support.flaky_engine import FlakyEngine


@pytest.fixture
def engine(flaky: FlakyEngine) -> Iterator[Engine]:
    made = Engine({"base_url": flaky.url})
    yield made
    made.close()


def _answer(status: int) -> APIError:
    response = requests.Response()
    response.status_code = status
    return APIError("message", response=response, explanation="disk is full")


@pytest.mark.parametrize("status", [400, 403, 404, 409])
def test_statements_about_a_request_pass(status: int) -> None:
    with pytest.raises(APIError), engine_errors():
        raise _answer(status)


@pytest.mark.parametrize("status", [500, 502, 503])
def test_the_engines_own_errors_say_nothing_about_containers(status: int) -> None:
    with pytest.raises(EngineUnavailable, match="The Docker Engine failed: disk is full"), engine_errors():
        raise _answer(status)


@pytest.mark.parametrize(
    "error",
    [
        requests.exceptions.ConnectionError("refused"),
        requests.exceptions.ReadTimeout("slow"),
        requests.exceptions.ChunkedEncodingError("cut off"),
        DockerException("no socket"),
    ],
)
def test_no_answer_is_unavailable(error: Exception) -> None:
    with pytest.raises(EngineUnavailable, match="The Docker Engine does not answer"), engine_errors():
        raise error


def test_other_errors_pass() -> None:
    with pytest.raises(ZeroDivisionError), engine_errors():
        raise ZeroDivisionError


async def test_no_engine_at_all(tmp_path: Path) -> None:
    engine = Engine({"base_url": f"unix://{tmp_path / 'none.sock'}"})
    with pytest.raises(EngineUnavailable, match="does not answer"):
        await engine.call("quick", lambda client: client.ping())
    with pytest.raises(EngineUnavailable):
        engine.connect()
    engine.close()


@pytest.mark.docker
@pytest.mark.parametrize("failure", ["answer", "drop"])
async def test_failures_at_the_wire(flaky: FlakyEngine, engine: Engine, failure: str) -> None:
    await engine.call("quick", lambda client: client.ping())
    getattr(flaky, failure)("containers/json")
    with pytest.raises(EngineUnavailable):
        await engine.call("quick", lambda client: client.containers())
    flaky.heal()
    assert isinstance(await engine.call("quick", lambda client: client.containers()), list)


@pytest.mark.docker
async def test_an_engine_that_hangs(flaky: FlakyEngine) -> None:
    engine = Engine({"base_url": flaky.url, "timeout": 0.3, "version": "1.41"})
    flaky.hold("containers/json")
    with pytest.raises(EngineUnavailable, match="does not answer"):
        await engine.call("quick", lambda client: client.containers())
    engine.close()


@pytest.mark.docker
async def test_an_engine_that_was_down_at_first(flaky: FlakyEngine, engine: Engine) -> None:
    flaky.drop(".*")
    with pytest.raises(EngineUnavailable):
        await engine.call("quick", lambda client: client.ping())
    flaky.heal()
    assert await engine.call("quick", lambda client: client.ping())


@pytest.mark.docker
async def test_not_found_passes(engine: Engine) -> None:
    with pytest.raises(NotFound):
        await engine.call("quick", lambda client: client.inspect_container("no-such-container"))


@pytest.mark.docker
async def test_slow_calls_do_not_delay_quick_ones(engine: Engine) -> None:
    gate = threading.Event()

    def slow(_: docker.APIClient) -> bool:
        return gate.wait(60)

    slow_calls = [asyncio.ensure_future(engine.call("slow", slow)) for _ in range(40)]
    heavy_calls = [asyncio.ensure_future(engine.call("heavy", slow)) for _ in range(10)]
    try:
        async with asyncio.timeout(10):
            await asyncio.gather(*(engine.call("quick", lambda client: client.ping()) for _ in range(20)))
        assert not any(call.done() for call in slow_calls + heavy_calls)
    finally:
        gate.set()
    assert all(await asyncio.gather(*slow_calls, *heavy_calls))


@pytest.mark.docker
async def test_heavy_calls_are_bounded(engine: Engine) -> None:
    gate, lock, at_once = threading.Event(), threading.Lock(), [0, 0]

    def heavy(_: docker.APIClient) -> None:
        with lock:
            at_once[0] += 1
            at_once[1] = max(at_once)
        gate.wait(60)
        with lock:
            at_once[0] -= 1

    calls = [asyncio.ensure_future(engine.call("heavy", heavy)) for _ in range(200)]
    await asyncio.sleep(0)
    gate.set()
    await asyncio.gather(*calls)
    assert at_once[1] < 200


def test_one_engine_per_process_and_options(tmp_path: Path) -> None:
    options: tuple[tuple[str, Any], ...] = (("base_url", f"unix://{tmp_path / 'shared.sock'}"),)
    assert shared_engine(options) is shared_engine(options)
    assert shared_engine(options) is not shared_engine((("base_url", f"unix://{tmp_path / 'other.sock'}"),))
