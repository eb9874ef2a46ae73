"""`LeasedDockerSpawner`: what becomes of a container after its start: polled, found again, ended, confirmed gone."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any, TypeVar

from docker.errors import APIError
from dockerspawner import DockerSpawner
from jupyterhub.utils import maybe_future

from ..engine import containers, observe
from ..engine.containers import LEASE_LABEL
from ..engine.running import COURSE_VARIABLE
from ..engine.view import HUB_LABEL
from ..errors import BerthError, EngineUnavailable, LeaseLost
from ..policy.leases import Lease
from ..policy.names import exam_network_name, network_name
from .leases import GpuLeaseMixin
from .readiness import wait_until_ready
from .seats import STAFF_VARIABLE
from .watch import watch

T = TypeVar("T")

_HUB_SECONDS = 1.5  # after a start was cancelled the hub looks after a second, and goes on by itself if it is over
_LOOK_SECONDS = 0.1


class LeasedDockerSpawner(GpuLeaseMixin, DockerSpawner):
    """The base of `TensorFlowSpawner`, which says how a container is made and started."""

    object_id: str
    _notifying: "asyncio.Future[int | None] | None" = None

    async def poll_and_notify(self) -> int | None:
        """Poll, and let the hub deal with a server that has ended; who asks meanwhile waits for that, too.

        JupyterHub's own tells a second who asks that the server is over while the hub, told by the first, still ends
        it. A start that comes then, as of somebody whose server has just crashed, would be ended in its middle.
        """
        if self._notifying is None or self._notifying.done():
            self._notifying = asyncio.ensure_future(super().poll_and_notify())
        return await asyncio.shield(self._notifying)

    async def _remove(self) -> None:
        # By name only where nobody knows whether there is one: under this name there may be a later start's by now.
        container = self.object_id or self._made or self.container_name
        await self.engine.call("slow", lambda client: containers.remove(client, container))
        self.object_id = ""

    async def _until_answered(self, action: Callable[[], Awaitable[T]]) -> T:
        """Repeat `action` until the engine has carried it out: its errors say nothing about a container."""
        for pause in itertools.chain((0.2, 0.5, 1.0, 2.0), itertools.repeat(5.0)):
            try:
                return await action()
            except (EngineUnavailable, APIError) as error:
                self.log.warning("%s: %s. Trying again.", self._log_name, error)
                await asyncio.sleep(pause)
        raise AssertionError("the pauses never end")

    async def _finished_at(self, container: str) -> datetime | None:
        return await self._until_answered(
            lambda: self.engine.call("quick", lambda client: observe.finished_at(client, container))
        )

    async def confirm_gone(self, lease: Lease) -> datetime | None:
        container = lease.container or self.container_name
        await self._until_answered(
            lambda: self.engine.call("slow", lambda client: containers.stop(client, container, self.stop_grace))
        )
        ended_at = await self._finished_at(container)
        await self._until_answered(
            lambda: self.engine.call("slow", lambda client: containers.remove(client, container))
        )
        return ended_at

    async def poll(self) -> int | None:
        """Tell whether the server runs: None if so, or if it is starting, or if nobody can know; else an exit code."""
        if self._starting:
            return None
        if self._removal is not None and not self._removal.done():
            return 0  # of a start that failed
        if not self.object_id:
            return await self._find_lost()
        state = self.view.current(self.object_id)
        # The view may lag behind a start by an event; that a server is dead, only the engine itself can say.
        if state is None or not state.running:
            try:
                state = await self.engine.call("quick", lambda client: containers.state(client, self.object_id))
            except (EngineUnavailable, APIError) as error:
                self.log.warning("%s: cannot tell whether it runs: %s", self._log_name, error)
                return None
        if state is None:
            self.object_id = ""
            return 0
        if state.running:
            return None
        if state.out_of_memory:
            self.log.warning("%s ended: out of memory.", self._log_name)
        return state.exit_code or 0

    async def _find_lost(self) -> int | None:
        """Look for a container that the hub made and did not live to note down.

        The hub keeps a spawner's state only after its start is over. A running container is taken back with the
        token in its environment; a container that never ran is removed.
        """
        if self.orm_spawner is None or self.orm_spawner.server is None:
            return 0
        try:
            answer = await self.engine.call("quick", lambda client: containers.inspect(client, self.container_name))
        except (EngineUnavailable, APIError) as error:
            self.log.warning("%s: cannot tell whether it runs: %s", self._log_name, error)
            return None
        if answer is None or answer["Config"]["Labels"].get(HUB_LABEL) != self.hub_id:
            return 0
        self.object_id = answer["Id"]
        self.lease_id = answer["Config"]["Labels"].get(LEASE_LABEL, "")
        if not answer["State"]["Running"]:
            return await self._gone("start_failed")
        self._watch()
        ip = self._address(answer)
        try:
            alive = await wait_until_ready(self._probe_url(ip), self._has_ended, self.ready_timeout)
        except TimeoutError:
            alive = False
        if not alive:
            self.log.warning("%s: its start was cut off and came to nothing", self._log_name)
            return await self._gone("start_failed")
        try:
            await self.lease_is_active(self.object_id, observe.from_inspect(answer).started_at)
        except LeaseLost as error:
            self.log.warning("%s: %s", self._log_name, error)
            return await self._gone("start_failed")
        except BerthError as error:
            # The janitor notes it later; a running server is not ended for that.
            self.log.warning("%s: %s", self._log_name, error)
        environment = dict(entry.split("=", 1) for entry in answer["Config"]["Env"] if "=" in entry)
        self.api_token = environment.get("JUPYTERHUB_API_TOKEN", "")
        self.course, self.of_staff = environment.get(COURSE_VARIABLE, ""), STAFF_VARIABLE in environment
        self.orm_spawner.state = self.get_state()
        self.db.commit()
        self.log.info("%s: took back container %s", self._log_name, self.object_id[:12])
        return None

    async def _gone(self, why: str) -> int:
        """Remove the container, whatever it does, and close its lease; gives the exit code for `poll`."""
        lease_id, container = self.lease_id, self.object_id
        await self.lease_ending(lease_id, why)
        ended_at = await self._finished_at(container) if container and lease_id else None
        if container:
            await self._until_answered(self._remove)
        await self.lease_over(lease_id, ended_at, why)
        return 0

    def _address(self, answer: dict[str, Any]) -> str:
        """Read a container's address: it is in one of the hub's networks."""
        networks = network_name(self.hub_id), exam_network_name(self.hub_id)
        return next(filter(None, (containers.address(answer, name) for name in networks)), "")

    async def get_url(self) -> str:
        """Give the server's address from the engine, for a hub that restarted before it had noted it down."""
        known = str(self.server.url)
        if not self.object_id:
            return known
        try:
            answer = await self.engine.call("quick", lambda client: containers.inspect(client, self.object_id))
        except (EngineUnavailable, APIError):
            return known
        ip = self._address(answer) if answer else ""
        return f"http://{ip}:{self.port}{self.server.base_url}" if ip else known

    def load_state(self, state: dict[str, Any]) -> None:
        super().load_state(state)
        if self.object_id:
            self._watch()

    def _watch(self) -> None:
        """Hear at once of the container's end, rather than at the next poll."""
        watch(self.view, self.object_id, self)

    async def stop(self, now: bool = False) -> None:
        """Stop the server and remove its container; returns when the engine has confirmed that it is gone.

        While the engine does not answer this goes on trying: the hub forgets a server whose stop has failed, and its
        container would stay.
        """
        container, grace = self.object_id or self.container_name, 0 if now else self.stop_grace
        lease_id = self.lease_id
        await self.lease_ending(lease_id, "stopped")
        await self._until_answered(
            lambda: self.engine.call("slow", lambda client: containers.stop(client, container, grace))
        )
        ended_at = await self._finished_at(container) if lease_id else None
        await self._until_answered(self._remove)
        await self.lease_over(lease_id, ended_at)

    async def _end_at_hub(self) -> None:
        """Let the hub take a cancelled start for stopped, where it was too busy to do so by itself.

        It gives a start one second to end, and after that answers 500 to whoever stopped it: the server would count as
        running for ever, could be neither started nor stopped, and its user not be deleted.
        """
        await asyncio.sleep(_HUB_SECONDS)
        while self.pending in {"spawn", "stop"}:  # noqa: ASYNC110  the hub keeps flags, which nobody can wait for
            await asyncio.sleep(_LOOK_SECONDS)
        if self._removal is not None:
            await asyncio.wait([self._removal])  # what is still there the hub would take for a server that it lost
        if not self.ready or self._starting or self.user.spawners.get(self.name) is not self:
            return
        try:
            await self.user.stop(self.name)
        except Exception:  # nobody waits for this, and would hear of it otherwise
            self.log.exception("%s: its start was stopped, which the hub could not note down", self._log_name)

    async def run_post_stop_hook(self) -> Any:
        """Remove a container that died by itself: the hub calls `stop` only for servers that run."""
        ending = self._removal is not None and not self._removal.done()
        if (self.object_id or self.lease_id) and not (self._starting or ending):
            await self._gone("container_gone")
        return await maybe_future(super().run_post_stop_hook())
