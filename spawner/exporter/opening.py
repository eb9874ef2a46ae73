"""The exporter of a node, put together from a deployment's settings."""

import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version

from prometheus_client.core import Metric

from ..engine.client import Engine
from ..engine.running import RunningView
from ..engine.volumes import home_volumes
from ..gpus.probes import open_probe
from ..metrics.pseudonyms import Pseudonyms
from ..policy.gpus import LOCAL_NODE
from ..settings import Settings
from .gather import Gatherer, OpenedProbe
from .homes import HomeWalker
from .looking import ErrorCounts
from .mapping import MappingWriter
from .names import Naming
from .own_use import OwnUse
from .render import Renderer
from .snapshot import PROBES

_ENGINE_SECONDS = 10.0  # for one answer


@dataclass(frozen=True)
class Node:
    """Which node's exporter this is.

    Attributes
    ----------
    hub_id
        Of the hub whose containers count.
    name
        Of the node, as in the inventory.
    key
        For users' pseudonyms; None leaves the names.
    """

    hub_id: str
    name: str = LOCAL_NODE
    key: bytes | None = None


class Exporter:
    """Follows a node and tells about it; connects to nothing before `start`, and needs nothing to be there.

    Parameters
    ----------
    engine
        Options of the engine's client, besides those of the environment.
    """

    def __init__(self, settings: Settings, node: Node, engine: Mapping[str, object] | None = None) -> None:
        metrics = settings.metrics
        naming = Naming(Pseudonyms(node.key), hashed=node.key is not None)
        errors = ErrorCounts(PROBES)
        self._engine = Engine({"timeout": _ENGINE_SECONDS, **(engine or {})})
        self._view = RunningView(self._engine, node.hub_id)
        self._probe = OpenedProbe(
            lambda: open_probe(
                settings.gpus,
                demo=settings.sign_in.method == "demo",
                clock=_utc_now,
                node=node.name,
                holders=self._holders,
            )
        )
        self._walker = HomeWalker(
            lambda: home_volumes(self._engine.connect("quick"), node.hub_id), metrics.home_minutes, errors
        )
        self._gatherer = Gatherer(self._engine, self._view, self._probe, self._walker, errors)
        self._renderer = Renderer(
            version=version("jupyterhub-berth"),
            node=node.name,
            hub=node.hub_id,
            naming=naming,
            processes=metrics.processes,
        )
        self._own_use = OwnUse()
        self._rendering = threading.Lock()
        self._mapping = (
            MappingWriter(metrics.job_mapping_dir, self._gatherer.snapshot, naming) if metrics.job_mapping_dir else None
        )

    def start(self) -> None:
        if self._mapping:
            self._view.listeners.append(self._mapping.changed)
        self._view.start()
        self._walker.start()
        if self._mapping:
            self._mapping.start()

    def collect(self) -> Iterable[Metric]:
        """Look at the node and give what there is to say, this process's own use included; thread-safe."""
        snapshot = self._gatherer.snapshot()
        with self._rendering:
            samples = list(self._renderer.render(snapshot))
        return [*samples, *self._own_use.collect()]

    def close(self) -> None:
        if self._mapping:
            self._mapping.close()
        self._walker.close()
        self._gatherer.close()
        self._view.close()
        self._probe.close()
        self._engine.close()

    def _holders(self) -> Mapping[str, Sequence[int]]:
        """Tell simulated GPUs who works on them."""
        running = self._view.current.containers.values()
        return {slot: (container.pid,) for container in running if container.lease for slot in container.slots}


def _utc_now() -> datetime:
    return datetime.now(UTC)
