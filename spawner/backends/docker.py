"""`TensorFlowSpawner`: one container per server on one Docker Engine."""

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import docker
from docker.errors import APIError
from traitlets import Bool, Unicode, default

from ..engine import containers, images, network, observe
from ..engine.client import Engine, Lane, shared_engine
from ..engine.containers import ContainerSpec
from ..engine.devices import GpuAccess, access_for
from ..engine.view import EngineView
from ..errors import BerthError, EngineUnavailable, GpuRefused
from ..operations.desk import utc_now
from ..policy.admission import admit, profiles_for
from ..policy.model import Deny, Grant, LimitRules, Person, Profile, SpawnRequest
from ..policy.names import container_name
from ..policy.request import parse_request
from ..settings import ClassSettings, SpawnerSettings
from . import metrics, seats
from .failures import exited, silent
from .form import render_form
from .homes import hold_home, home_back
from .image import image_here
from .leases import INTERRUPTED_SECONDS
from .life import LeasedDockerSpawner
from .progress import Steps
from .readiness import wait_until_ready
from .requests import options_from_form, refusal
from .selfcheck import selfcheck
from .spec import build_spec
from .traits import SettingTrait, settings_traits
from .watch import shared_view

T = TypeVar("T")

_CHECK_SECONDS = 3.0  # after the server answers, for the verdict on its GPUs
# What cancelled starts were waiting for, by container; the next start of a server may be another object's.
_LATE: dict[str, asyncio.Future[Any]] = {}
_PATIENCE_SECONDS = 10.0  # for a cleaning-up, before the user hears of the failure


# JupyterHub's own trait for the environment takes callables too.
_SettingsTraits: Any = settings_traits(SpawnerSettings, without=frozenset({"environment"}))


