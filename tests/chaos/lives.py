"""Containers' lives as the kernel shows them: neither the engine nor the ledger is asked.

A container lives while its control group has processes. What it was made for stands in the file that the engine
writes when it makes it.
"""

import contextlib
import json
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from ..support.own_engine import OwnEngine

LOOK_SECONDS = 0.05


@dataclass
class Life:
    """A container that had a lease's slots.

    Attributes
    ----------
    pid
        Of its first process.
    ended
        When it was first seen without processes; None while it lives.
    """

    container: str
    user: str
    lease: str
    slots: tuple[str, ...]
    pid: int
    began: datetime
    ended: datetime | None = None

    @property
    def seconds(self) -> float:
        return ((self.ended or datetime.now(UTC)) - self.began).total_seconds()


class Lives:
    """Records all containers with leases on an engine, until it is closed."""

    def __init__(self, engine: OwnEngine) -> None:
        self._engine = engine
        self._known: dict[str, Life | None] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="lives", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._over.set()
        self._thread.join()

    def all(self) -> list[Life]:
        return [life for life in list(self._known.values()) if life is not None]

    def living(self) -> list[Life]:
        return [life for life in self.all() if life.ended is None]

    def overlaps(self) -> list[tuple[Life, Life]]:
        """List pairs of containers that lived at the same time with the same slot."""
        found = []
        by_slot: dict[str, list[Life]] = {}
        for life in sorted(self.all(), key=lambda life: life.began):
            for slot in life.slots:
                found += [
                    (earlier, life)
                    for earlier in by_slot.get(slot, [])
                    if earlier.ended is None or earlier.ended > life.began
                ]
                by_slot.setdefault(slot, []).append(life)
        return found

    def _follow(self) -> None:
        while not self._over.wait(LOOK_SECONDS):
            self._look()

    def _look(self) -> None:
        running = self._running()
        now = datetime.now(UTC)
        for container, pid in running.items():
            if container not in self._known:
                self._known[container] = self._life(container, pid, now)
        for container, life in self._known.items():
            if life is not None and life.ended is None and container not in running:
                life.ended = now

    def _running(self) -> dict[str, int]:
        group = control_group(self._engine)
        if group is None:
            return {}
        found = {}
        for entry in group.iterdir():
            # It may be gone by now.
            with contextlib.suppress(OSError):
                if entry.is_dir() and (pids := (entry / "cgroup.procs").read_text().split()):
                    found[entry.name] = int(pids[0])
        return found

    def _life(self, container: str, pid: int, now: datetime) -> Life | None:
        """Read what a container was made for; None for one without a lease."""
        labels = _labels(self._engine.directory / "data" / "containers" / container / "config.v2.json")
        if not labels.get("berth.lease"):
            return None
        slots = tuple(labels["berth.slots"].split(","))
        return Life(container, labels["berth.user"], labels["berth.lease"], slots, pid, now)


def _labels(path: Path) -> dict[str, str]:
    for _ in range(20):  # it may be written just now
        with contextlib.suppress(OSError, ValueError):
            return dict(json.loads(path.read_text())["Config"]["Labels"] or {})
        time.sleep(0.005)
    return {}


def control_group(engine: OwnEngine) -> Path | None:
    """Find the control group above an engine's containers, on cgroup v1 (by one of its hierarchies) and v2."""
    root = Path("/sys/fs/cgroup")
    return next((path for path in (root / engine.cgroup, root / "pids" / engine.cgroup) if path.is_dir()), None)
