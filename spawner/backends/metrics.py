"""What the hub counts of requests and starts; JupyterHub serves it at ``/hub/metrics`` with its own."""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from jupyterhub.spawner import SpawnException
from prometheus_client import Counter, Histogram

from ..errors import BerthError
from ..metrics.metric import Declaration
from ..metrics.of_hub import LEASE_REQUESTS, SPAWN_PHASE, SPAWNS
from ..operations.leases import Answer, Granted, OnCpu, Queued
from ..policy.model import Deny

# Errors of ours that have no code, as bugs have none.
_ERROR = BerthError.code


def _counter(metric: Declaration) -> Counter:
    return Counter(metric.base_name, metric.text, metric.labels)


_REQUESTS, _SPAWNS = _counter(LEASE_REQUESTS), _counter(SPAWNS)
_PHASES = Histogram(SPAWN_PHASE.name, SPAWN_PHASE.text, SPAWN_PHASE.labels, buckets=SPAWN_PHASE.buckets)
# Those that are there before anything happens, so that the first one of them is an increase.
for _phase in ("claim", "pull", "create", "ready", "total"):
    _PHASES.labels(_phase)
for _outcome, _reason in (("granted", ""), ("queued", "busy"), ("on_cpu", "busy")):
    _REQUESTS.labels(_outcome, _reason)
for _outcome, _reason in (("ready", ""), ("queued", "queued"), ("cancelled", ""), ("failed", _ERROR)):
    _SPAWNS.labels(_outcome, _reason)


@contextmanager
def phase(name: str) -> Iterator[None]:
    """Time a phase of a start; one that comes to nothing is not noted."""
    began = time.monotonic()
    yield
    _PHASES.labels(name).observe(time.monotonic() - began)


@contextmanager
def start() -> Iterator[None]:
    """Count a start by how it ends, and time those that end well."""
    try:
        with phase("total"):
            yield
    except SpawnException as error:
        # The policy's refusals are 4xx; what went wrong with the host or the server is 500.
        outcome = "failed" if error.status_code >= 500 else "queued" if error.reason == "queued" else "refused"
        _SPAWNS.labels(outcome, error.reason).inc()
        raise
    except (asyncio.CancelledError, GeneratorExit):
        _SPAWNS.labels("cancelled", "").inc()
        raise
    except BaseException:
        _SPAWNS.labels("failed", _ERROR).inc()
        raise
    _SPAWNS.labels("ready", "").inc()


@contextmanager
def request() -> Iterator[Callable[[Answer], None]]:
    """Count a request for GPUs; gives what is to be told the answer."""
    began = time.monotonic()

    def answered(answer: Answer) -> None:
        if isinstance(answer, Granted):
            _REQUESTS.labels("granted", "").inc()
            _PHASES.labels("claim").observe(time.monotonic() - began)
        elif isinstance(answer, Queued):
            _REQUESTS.labels("queued", "busy").inc()
        elif isinstance(answer, OnCpu):
            _REQUESTS.labels("on_cpu", answer.code).inc()
        elif isinstance(answer, Deny):
            _REQUESTS.labels("denied", answer.code).inc()

    try:
        yield answered
    except (asyncio.CancelledError, GeneratorExit):
        _REQUESTS.labels("cancelled", "").inc()
        raise
    except BaseException as error:
        _REQUESTS.labels("failed", error.code if isinstance(error, BerthError) else _ERROR).inc()
        raise