class TensorFlowSpawner(_SettingsTraits, LeasedDockerSpawner):
    """Start each user's server in a hardened TensorFlow container with limits that hold.

    Usable in any JupyterHub: ``c.JupyterHub.spawner_class = "tensorflow"``, and ``c.JupyterHub.hub_ip`` set to an
    address that containers reach, such as the gateway of the users' network.
    """

    hub_id = Unicode(
        help="Tells this hub's containers, volumes and network from others on the same engine; lowercase letters "
        "and digits, at most 8. Default: from the working directory, where JupyterHub keeps its database.",
        config=True,
    )
    data_dir = Unicode(help="Directory for files that containers mount. Default: the working directory.", config=True)
    data_sets = SettingTrait(ClassSettings, "data_sets")
    ask_students = SettingTrait(ClassSettings, "ask_students")
    remove = Bool(True, help="Containers are always removed: a restarted one would keep its old devices and limits.")

    @default("hub_id")
    def _default_hub_id(self) -> str:
        return hashlib.sha256(str(Path.cwd()).encode()).hexdigest()[:8]

    @default("data_dir")
    def _default_data_dir(self) -> str:
        return str(Path.cwd())

    @default("apply_user_options")
    def _default_apply_user_options(self) -> Callable[["TensorFlowSpawner", dict[str, Any]], None]:
        return lambda _spawner, _options: None  # `start` applies them; without this the hub warns

    @default("http_timeout")
    def _default_http_timeout(self) -> int:
        # A start is over only when the server answers. What is left are servers that a restarted hub finds again:
        # one too busy to answer for half a minute must not be ended for it.
        return 300

    @default("poll_interval")
    def _default_poll_interval(self) -> int:
        return 30

    @default("use_internal_ip")
    def _default_use_internal_ip(self) -> bool:
        return True

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.clean = False  # whether this start is one without what the home adds to the image
        self._steps = Steps()
        self._starting = False
        self._made = ""  # id of the container that this start made; `stop` may have forgotten `object_id` by then
        self._touched = False  # whether this start has asked for a container
        self._in_flight: asyncio.Future[Any] | None = None
        self._removal: asyncio.Task[None] | None = None

    # --- what the hub asks before a start ---------------------------------------------------------------------

    @property
    def person(self) -> Person:
        return Person(self.user.name, frozenset(group.name for group in self.user.groups), bool(self.user.admin))

    @property
    def catalogue(self) -> list[Profile]:
        return [profile.profile() for profile in self.profiles]

    def decide(self, request: SpawnRequest, rules: LimitRules) -> Grant | Deny:
        """Ask the policy whether a person may have such a server; no I/O."""
        return admit(request, self.person, self.catalogue, rules)

    @default("options_form")
    def _default_options_form(self) -> Callable[["TensorFlowSpawner"], Awaitable[str]]:
        return render_form

    @default("options_from_form")
    def _default_options_from_form(self) -> Callable[[dict[str, list[str]]], dict[str, Any]]:
        return options_from_form

    # --- the life of a server ---------------------------------------------------------------------------------

    @property
    def engine(self) -> Engine:
        return shared_engine(tuple(sorted(self.client_kwargs.items())))

    @property
    def view(self) -> EngineView:
        return shared_view(self.engine, self.hub_id)

    @property
    def container_name(self) -> str:
        return container_name(self.hub_id, self.user.name, self.name)

    @default("object_name")
    def _object_name_default(self) -> str:
        return self.container_name

    async def _call(self, lane: Lane, function: Callable[[docker.APIClient], T]) -> T:
        """Call the engine; a cancelled start waits for the call in `_clean_up`, so that nothing comes after it."""
        self._in_flight = asyncio.ensure_future(self.engine.call(lane, function))
        return await asyncio.shield(self._in_flight)

    async def start(self) -> tuple[str, int]:
        """Start the server and give its address, at which it answers already.

        Raises
        ------
        SpawnException
            With a `reason`: what the policy refused, or what went wrong. Nothing is left behind then.
        """
        with metrics.start():
            return await self._start()

    async def _start(self) -> tuple[str, int]:
        self._steps = Steps()
        self._starting = True
        self._made, self._touched = "", False
        if self._removal is not None:
            # Of an earlier failed start; creating the container removes what is left of it.
            self._removal.cancel()
        if (late := _LATE.get(self.container_name)) is not None:
            # A create that is under way would take the new container for a leftover.
            await asyncio.wait([late])
        try:
            request, grant = await self._admitted()
            self.clean = request.clean
            if not seats.in_exam(self.seat):
                await home_back(self)
            return await self._start_granted(await self.lease_gpus(grant, request))
        except BerthError as error:
            if isinstance(error, GpuRefused):
                await self.gpus_refused(error)
            await self._clean_up()
            raise refusal(error, 500) from error
        except APIError as error:
            await self._clean_up()
            raise refusal(EngineUnavailable(f"The Docker Engine refused: {error.explanation}"), 500) from error
        except BaseException:
            # Cancelled, or timed out by the hub: the same, then on its way.
            asyncio.ensure_future(self._end_at_hub())  # noqa: RUF006  it logs its own errors
            await self._clean_up(INTERRUPTED_SECONDS)
            raise
        finally:
            self._starting = False
            self._steps.finish()

    async def _admitted(self) -> tuple[SpawnRequest, Grant]:
        rules = await self.quota_rules()
        seat = await seats.find_seat(self)
        if isinstance(seat, Deny):
            raise refusal(seat, 500 if seat.code.startswith("ledger_") else 403)
        self.seat = seat
        self.course, self.of_staff = (seat.course.id, seat.staff) if seat is not None else ("", False)
        if seat is not None:
            self._steps.add(1, f"A seat in {seat.course.title}, until {seat.ends_at:%H:%M} UTC.")
            return seats.admit(self, seat, rules)
        usable = profiles_for(self.catalogue, self.person, rules)
        request = parse_request(self.user_options or {}, usable[0].slug if usable else "")
        if isinstance(request, Deny):
            raise refusal(request, 400)
        decision = self.decide(request, rules)
        if isinstance(decision, Deny):
            raise refusal(decision, 403)
        return request, decision

    async def _start_granted(self, grant: Grant) -> tuple[str, int]:
        if grant.note:
            self._steps.add(5, grant.note)
        # In the environment, for what in the server shows limits.
        self.mem_limit, self.cpu_limit = grant.limits.memory, grant.limits.cpu
        image: str = grant.profile.image or self.image
        user_network, _ = await asyncio.gather(self._network(), self._image_here(image))
        with metrics.phase("create"):
            arguments = await self._arguments(image)
            spec = build_spec(self, grant, image, user_network, await self._gpu_access(image), arguments)
            if not spec.exam:
                await hold_home(self)
            self._touched = True
            self._made = self.object_id = await self._obtain_container(spec)
            self._watch()
            self._steps.add(50, "Container created.")
            await self._call("heavy", lambda client: containers.start(client, self.object_id))
        answer = await self._call("quick", lambda client: containers.inspect(client, self.object_id))
        ip = containers.address(answer or {"NetworkSettings": {"Networks": {}}}, spec.network)
        if not ip:
            raise await exited(self.engine, self._made, self.mem_limit)
        self._steps.add(60, "Container started; waiting for the server in it to answer.")
        checking = asyncio.ensure_future(selfcheck(self.engine, self.object_id)) if self.slots else None
        try:
            with metrics.phase("ready"):
                if not await wait_until_ready(self._probe_url(ip), self._has_ended, self.ready_timeout):
                    raise await exited(self.engine, self._made, self.mem_limit)
        except TimeoutError:
            raise await silent(self.engine, self._made, self.ready_timeout) from None
        answered_at = utc_now()
        if checking is not None:
            await self._say_verdict(checking)
        started_at = observe.from_inspect(answer).started_at if answer else None
        await self.lease_is_active(self.object_id, started_at, answered_at)
        self._steps.add(95, "The server answers.")
        return ip, self.port

    async def _image_here(self, image: str) -> None:
        with metrics.phase("pull"):
            await image_here(self.engine, image, self.pull, self._steps)

    async def _say_verdict(self, checking: asyncio.Future[str]) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CHECK_SECONDS):
                said = await checking
            if said:
                self._steps.add(90, said)

    async def _gpu_access(self, image: str) -> GpuAccess:
        """Ask the engine how the container gets the lease's GPUs; without a lease it gets none."""
        return await self._call("heavy", lambda client: access_for(client, self.slots, image))

    async def _arguments(self, image: str) -> Sequence[str]:
        """Give what a seat adds to its server's command; with the image's own command, where nothing else is set."""
        added = seats.arguments(self.seat)
        if not added or self.cmd:
            return added
        return (*await self._call("quick", lambda client: images.command(client, image)), *added)

    def _probe_url(self, ip: str) -> str:
        return f"http://{ip}:{self.port}{self.server.base_url}api"

    async def _network(self) -> network.UserNetwork:
        return await self._call("quick", self._ensure_network)

    def _ensure_network(self, client: docker.APIClient) -> network.UserNetwork:
        found = network.ensure_network(client, self.hub_id, self.network.subnet)
        managed = self.network.firewall == "managed"
        if managed:
            network.ensure_firewall(self.firewall(found))
        if not seats.in_exam(self.seat):
            return found
        exam = network.ensure_exam_network(client, self.hub_id, self.network.exam_subnet)
        if managed:
            network.ensure_firewall(network.exam_firewall(self.hub_id, found.gateway, int(self.hub.port)))
        return exam

    def firewall(self, found: network.UserNetwork) -> network.Firewall:
        return network.Firewall(
            self.hub_id, found.bridge, found.gateway, int(self.hub.port), tuple(self.network.blocked)
        )

    async def _obtain_container(self, spec: ContainerSpec) -> str:
        """Get a container for this start; today always a new one."""
        return await self._call("heavy", lambda client: containers.create(client, spec))

    def _has_ended(self) -> bool:
        if not self.object_id:
            return True  # stopped while it was starting
        state = self.view.current(self.object_id)
        return state is not None and not state.running and state.status != "created"

    async def _clean_up(self, patience: float = _PATIENCE_SECONDS) -> None:
        """Remove what a failed or cancelled start made; goes on in the background while the engine does not answer."""
        late, self._in_flight = self._in_flight, None
        if late is not None and not late.done():
            _LATE[self.container_name] = late
            late.add_done_callback(lambda _: _LATE.pop(self.container_name, None))
        if self._touched or self.lease_id:
            self._removal = asyncio.ensure_future(self._end_start(self.lease_id, late))
            await asyncio.wait([self._removal], timeout=patience)

    async def _end_start(self, lease_id: str, late: asyncio.Future[Any] | None) -> None:
        if late is not None and not late.done():
            # A create under way makes its container after all; wait for it, whatever comes of it.
            await asyncio.wait([late])
            if not late.cancelled() and late.exception() is None and isinstance(late.result(), str):
                self._made = late.result()
        await self.lease_ending(lease_id, "start_failed")
        if self._touched:
            await self._until_answered(self._remove)
        await self.lease_over(lease_id, None, "start_failed")

    async def progress(self) -> AsyncIterator[dict[str, object]]:
        async for step in self._steps.follow():
            yield step
