"""What exists, kept up to date by the engine's event stream.

One stream and one list serve the polls of all servers. The view never guesses: while the stream is down it says so,
and the caller asks the engine itself.
"""

import contextlib
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import docker
from docker.errors import NotFound

from ..errors import EngineUnavailable
from .client import Engine, engine_errors

_LOG = logging.getLogger(__name__)

HUB_LABEL = "berth.hub"
_RETRY_SECONDS = (0.2, 0.5, 1.0, 2.0, 5.0)


@dataclass(frozen=True, slots=True)
class ContainerState:
    """What the engine says of one container.

    Attributes
    ----------
    status
        The engine's word: created, running, paused, restarting, removing, exited, dead.
    exit_code
        Of the last run; None while it runs and where the engine did not say.
    finished_at
        The engine's own time of the end, RFC 3339; empty while it runs.
    """

    id: str
    name: str
    status: str
    exit_code: int | None = None
    out_of_memory: bool = False
    finished_at: str = ""

    @property
    def running(self) -> bool:
        return self.status in {"running", "paused", "restarting"}


def state_from_inspect(answer: dict[str, Any]) -> ContainerState:
    """Read ``GET /containers/{id}/json``."""
    state = answer["State"]
    running = state["Status"] in {"running", "paused", "restarting"}
    return ContainerState(
        answer["Id"],
        answer["Name"].lstrip("/"),
        state["Status"],
        None if running else state.get("ExitCode"),
        bool(state.get("OOMKilled")),
        "" if running else state.get("FinishedAt", ""),
    )


def _listed(client: docker.APIClient, entry: dict[str, Any]) -> ContainerState:
    """Read an entry of ``GET /containers/json``, which does not say how a container ended."""
    if entry["State"] in {"exited", "dead"}:
        with contextlib.suppress(NotFound):  # its destroy event follows
            return state_from_inspect(client.inspect_container(entry["Id"]))
    return ContainerState(entry["Id"], entry["Names"][0].lstrip("/"), entry["State"])


class EngineView:
    """The containers of one hub, by id.

    Thread-safe. `current` is cheap and does no I/O; `listeners` are called in the view's thread with the id of each
    container that ended.
    """

    def __init__(self, engine: Engine, hub_id: str) -> None:
        self._engine = engine
        self._filters = {"label": [f"{HUB_LABEL}={hub_id}"]}
        self._lock = threading.Lock()
        self._states: dict[str, ContainerState] = {}
        self._fresh = threading.Event()
        self._closed = threading.Event()
        self._stream: Any = None
        self._thread: threading.Thread | None = None
        self.listeners: list[Callable[[str], None]] = []

    def start(self) -> None:
        """Start following; a second call does nothing."""
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._follow, name="engine-view", daemon=True)
                self._thread.start()

    def close(self) -> None:
        self._closed.set()
        if self._stream is not None:
            self._stream.close()

    @property
    def fresh(self) -> bool:
        """Whether the stream is up, so that what the view says is true."""
        return self._fresh.is_set()

    def wait_fresh(self, timeout: float) -> bool:
        return self._fresh.wait(timeout)

    def current(self, container_id: str) -> ContainerState | None:
        """Give what is known of a container; None where it is unknown or the view is not fresh."""
        if not self.fresh:
            return None
        with self._lock:
            return self._states.get(container_id)

    def _follow(self) -> None:
        failures = 0
        while not self._closed.is_set():
            try:
                self._follow_once()
                failures = 0
            except (EngineUnavailable, OSError, ValueError) as error:
                # ValueError: a line of the stream cut off in the middle.
                if failures == 0:
                    _LOG.warning("Lost the Docker Engine's events: %s", error)
                failures += 1
            finally:
                self._fresh.clear()
            self._closed.wait(_RETRY_SECONDS[min(failures, len(_RETRY_SECONDS) - 1)])

    def _follow_once(self) -> None:
        client = self._engine.stream_client()
        try:
            with engine_errors():
                # Open the stream before the list, so that no change falls between the two.
                self._stream = client.events(filters={**self._filters, "type": ["container"]}, decode=True)
                # docker-py would look at the answer's status only when the first event is read.
                self._stream._response.raise_for_status()  # noqa: SLF001
                listed = client.containers(all=True, filters=self._filters)
                states = {entry["Id"]: _listed(client, entry) for entry in listed}
                with self._lock:
                    ended = {id_ for id_, state in self._states.items() if state.running} - {
                        id_ for id_, state in states.items() if state.running
                    }
                    self._states = states
                self._fresh.set()
                self._notify(ended)
                for event in self._stream:
                    self._apply(client, event)
        finally:
            client.close()

    def _apply(self, client: docker.APIClient, event: dict[str, Any]) -> None:
        container_id, action = event["id"], event["Action"]
        if action == "destroy":
            with self._lock:
                known = self._states.pop(container_id, None)
            if known is not None and known.running:
                self._notify({container_id})
        elif action in {"create", "start", "die", "pause", "unpause", "restart"}:
            try:
                state = state_from_inspect(client.inspect_container(container_id))
            except NotFound:
                return  # its destroy event follows
            with self._lock:
                self._states[container_id] = state
            if action == "die" and not state.running:
                self._notify({container_id})

    def _notify(self, ended: set[str]) -> None:
        for container_id in ended:
            for listener in list(self.listeners):
                try:
                    listener(container_id)
                except Exception:  # noqa: BLE001  a listener's fault must not blind the view
                    _LOG.exception("A listener failed for container %s", container_id[:12])
