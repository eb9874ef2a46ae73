"""`GpuLeaseMixin`: what every spawner class of ours does about leases, whatever runs its containers.

A backend calls `lease_gpus` before it makes a container, `lease_is_active` when the server answers, `lease_ending`
before it removes one, and `lease_over` once that is confirmed gone. Everything in between may be cut off by a crash:
the janitor then finishes it from the container's labels.
"""

import asyncio
import contextlib
import functools
import itertools
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Any, ParamSpec, TypeVar

from pydantic import SecretStr
from traitlets import Any as AnyTrait
from traitlets import HasTraits

from ..errors import BerthError, GpuRefused, LedgerUnavailable
from ..operations import leases, offers
from ..operations.desk import Desk
from ..operations.inventory import doubt, gpus_of, slots_of
from ..operations.seats import Placed, none_left
from ..policy.gpus import Gpu, Slot
from ..policy.leases import GpuRequest, Lease
from ..policy.leasing import describe
from ..policy.model import AtEnd, Deny, Grant, IfBusy, LimitRules, SpawnRequest
from . import metrics, seats
from .desks import in_thread, shared_desk
from .requests import refusal

P = ParamSpec("P")
T = TypeVar("T")

_LOOK_SECONDS = 1.0  # between two looks at one's place in the queue
_UNFINISHED_TRIES = 3

# The hub gives a start that it interrupts one second to end. After that it answers 500, and forgets to look after the
# server until `_end_at_hub` makes it; so what takes longer goes on in the background.
INTERRUPTED_SECONDS = 0.7

# What cancelled starts still give back, by user and server; the next start of a server may be another object's.
_GIVING_UP: dict[tuple[str, str], asyncio.Future[None]] = {}


