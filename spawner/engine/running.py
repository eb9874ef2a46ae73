"""The running containers of a hub, followed through the engine's events: what an exporter reads the use of.

Unlike `spawner.engine.view` it knows nothing of containers that have ended, however many there are, and it keeps what
it knew while the engine is away: containers go on then.
"""

import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import docker
from docker.errors import APIError, NotFound

from ..errors import EngineUnavailable
from .client import Engine, engine_errors
from .containers import LEASE_LABEL, SERVER_LABEL, SLOTS_LABEL, USER_LABEL
from .observe import parse_time
from .view import HUB_LABEL

_LOG = logging.getLogger(__name__)

COURSE_VARIABLE = "BERTH_COURSE"
_RELIST_SECONDS = 60.0  # in case an event got lost
_RETRY_SECONDS = (0.2, 0.5, 1.0, 2.0, 5.0)
_EVENTS = ["start", "die", "update", "rename"]
_STATES = ["running", "paused"]
_DEFAULT_PERIOD = 100_000  # microseconds, the kernel's


@dataclass(frozen=True, slots=True)
class RunningContainer:
    """What is known of a container while it runs.

    Attributes
    ----------
    pid
        Of its first process, on this host.
    started_at
        Seconds since 1970; None if the engine does not tell.
    cpu_limit
        Cores.
    own_network
        Whether its network interfaces are its own and not the host's or another container's.
    """

    id: str
    name: str
    pid: int
    user: str = ""
    server: str = ""
    lease: str = ""
    slots: tuple[str, ...] = ()
    course: str = ""
    image: str = ""
    started_at: float | None = None
    cpu_limit: float | None = None
    memory_limit: int | None = None
    processes_limit: int | None = None
    own_network: bool = True


@dataclass(frozen=True, slots=True)
class Running:
    """The running containers.

    Attributes
    ----------
    containers
        By id.
    known
        Whether the engine has ever said; if not, that there are none means nothing.
    fresh
        Whether this is so now, or was so when the engine was last heard of.
    """

    containers: Mapping[str, RunningContainer] = field(default_factory=lambda: MappingProxyType({}))
    known: bool = False
    fresh: bool = False


def running_from_inspect(answer: dict[str, Any]) -> RunningContainer | None:
    """Read ``GET /containers/{id}/json``; None if it does not run."""
    state, config, host = answer["State"], answer["Config"], answer["HostConfig"]
    if state["Status"] not in _STATES or not state.get("Pid"):
        return None
    labels = {name: _clean(value) for name, value in (config.get("Labels") or {}).items()}
    begun = parse_time(state.get("StartedAt", ""))
    return RunningContainer(
        id=answer["Id"],
        name=_clean(answer["Name"].lstrip("/")),
        pid=int(state["Pid"]),
        user=labels.get(USER_LABEL, ""),
        server=labels.get(SERVER_LABEL, ""),
        lease=labels.get(LEASE_LABEL, ""),
        slots=tuple(dict.fromkeys(slot for slot in labels.get(SLOTS_LABEL, "").split(",") if slot)),
        course=_clean(_environment(config.get("Env") or [], COURSE_VARIABLE)),
        image=_clean(config.get("Image") or ""),
        started_at=begun.timestamp() if begun else None,
        cpu_limit=_cores(host),
        memory_limit=host.get("Memory") or None,
        processes_limit=limit if (limit := host.get("PidsLimit") or 0) > 0 else None,
        own_network=not str(host.get("NetworkMode", "")).startswith(("host", "container:")),
    )


def _cores(host: dict[str, Any]) -> float | None:
    if host.get("NanoCpus"):
        return float(host["NanoCpus"]) / 1e9
    if (host.get("CpuQuota") or 0) > 0:
        return float(host["CpuQuota"]) / (host.get("CpuPeriod") or _DEFAULT_PERIOD)
    return None


def _environment(pairs: Iterable[str], name: str) -> str:
    """Give the last value, as the C library does not, but Docker does with what an image says."""
    found = ""
    for pair in pairs:
        key, _, value = pair.partition("=")
        if key == name:
            found = value
    return found


def _clean(text: str) -> str:
    """Make text that can be written as UTF-8: JSON may hold halves of characters."""
    return text.encode("utf-8", "replace").decode()


