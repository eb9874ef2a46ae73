"""What goes over the GPUs' bus, measured in the background."""

import itertools
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pynvml

from ..errors import GpuProbeFailed
from .nvml_session import NvmlError, concerns_all, reason_of
from .telemetry import Reason, Throughput

ROUND = 15.0  # seconds in which each GPU is measured once
_FRESH = 60.0  # what is older is not given any more
_UNASKED = 120.0  # after which nothing is measured until somebody asks again
_WAYS = {"transmit": pynvml.NVML_PCIE_UTIL_TX_BYTES, "receive": pynvml.NVML_PCIE_UTIL_RX_BYTES}


class PcieSampler:
    """Measures one GPU and one direction after the other.

    The driver counts for 20 ms whenever it is asked: too long for a reading of all GPUs.

    Parameters
    ----------
    run
        Runs a function where NVML may be called; raises `spawner.errors.GpuProbeFailed` like every reading.
    seconds
        For a round over all GPUs.
    """

    def __init__(self, run: Callable[[Callable[[], None]], None], seconds: float = ROUND) -> None:
        self._run = run
        self._seconds = seconds
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None
        self._gpus: Sequence[str] = ()
        self._asked_at = 0.0
        self._measured: dict[tuple[str, str], tuple[float, float | Reason]] = {}

    def watch(self, gpus: Sequence[str]) -> None:
        """Measure these GPUs from now on, as long as that is said again and again."""
        with self._lock:
            self._gpus = gpus
            self._asked_at = time.monotonic()
            if self._thread is None and gpus and not self._closed.is_set():
                self._thread = threading.Thread(target=self._work, name="gpu-bus", daemon=True)
                self._thread.start()

    def last(self, gpu: str) -> tuple[Throughput | None, Reason | None]:
        """Give bytes per second, and why they are not known; neither as long as nothing was measured."""
        found = {way: self._fresh(gpu, way) for way in _WAYS}
        values = {way: value for way, value in found.items() if isinstance(value, float)}
        reasons: list[Reason] = [value for value in found.values() if isinstance(value, str)]
        throughput = Throughput(values.get("transmit"), values.get("receive")) if values else None
        return throughput, reasons[0] if reasons else None

    def close(self) -> None:
        """Measure nothing any more; does not wait."""
        self._closed.set()

    def _fresh(self, gpu: str, way: str) -> float | Reason | None:
        at, value = self._measured.get((gpu, way), (0.0, None))
        return value if time.monotonic() - at < _FRESH else None

    def _work(self) -> None:
        for round_ in itertools.count():
            with self._lock:
                if time.monotonic() - self._asked_at > _UNASKED or not self._gpus:
                    self._thread = None
                    return
            for gpu, way, pause in self._steps():
                # The first time at once, so that the second reading has something to tell.
                if self._closed.wait(pause if round_ else 0):
                    return
                try:
                    self._run(lambda gpu=gpu, way=way: self._measure(gpu, way))  # type: ignore[misc]
                except GpuProbeFailed:
                    self._closed.wait(1)  # the readings themselves tell

    def _steps(self) -> Iterator[tuple[str, str, float]]:
        gpus = tuple(self._gpus)
        pause = self._seconds / (len(_WAYS) * len(gpus))
        return ((gpu, way, pause) for gpu in gpus for way in _WAYS)

    def _measure(self, gpu: str, way: str) -> None:
        measured: float | Reason
        try:
            handle: Any = pynvml.nvmlDeviceGetHandleByUUID(gpu.encode())
            measured = pynvml.nvmlDeviceGetPcieThroughput(handle, _WAYS[way]) * 1000.0
        except NvmlError as error:
            if concerns_all(error):
                raise
            measured = reason_of(error)
        self._measured[gpu, way] = time.monotonic(), measured