class GpuLeaseMixin(HasTraits):
    """Leases GPUs for a spawner. To be mixed in before the spawner class; `_steps`, `person` and the like are its."""

    ledger_url = AnyTrait(
        None,
        allow_none=True,
        help="Database of the GPU ledger, such as sqlite:////srv/ledger.sqlite; without one no GPUs are handed out.",
    ).tag(config=True)

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.lease: Lease | None = None
        self.slots: tuple[Slot, ...] = ()
        self.gpus: tuple[Gpu, ...] = ()
        self.lease_id = ""
        self.seat: Placed | None = None
        self.course, self.of_staff = "", False  # whose seat the server is that runs, and whether it is one of its staff
        self._asking: asyncio.Future[leases.Answer] | None = None

    @property
    def desk(self) -> Desk | None:
        """The way to the ledger; None without one."""
        url = self.ledger_url.get_secret_value() if isinstance(self.ledger_url, SecretStr) else self.ledger_url
        return shared_desk(url, self.limits, self.leases) if url else None

    async def operate(self, function: Callable[..., T], *args: Any) -> T:
        """Run one of `spawner.operations` at this hub's desk, in a thread.

        Raises
        ------
        LedgerUnavailable
            If there is no ledger, or it does not answer.
        """
        desk = self.desk
        if desk is None:
            raise LedgerUnavailable("No ledger is configured (ledger_url); GPUs cannot be leased.")
        return await in_thread(function, desk, *args)

    async def quota_rules(self) -> LimitRules:
        """Give the quotas that hold now: the ledger's before the settings'.

        A ledger that does not answer takes nobody's server away: the settings' hold then.
        """
        settings: LimitRules = self.limits.rules()
        if self.desk is None:
            return settings
        try:
            return await self.operate(leases.rules_now)
        except BerthError as error:
            self.log.warning("The ledger's quotas cannot be read: %s", error)
            return settings

    # --- before the container ---------------------------------------------------------------------------------

    def gpu_request(self, grant: Grant, request: SpawnRequest) -> GpuRequest:
        """Translate a granted server into a request for its GPUs."""
        if self.seat is not None:
            return seats.gpu_request(self.seat, self.person)
        person, profile = self.person, grant.profile
        options = {
            "profile": profile.slug,
            "gpus": grant.limits.gpus,
            "hours": request.hours,
            "if_busy": str(request.if_busy),
            **({"at_end": str(request.at_end)} if request.at_end else {}),
            **({"clean": True} if request.clean else {}),
        }
        return GpuRequest(
            person.name,
            self.name,
            profile.slug,
            grant.limits.gpus,
            request.hours,
            profile.gpu_models,
            profile.gpu_kinds,
            profile.gpu_memory,
            groups=person.groups,
            at_end=request.at_end or AtEnd(self.leases.at_end),
            options=json.dumps(options),
        )

    async def lease_gpus(self, grant: Grant, request: SpawnRequest) -> Grant:
        """Get the GPUs of a grant: a lease, in `lease` and `slots`; waits a while in the queue.

        Returns
        -------
        Grant
            The same, or one without GPUs where its user wanted that rather than to wait.

        Raises
        ------
        SpawnException
            With the reason why not; ``queued`` where the start is to go on later by itself.
        """
        self.lease, self.slots, self.gpus = None, (), ()
        if (giving_up := _GIVING_UP.get((self.person.name, self.name))) is not None:
            await asyncio.wait([giving_up])  # lest it gives up this start's place too
        if not grant.limits.gpus:
            await self._forget_old_lease()
            return grant
        with metrics.request() as answered:
            answer = await self._acquire(grant, request) if self.desk is not None else _none_here(request)
            answered(answer)
        if isinstance(answer, leases.Granted):
            self.lease, self.lease_id = answer.lease, answer.lease.id
            self.slots = await self.operate(slots_of, answer.lease.slots)
            self.gpus = await self.operate(gpus_of, self.slots)
            self._say_lease(answer)
            return grant
        if isinstance(answer, leases.OnCpu):
            note = f"Started without GPUs: {answer.reason}"
            return replace(grant, limits=replace(grant.limits, gpus=0), note=note)
        if isinstance(answer, Deny):
            raise refusal(answer, 403)
        raise refusal(Deny("queued", self._queued_text(answer)), 409)

    def _say_lease(self, answer: leases.Granted) -> None:
        lease, slot = answer.lease, self.slots[0]
        count = len(self.slots)
        what = f"{count} × {slot.model}" if count > 1 else slot.model
        length = describe(lease.ends_at - lease.granted_at)
        self._steps.add(5, f"Leased {what} for {length} ({isolation_words(slot)}).")
        if answer.note:
            self._steps.add(6, answer.note)

    @staticmethod
    def _queued_text(answer: Any) -> str:
        return (
            f"{answer.reason} You are number {answer.position} in the queue. The server starts by itself when it is "
            "its turn; you may close this page."
        )

    async def _acquire(self, grant: Grant, request: SpawnRequest) -> leases.Answer:
        wanted = self.gpu_request(grant, request)
        try:
            answer = await self._ask(wanted, request)
            return await self._wait(answer, wanted, request) if isinstance(answer, leases.Queued) else answer
        except asyncio.CancelledError:
            # Given up while its user looked on; a start that hands over to the queue page keeps its place.
            giving_up = asyncio.ensure_future(self._give_up(wanted))
            _GIVING_UP[wanted.user, wanted.server] = giving_up
            giving_up.add_done_callback(lambda _: _GIVING_UP.pop((wanted.user, wanted.server), None))
            await asyncio.wait([giving_up], timeout=INTERRUPTED_SECONDS)
            raise

    async def _give_up(self, wanted: GpuRequest) -> None:
        """Give back what the ledger has granted to a cancelled start, or grants to it yet: the decision goes on."""
        asking, self._asking = self._asking, None
        if asking is not None:
            await asyncio.wait([asking])
        with contextlib.suppress(BerthError):
            await self.operate(offers.cancel, wanted.user, wanted.server)
        if asking is not None and asking.exception() is None and isinstance(answer := asking.result(), leases.Granted):
            await self.lease_ending(answer.lease.id, "start_failed")
            await self.lease_over(answer.lease.id, None, "start_failed")

    async def _wait(self, answer: leases.Queued, wanted: GpuRequest, request: SpawnRequest) -> leases.Answer:
        told = ""
        for _ in range(int(self.leases.wait_seconds / _LOOK_SECONDS)):
            place = await self.operate(offers.look_up, wanted.user, wanted.server)
            if place is None:
                return Deny("taken_out", "This server was taken out of the queue.")
            if place.offered is not None:
                taken = await self._ask(wanted, request)
                if not isinstance(taken, leases.Queued):
                    return taken
            elif (said := place_words(place)) != told:
                told = said
                self._steps.add(3, said)
            await asyncio.sleep(_LOOK_SECONDS)
        return answer

    async def _ask(self, wanted: GpuRequest, request: SpawnRequest) -> leases.Answer:
        """Ask for the lease; a former one of this server is ended first, its container confirmed gone."""
        for _ in range(_UNFINISHED_TRIES):
            answer = await self._ask_once(wanted, request)
            if not isinstance(answer, leases.Unfinished):
                return answer
            await self._finish(answer.lease)
        return Deny("engine_busy", "The server that you had before is still being removed. Try again in a minute.")

    async def _ask_once(self, wanted: GpuRequest, request: SpawnRequest) -> leases.Answer:
        acquire = functools.partial(leases.acquire)
        if (seat := self.seat) is not None:
            acquire = functools.partial(acquire, first=seat.first, unless=functools.partial(none_left, seat))
        self._asking = asyncio.ensure_future(self.operate(acquire, wanted, request.if_busy))
        answer = await asyncio.shield(self._asking)
        self._asking = None
        return answer

    async def _forget_old_lease(self) -> None:
        """End what a former start of this server left: a lease, or a place in the queue."""
        if self.desk is None:
            return
        try:
            person, server = self.person.name, self.name
            await self.operate(offers.cancel, person, server)
            old = await self.operate(leases.of_server, person, server)
            if old is not None:
                await self._finish(old)
        except LedgerUnavailable as error:
            # A server without GPUs needs no ledger.
            self.log.warning("The ledger does not answer: %s", error)

    async def _finish(self, lease: Lease) -> None:
        """End a lease of this server that nobody has ended: remove its container, then close it."""
        await self.operate(leases.release, lease.id, "superseded")
        ended_at = await self.confirm_gone(lease)
        await self.operate(leases.close, lease.id, ended_at)

    async def confirm_gone(self, lease: Lease) -> datetime | None:
        """Remove whatever container a lease may still have; gives its finish time. For the backend to say how."""
        raise NotImplementedError

    # --- afterwards -------------------------------------------------------------------------------------------

    async def lease_is_active(
        self, container: str, started_at: datetime | None, answered_at: datetime | None = None
    ) -> None:
        """Note that the server answers. Raises what makes the start fail: without its lease it must not run."""
        if self.lease_id:
            moment = started_at or (self.lease.granted_at if self.lease else None)
            if moment is not None:
                self.lease = await self.operate(leases.activate, self.lease_id, container, moment, answered_at)

    async def gpus_refused(self, error: GpuRefused) -> None:
        """Put the GPUs that the driver refused in doubt, before their lease is given back to the next."""
        named = [slot.id for slot in self.slots if slot.device in str(error)]
        refused = named or [slot.id for slot in self.slots]
        try:
            await self.operate(doubt, refused, str(error))
        except BerthError as failed:
            self.log.warning("The GPUs of lease %s are not in doubt: %s", self.lease_id, failed)

    async def lease_ending(self, lease_id: str, why: str) -> None:
        """Note that a server is being ended. A ledger that is away must not hold that up."""
        if lease_id and self.desk is not None:
            try:
                await self.operate(leases.release, lease_id, why)
            except BerthError as error:
                self.log.warning("Lease %s: %s. It is released later.", lease_id, error)

    async def lease_over(self, lease_id: str, ended_at: datetime | None, why: str = "stopped") -> None:
        """Note that a server's container is confirmed gone; goes on in the background while the ledger is away."""
        if self.lease_id == lease_id:
            self.lease_id, self.lease = "", None
        if not lease_id or self.desk is None:
            return
        try:
            await self.operate(leases.close, lease_id, ended_at, why)
        except LedgerUnavailable as error:
            self.log.warning("Lease %s: %s. Trying again.", lease_id, error)
            asyncio.ensure_future(self._close_later(lease_id, ended_at, why))  # noqa: RUF006  it logs its own errors
        except BerthError as error:
            self.log.warning("Lease %s: %s", lease_id, error)

    async def _close_later(self, lease_id: str, ended_at: datetime | None, why: str) -> None:
        for pause in itertools.chain((1.0, 2.0, 5.0), itertools.repeat(10.0)):
            await asyncio.sleep(pause)
            try:
                await self.operate(leases.close, lease_id, ended_at, why)
            except LedgerUnavailable:
                continue
            except BerthError as error:
                self.log.warning("Lease %s: %s", lease_id, error)
            return

    # --- what the hub keeps -----------------------------------------------------------------------------------

    def get_state(self) -> dict[str, Any]:
        state: dict[str, Any] = super().get_state()
        if self.lease_id:
            state = {**state, "lease": self.lease_id}
        # The janitor reads it: a server is not a seat for being called like a course.
        return {**state, "course": self.course, "staff": self.of_staff} if self.course else state

    def load_state(self, state: dict[str, Any]) -> None:
        super().load_state(state)
        self.lease_id = str(state.get("lease", ""))
        self.course, self.of_staff = str(state.get("course", "")), bool(state.get("staff"))

    def clear_state(self) -> None:
        super().clear_state()
        self.lease_id, self.lease, self.slots, self.gpus = "", None, (), ()
        self.seat = None
        self.course, self.of_staff = "", False


def _none_here(request: SpawnRequest) -> leases.Answer:
    why = "This hub hands out no GPUs."
    if request.if_busy is IfBusy.CPU:
        return leases.OnCpu(why, "no_gpus")
    return Deny("no_gpus", f"{why} Choose a profile without.")


def place_words(place: offers.Place) -> str:
    """Say a place in the queue to its user."""
    if place.blocked:
        return f"Number {place.position} of {place.waiting} in the queue, passed over while your quota is used up."
    when = f"; likely at {place.eta:%H:%M} UTC" if place.eta else ""
    return f"Number {place.position} of {place.waiting} in the queue{when}."


def isolation_words(slot: Slot) -> str:
    """Say to a user what a slot is and what keeps its holders apart."""
    words = {
        "hardware": "a whole GPU" if slot.kind == "exclusive" else "a MIG instance, kept apart by the hardware",
        "kernel": "a share of a GPU, its memory bounded by the kernel",
        "mps": "a share of a GPU, its memory bounded by MPS",
        "cooperative": "a share of a GPU, kept by agreement only",
    }[slot.isolation]
    return f"simulated: {words}" if slot.simulated else words
