"""One Docker Engine, called from threads that do not wait for each other.

DockerSpawner sends every call of every user through one thread, so that one slow stop delays everybody. Here slow
calls (pull, stop), heavy ones (create, start) and quick ones (inspect, list) have pools and connections of their own.
"""

import asyncio
import functools
import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Literal, TypeVar

import docker
import requests
from docker.errors import APIError, DockerException
from docker.utils import kwargs_from_env

from ..errors import EngineUnavailable

T = TypeVar("T")
Lane = Literal["quick", "heavy", "slow"]

# Creating and starting a container is bound by the engine's and the kernel's CPU time: more of them at once than
# there are cores makes each slower and the whole dearer. Pulls and stops only wait.
_LANES: dict[Lane, tuple[int, float]] = {
    "quick": (8, 20.0),
    "heavy": (max(2, os.cpu_count() or 2), 120.0),
    "slow": (32, 900.0),
}


@contextmanager
def engine_errors() -> Iterator[None]:
    """Turn what says nothing about a container (no connection, time-out, HTTP 5xx) into `EngineUnavailable`.

    Statements of the engine about a request (404, 409, 400) pass as docker-py's `APIError`.
    """
    try:
        yield
    except APIError as error:
        if error.response is not None and error.response.status_code < 500:
            raise
        raise EngineUnavailable(f"The Docker Engine failed: {error.explanation or error}") from error
    except (requests.exceptions.RequestException, DockerException) as error:
        raise EngineUnavailable(f"The Docker Engine does not answer: {error}") from error


class Engine:
    """Asynchronous access to one Docker Engine.

    Parameters
    ----------
    options
        Keyword arguments of `docker.APIClient`; what they leave out comes from ``DOCKER_HOST`` and its kin.
    """

    def __init__(self, options: Mapping[str, Any] | None = None) -> None:
        self._options: dict[str, Any] = {"version": "auto", **kwargs_from_env(), **(options or {})}
        self._clients: dict[Lane, docker.APIClient] = {}
        self._pools: dict[Lane, ThreadPoolExecutor] = {
            lane: ThreadPoolExecutor(threads, thread_name_prefix=f"engine-{lane}")
            for lane, (threads, _) in _LANES.items()
        }

    def connect(self, lane: Lane = "quick") -> docker.APIClient:
        """Give a lane's client; connects at its first use.

        Raises
        ------
        EngineUnavailable
            If no engine answers.
        """
        if lane not in self._clients:
            threads, timeout = _LANES[lane]
            with engine_errors():
                self._clients[lane] = docker.APIClient(
                    **{"timeout": timeout, "max_pool_size": threads, **self._options}
                )
        return self._clients[lane]

    def stream_client(self) -> docker.APIClient:
        """Give a new client that waits without end, for the event stream."""
        with engine_errors():
            return docker.APIClient(**{**self._options, "timeout": None})

    async def call(self, lane: Lane, function: Callable[[docker.APIClient], T]) -> T:
        """Run `function` with the lane's client in the lane's pool.

        Raises
        ------
        EngineUnavailable
            If the engine does not answer or answers with an error of its own.
        docker.errors.APIError
            If the engine refuses the request (HTTP 4xx).
        """
        return await asyncio.wrap_future(self._pools[lane].submit(self._run, lane, function))

    def _run(self, lane: Lane, function: Callable[[docker.APIClient], T]) -> T:
        with engine_errors():
            return function(self.connect(lane))

    def close(self) -> None:
        for pool in self._pools.values():
            pool.shutdown(wait=False, cancel_futures=True)
        for client in self._clients.values():
            client.close()


@functools.cache
def shared_engine(options: tuple[tuple[str, Any], ...] = ()) -> Engine:
    """Give the process's one `Engine` for these client options."""
    return Engine(dict(options))
