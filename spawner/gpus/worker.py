"""A thread for calls that may never return."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as TookTooLong
from queue import SimpleQueue
from typing import TypeVar

from ..errors import GpuProbeFailed

T = TypeVar("T")
_Job = tuple[Callable[[], object], "Future[object]"]

TIMEOUT = 20.0  # seconds; the first call on a host without persistence mode wakes all GPUs, which takes some


class Worker:
    """Runs calls one after the other in a thread of its own, and does not wait for them for ever.

    A driver that hangs blocks whoever calls it, without a way to break off. Here it blocks one thread, which does not
    keep the process from ending; as long as it does, further calls fail at once.

    Parameters
    ----------
    what
        What is called, for messages: ``"The NVIDIA driver"``.
    timeout
        Seconds for a call.
    """

    def __init__(self, what: str, timeout: float) -> None:
        self._what = what
        self._timeout = timeout
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stuck: Future[object] | None = None
        self._stuck_since = 0.0
        self._closed = False

    def call(self, function: Callable[[], T]) -> T:
        """Run `function` in the thread.

        Raises
        ------
        GpuProbeFailed
            If it takes too long, or an earlier call has not returned yet.
        """
        future: Future[T] = Future()
        with self._lock:
            if self._closed:
                raise GpuProbeFailed(f"{self._what} is not asked any more: the probe was closed.", "unavailable")
            if self._stuck is not None and not self._stuck.done():
                waited = round(time.monotonic() - self._stuck_since)
                raise GpuProbeFailed(
                    f"{self._what} has not answered for {waited} s; it seems to hang. "
                    "Look at the kernel's log (dmesg); a reboot may be needed.",
                    "timeout",
                )
            self._stuck = None
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="gpu-probe", daemon=True)
                self._thread.start()
            self._jobs.put((function, future))  # type: ignore[arg-type]  # a queue of calls of all types
        started = time.monotonic()
        try:
            return future.result(self._timeout)
        except TookTooLong:
            if future.cancel():  # it waited behind another that is stuck
                raise GpuProbeFailed(f"{self._what} did not answer within {self._timeout:g} s.", "timeout") from None
            if future.done():
                return future.result()
            with self._lock:
                self._stuck, self._stuck_since = future, started  # type: ignore[assignment]
            raise GpuProbeFailed(
                f"{self._what} did not answer within {self._timeout:g} s. "
                "If that lasts, look at the kernel's log (dmesg); a reboot may be needed.",
                "timeout",
            ) from None

    def close(self, last: Callable[[], object]) -> None:
        """Let the thread end after what it does, and after a last call; waits for neither."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._jobs.put((last, Future()))
            self._jobs.put(None)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            function, future = job
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(function())
            except BaseException as error:  # noqa: BLE001  goes to the caller
                future.set_exception(error)
