"""The loop that asks the hub about the lease and the class, and reports to it, at the pace which the hub gives."""

import asyncio
import logging
import random
import time
from datetime import UTC, datetime
from typing import Any, Self

from . import gpu
from .lease_hub import HubAway, LeaseHub, NoLeases, Refused
from .materials import Materials
from .pages import Pages
from .seat import Seat

_PACE = (2, 600)  # seconds between questions, whatever the hub says
_AWAY = (2, 60)  # seconds until the first and, doubling, between later tries while the hub is away
_WITHOUT_LEASES = 900  # a hub may be replaced by one that has them
_GPU_PACE = 30  # seconds between looks at the GPUs: each is a process
_BREATH = 1  # second between questions, whatever happens meanwhile
_SELF_CHECK_DELAY = 5  # seconds: the first page and kernel go first


class Watch:
    """What is known of the lease and the class, kept fresh.

    Attributes
    ----------
    pages
        The open pages, told of every change.
    materials
        Of the course in which this server is a seat.
    visitors
        Who else than its owner uses it.
    """

    def __init__(self, hub: LeaseHub | None, kernels: Any, log: logging.Logger) -> None:
        self.pages = Pages(self.state, self._moved)
        self.materials = Materials(self.pages, log)
        self._seat = Seat(self.pages, log, self._moved)
        self.visitors = self._seat.came
        self._reported: dict[str, Any] = {}
        self._hub, self._kernels, self._log = hub, kernels, log
        self._kernels_began: datetime | None = getattr(kernels, "last_kernel_activity", None)
        self._answer: dict[str, Any] | None = None
        self._answered = 0.0  # by the monotonic clock
        self._away = False
        self._gpu = gpu.not_looked_yet()
        self._gpu_looked = -float(_GPU_PACE)
        self._self_check: dict[str, Any] | None = None
        self._wake = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    @classmethod
    def of(cls, server: Any) -> Self:
        return cls(LeaseHub.from_environment(), server.kernel_manager, server.log)

    def start(self) -> None:
        """Begin to ask, in the running event loop; does nothing without a hub."""
        if self._hub is None or self._tasks:
            return
        self._tasks.append(asyncio.create_task(self._run(), name="berth-lease"))
        if gpu.expected():
            self._tasks.append(asyncio.create_task(self._check_self(), name="berth-selfcheck"))
        if self.materials.expected():
            self._tasks.append(asyncio.create_task(self.materials.keep_trying(), name="berth-materials"))

    def state(self) -> dict[str, Any]:
        """Give what pages are told; without leases that is ``{"on": False}``.

        ``left_seconds`` is corrected for the time since the hub's answer, so that a page may count from there.
        """
        if self._answer is None:
            return {"on": False}
        return {
            "on": True,
            "hub_away": self._away,
            "lease": self._counted(self._answer["lease"]),
            "class": self._class(),
            "messages": self._answer.get("messages", []),
            "gpu": self._gpu,
        }

    def _class(self) -> dict[str, Any] | None:
        part = self._counted((self._answer or {}).get("class"))
        if part is None:
            return None
        told = {name: value for name, value in part.items() if name != "pushes"}
        people = {"owner": self._seat.owner, "visitors": self._seat.visitors()}
        return {**told, **people, "materials": self.materials.state}

    def _counted(self, part: dict[str, Any] | None) -> dict[str, Any] | None:
        """Give a part of the answer with what is left now."""
        if not part:
            return None
        passed = int(time.monotonic() - self._answered)
        return {**part, "left_seconds": max(0, int(part.get("left_seconds", 0)) - passed)}

    async def extend(self, hours: float | None) -> dict[str, Any]:
        answer = await self._known_hub().extend(hours)
        await self._refresh()
        return answer

    async def release(self, at_end: str) -> bool:
        await self._known_hub().release(at_end)
        await self._refresh()
        return True

    async def restart(self) -> bool:
        await self._known_hub().restart()
        return True

    async def hand(self, raised: bool, by: str) -> dict[str, Any]:
        answer = await self._known_hub().hand(raised, by)
        await self._refresh()
        return answer

    async def check_gpu(self) -> dict[str, Any]:
        """Look at the GPUs now."""
        self._gpu_looked = time.monotonic()
        before, self._gpu = self._gpu, await gpu.probe()
        if self._gpu["problem"] and self._gpu["problem"] != before["problem"]:
            self._log.warning("berth: %s", self._gpu["problem"])
        if self._gpu != before:
            self.pages.tell()
        return self._gpu

    def _known_hub(self) -> LeaseHub:
        if self._hub is None:
            raise NoLeases
        return self._hub

    async def _run(self) -> None:
        failures = 0
        while True:
            try:
                pause = await self._round()
                failures = 0
            except NoLeases:
                self._answer, self._away, pause = None, False, _WITHOUT_LEASES
                self.pages.tell()
            except HubAway as error:
                failures += 1
                if failures == 1:
                    self._log.info("berth: the hub does not answer (%s)", error)
                self._away, pause = True, min(_AWAY[0] * 2 ** (failures - 1), _AWAY[1])
                self.pages.tell()
            except Exception:  # noqa: BLE001 -- a user without word of the lease's end is worse
                self._log.exception("berth: this should not happen")
                pause = _AWAY[1]
            # Apart from each other, so that a thousand servers do not ask at once when their hub is back.
            await asyncio.sleep(_BREATH)
            await self._pause(pause * random.uniform(0.9, 1.1) - _BREATH)  # noqa: S311

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            pass
        self._wake.clear()

    async def _round(self) -> float:
        await self._ask()
        assert self._answer is not None  # noqa: S101 -- just asked for
        part = self._answer.get("class")
        if self._answer["lease"] or gpu.expected() or part:
            if gpu.expected() and time.monotonic() - self._gpu_looked >= _GPU_PACE:
                await self.check_gpu()
            came = set(self._seat.visitors()) - set(self._reported.get("visitors", []))
            news = await self._report() and bool(came)
            if part and await self._seat.fetch(self._known_hub(), part.get("pushes", [])):
                news = True
            if part and news:
                await self._ask()  # what has just changed is seen at once
            assert self._answer is not None  # noqa: S101
        pace = self._answer.get("poll_seconds", 60)
        return float(min(max(pace, _PACE[0]), _PACE[1]))

    async def _ask(self) -> None:
        answer = await self._known_hub().lease()
        if self._away:
            self._log.info("berth: the hub is back")
        self._answer, self._answered, self._away = answer, time.monotonic(), False
        if not answer.get("class"):
            self.visitors.forget()
        self.pages.tell()

    async def _refresh(self) -> None:
        """Learn at once what an action has changed."""
        try:
            await self._ask()
        except (NoLeases, HubAway, Refused):
            self._wake.set()

    def _moved(self) -> None:
        """Say soon who has come, where somebody wants to know."""
        if self._answer is None or not self._answer.get("class"):
            return
        now, said = self._seat.presence(), self._reported
        if now["present"] != said.get("present") or now["visitors"] != said.get("visitors"):
            self._wake.set()
            self.pages.tell()

    async def _report(self) -> bool:
        """Say what there is to say; tells whether it was taken."""
        self_check, presence = self._self_check, self._seat.presence()
        report = {
            **_kernel_activity(self._kernels, self._kernels_began),
            "gpu": self._gpu,
            "selfcheck": self_check,
            **presence,
        }
        try:
            await self._known_hub().report(report)
        except (HubAway, NoLeases, Refused) as error:
            self._log.debug("berth: the report was not taken: %r", error)
            return False
        self._reported = presence
        self.visitors.told(presence["visitors"])
        if self_check is self._self_check:
            self._self_check = None
        return True

    async def _check_self(self) -> None:
        await asyncio.sleep(_SELF_CHECK_DELAY)
        verdict = await gpu.self_check()
        if verdict is not None:
            for problem in verdict.get("problems", []):
                self._log.warning("berth: %s", problem)
            self._self_check = verdict
            self._wake.set()


def _kernel_activity(kernels: Any, began: datetime | None) -> dict[str, Any]:
    """Say what the kernels do; one that nobody watches in a browser counts like any other.

    Parameters
    ----------
    began
        What their manager calls their last activity before there was any: its own start.
    """
    running = [kernels.get_kernel(kernel_id) for kernel_id in kernels.list_kernel_ids()]
    last: datetime | None = getattr(kernels, "last_kernel_activity", None)
    return {
        "busy_kernels": sum(getattr(kernel, "execution_state", "") == "busy" for kernel in running),
        "last_kernel_activity": None if last is None or last == began else last.astimezone(UTC).isoformat(),
    }