class RunningView:
    """Follows the running containers of one hub; thread-safe, and `current` does no I/O.

    Attributes
    ----------
    listeners
        Called in the view's thread whenever something has changed.
    """

    def __init__(self, engine: Engine, hub_id: str, *, relist: float = _RELIST_SECONDS) -> None:
        self._engine = engine
        self._label = f"{HUB_LABEL}={hub_id}"
        self._relist = relist
        self._current = Running()
        self._fresh = threading.Event()
        self._closed = threading.Event()
        self._stream: Any = None
        self._thread = threading.Thread(target=self._follow, name="running-view", daemon=True)
        self.listeners: list[Callable[[], None]] = []

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._closed.set()
        self._hang_up()

    @property
    def current(self) -> Running:
        return self._current

    def wait_fresh(self, timeout: float) -> bool:
        return self._fresh.wait(timeout)

    def _follow(self) -> None:
        failures = 0
        while not self._closed.is_set():
            began = time.monotonic()
            try:
                self._follow_once()
            except (EngineUnavailable, APIError, OSError, ValueError, KeyError) as error:
                # ValueError, KeyError: an answer cut off in the middle.
                failures = 0 if time.monotonic() - began > self._relist else failures + 1
                if failures <= 1 and not self._closed.is_set():
                    _LOG.warning("Lost the Docker Engine's events: %s", error)
            finally:
                self._hang_up()
                self._fresh.clear()
                self._current = Running(self._current.containers, self._current.known, fresh=False)
            self._closed.wait(_RETRY_SECONDS[min(failures, len(_RETRY_SECONDS) - 1)])

    def _follow_once(self) -> None:
        client, listening = self._engine.connect("quick"), self._engine.stream_client()
        events: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        with contextlib.closing(listening), engine_errors():
            # Before the list, so that no change falls between the two.
            filters = {"label": [self._label], "type": ["container"], "event": _EVENTS}
            self._stream = listening.events(filters=filters, decode=True)
            # docker-py would look at the answer's status only when the first event is read.
            self._stream._response.raise_for_status()  # noqa: SLF001
            # A reader of its own: the stream itself cannot be waited for with an end.
            threading.Thread(target=_read, args=(self._stream, events), name="running-events", daemon=True).start()
            self._list(client, known={})
            while not self._closed.is_set():
                try:
                    event = events.get(timeout=self._relist)
                except queue.Empty:
                    self._list(client, known=self._current.containers)
                    continue
                if event is None:
                    raise EngineUnavailable("The Docker Engine's events have ended.")
                self._apply(client, event)

    def _list(self, client: docker.APIClient, known: Mapping[str, RunningContainer]) -> None:
        listed = client.containers(filters={"label": [self._label], "status": _STATES})
        found = (known.get(entry["Id"]) or _inspect(client, entry["Id"]) for entry in listed)
        self._become({container.id: container for container in found if container is not None})

    def _apply(self, client: docker.APIClient, event: dict[str, Any]) -> None:
        containers = dict(self._current.containers)
        containers.pop(event["id"], None)
        if event["Action"] != "die" and (container := _inspect(client, event["id"])) is not None:
            containers[container.id] = container
        self._become(containers)

    def _become(self, containers: dict[str, RunningContainer]) -> None:
        changed = not self._current.fresh or containers != self._current.containers
        self._current = Running(MappingProxyType(containers), known=True, fresh=True)
        self._fresh.set()
        for listener in self.listeners if changed else ():
            listener()

    def _hang_up(self) -> None:
        if self._stream is not None:
            with contextlib.suppress(OSError, ValueError, AttributeError):  # closed already, by one side or the other
                self._stream.close()


def _inspect(client: docker.APIClient, container: str) -> RunningContainer | None:
    try:
        return running_from_inspect(client.inspect_container(container))
    except NotFound:
        return None


def _read(stream: Any, events: "queue.SimpleQueue[dict[str, Any] | None]") -> None:
    try:
        for event in stream:
            events.put(event)
    except Exception as error:  # noqa: BLE001  whatever breaks the stream, its follower opens another
        _LOG.debug("The stream of events broke: %r", error)
    events.put(None)
