import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import docker
import pytest
from jupyterhub import orm
from jupyterhub.objects import Hub, Server
from jupyterhub.user import User
from prometheus_client import REGISTRY

from spawner.backends import watch
from spawner.backends.docker import TensorFlowSpawner
from spawner.engine.client import shared_engine

from ..support.flaky_engine import FlakyEngine, flaky_engine

MakeSpawner = Callable[..., Any]
Counted = Callable[[], dict[str, int]]
PROFILES = [
    {
        "slug": "tiny",
        "name": "Tiny",
        "cpu": 0.5,
        "memory": "64 MiB",
        "processes": 50,
        "shm": "2 MiB",
        "open_files": 256,
    },
    {"slug": "staff", "name": "Staff", "memory": "64 MiB", "groups": ["staff"]},
    {"slug": "huge", "name": "Huge", "memory": "1 TiB"},
]


@pytest.fixture
def counted() -> Counted:
    """Give what the hub has counted since the test began: requests and starts by outcome and reason, and phases."""
    before = _counts()
    return lambda: {
        name: count - before.get(name, 0) for name, count in _counts().items() if count > before.get(name, 0)
    }


def _counts() -> dict[str, int]:
    wanted = {
        "berth_lease_requests_total": "request",
        "berth_spawns_total": "start",
        "berth_spawn_phase_seconds_count": "phase",
    }
    return {
        " ".join([wanted[sample.name], *filter(None, sample.labels.values())]): int(sample.value)
        for family in REGISTRY.collect()
        for sample in family.samples
        if sample.name in wanted
    }


@pytest.fixture
def db() -> Iterator[Any]:
    session = orm.new_session_factory("sqlite:///:memory:")()
    yield session
    session.close()


@pytest.fixture
def make_user(db: Any) -> Callable[..., Any]:
    """Make the hub's users as the hub does, without a hub around them."""
    users: dict[str, Any] = {}

    def make(name: str = "ann", groups: tuple[str, ...] = (), admin: bool = False) -> Any:
        if name not in users:
            record = orm.User(name=name, admin=admin)
            record.groups = [orm.Group(name=group) for group in groups]
            db.add(record)
            db.commit()
            users[name] = User(record, {"spawner_class": TensorFlowSpawner})
        return users[name]

    return make


@pytest.fixture
def spawner(make_user: Callable[..., Any]) -> Any:
    """A spawner that touches no engine."""
    return make_user()._new_spawner(
        "", spawner_class=TensorFlowSpawner, hub=Hub(), hub_id="0a1b2c3d", profiles=PROFILES
    )


@pytest.fixture
def flaky() -> Iterator[FlakyEngine]:
    with flaky_engine() as engine:
        yield engine


@pytest.fixture
async def make_spawner(
    db: Any, make_user: Callable[..., Any], client: docker.APIClient, tiny: str, hub_id: str, flaky: FlakyEngine
) -> AsyncIterator[MakeSpawner]:
    """Make spawners on a real engine, each as the hub has it just before a start."""
    made: list[Any] = []

    def make(user: str = "ann", server: str = "", *, behave: str = "", engine: Any = None, **traits: Any) -> Any:
        owner = make_user(user)
        if server and server not in owner.orm_spawners:
            owner._new_orm_spawner(server, server)
        values: dict[str, Any] = {
            "spawner_class": TensorFlowSpawner,
            "hub": Hub(),
            "oauth_client_id": f"jupyterhub-user-{user}",
            "api_token": f"token-of-{user}",
            "hub_id": hub_id,
            "image": tiny,
            "profiles": PROFILES,
            "network": {"firewall": "external"},
            "environment": {"BEHAVE": behave},
            "stop_grace": 5,
            "client_kwargs": {"base_url": flaky.url, **(engine or {})},
        }
        spawner = owner._new_spawner(server, **{**values, **traits})
        if spawner.server is None:
            record = orm.Server(base_url=f"/user/{user}/{server + '/' if server else ''}")
            db.add(record)
            db.commit()
            spawner.server = Server(orm_server=record)
        made.append(spawner)
        return spawner

    yield make
    flaky.heal()
    for spawner in made:
        spawner.stop_polling()
        if spawner._removal is not None:
            await asyncio.wait([spawner._removal])
        with contextlib.suppress(docker.errors.NotFound):
            client.remove_container(spawner.container_name, force=True, v=True)
        spawner.view.close()
        spawner.engine.close()
    watch.shared_view.cache_clear()
    watch._connect.cache_clear()
    shared_engine.cache_clear()
