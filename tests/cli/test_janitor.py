"""``berth janitor`` and ``berth reconcile``: looked at, shown, and only then done."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import docker
import pytest

from spawner.cli.janitor import LOOPS
from spawner.engine.containers import LEASE_LABEL, SERVER_LABEL, SLOTS_LABEL, USER_LABEL
from spawner.engine.view import HUB_LABEL
from spawner.janitor.schedule import loops
from spawner.operations import inventory, leases
from spawner.operations.quotas import make_grant, set_quota
from spawner.policy.gpus import LOCAL_NODE
from spawner.policy.leases import Lease, LeaseState
from spawner.settings import Settings
from spawner.state import StateDirectory

from ..support.office import tables_of
from ..support.slots import gpus
from ..support.tiny_image import ensure_tiny_image
from .admin import Admin

pytestmark = pytest.mark.docker
GPUS = {"BERTH_GPUS": "sim:2"}


def tables(admin: Admin) -> object:
    return tables_of(f"sqlite:///{admin.state_dir / 'ledger.sqlite'}")


@pytest.fixture
def client() -> Iterator[docker.APIClient]:
    connected = docker.APIClient(version="auto")
    yield connected
    connected.close()


@pytest.fixture
def container(admin: Admin, client: docker.APIClient) -> Iterator[tuple[Lease, str]]:
    """A lease whose container runs."""
    inventory.sync(admin.desk, LOCAL_NODE, *gpus(2))
    lease = admin.offered("ann", hours=4)
    labels = {
        HUB_LABEL: StateDirectory(admin.state_dir).hub_id,
        USER_LABEL: "ann",
        SERVER_LABEL: "",
        LEASE_LABEL: lease.id,
        SLOTS_LABEL: ",".join(lease.slots),
    }
    made = client.create_container(ensure_tiny_image(client), ["sleep", "1000"], labels=labels)["Id"]
    client.start(made)
    yield leases.activate(admin.desk, lease.id, made, lease.granted_at), made
    for left in client.containers(all=True, filters={"id": made}):
        client.remove_container(left["Id"], force=True)


def test_every_loop_can_be_named() -> None:
    assert tuple(loop.name for loop in loops(Settings())) == LOOPS


def test_a_loop_that_there_is_not(admin: Admin) -> None:
    assert "'dusting' is not one of" in admin.misused("janitor", "dusting")
    assert "Missing argument" in admin.misused("janitor")


@pytest.mark.parametrize("loop", LOOPS)
def test_dry_runs_do_nothing(admin: Admin, container: tuple[Lease, str], client: docker.APIClient, loop: str) -> None:
    lease, made = container
    now = datetime.now(UTC)
    set_quota(admin.desk, make_grant("user", "bob", "gpus", 2, None, "olga", "", now))
    past = now - timedelta(hours=1)
    set_quota(admin.desk, make_grant("user", "eve", "gpus", 1, past, "olga", "", past - timedelta(hours=1)))
    admin.wait("bob", count=2)
    leases.end(admin.desk, lease.id, "olga", "why")
    client.kill(made)
    before = tables(admin)
    told = admin.data("janitor", loop, "--dry-run", **GPUS)
    assert all(step["done"] is None for step in told)
    shown = admin.ok("janitor", loop, "--dry-run", **GPUS)
    assert [line for line in shown.splitlines() if line] == (
        [f"would {step['step']}" for step in told] or ["Nothing to do."]
    )
    assert tables(admin) == before
    assert client.inspect_container(made)["Id"] == made


def test_gpus_are_taken_over(admin: Admin) -> None:
    assert admin.data("janitor", "inventory", **GPUS) == [{"step": "take over 2 GPUs with 2 slots", "done": True}]
    assert admin.ok("janitor", "inventory", **GPUS) == "take over 2 GPUs with 2 slots: nothing changed\n"
    assert len(admin.data("gpus")) == 2


def test_the_queue_is_served(admin: Admin) -> None:
    admin.clock_ahead = -timedelta(minutes=1)
    inventory.sync(admin.desk, LOCAL_NODE, *gpus(1))
    first = admin.offered("ann")
    ticket = admin.wait("bob")
    leases.close(admin.desk, first.id, None)
    assert admin.ok("janitor", "offers", "--dry-run") == "would start the server bob, whose turn it is\n"
    # Only the hub's own janitor can start servers.
    done = admin.run("janitor", "offers")
    assert (done.exit_code, done.stdout) == (0, "start the server bob, whose turn it is: nothing changed\n")
    with admin.desk.ledger.reading() as books:
        found = books.tickets.get(ticket.id)
    assert found is not None
    assert found.state == "offered"


def test_what_is_over_by_time(admin: Admin) -> None:
    past = datetime.now(UTC) - timedelta(hours=1)
    set_quota(admin.desk, make_grant("user", "ann", "gpus", 2, past, "olga", "", past - timedelta(hours=1)))
    said = "take back what was granted for a time: gpus of user ann\n"
    assert admin.ok("janitor", "expiry", "--dry-run") == f"would {said}"
    assert admin.ok("janitor", "expiry") == said
    assert admin.ok("janitor", "expiry") == "Nothing to do.\n"
    assert admin.audit()[0]["action"] == "quota.end"


def test_an_idle_gpu_is_noted(admin: Admin) -> None:
    admin.ok("janitor", "inventory", **GPUS)
    admin.lease("ann")
    # Simulated GPUs are busy while somebody holds them.
    assert admin.ok("janitor", "idle", **GPUS) == "Nothing to do.\n"


def test_without_ledger_or_engine(admin: Admin) -> None:
    for command in (["janitor", "reconcile"], ["reconcile"]):
        admin.refused(*command, code="engine_unavailable", DOCKER_HOST="unix:///nowhere/docker.sock")
    (admin.state_dir / "ledger.sqlite").unlink()
    for command in (["janitor", "reconcile"], ["reconcile"]):
        admin.refused(*command, code="ledger_outdated")


def test_reconcile_shows_and_then_repairs(admin: Admin, container: tuple[Lease, str], client: docker.APIClient) -> None:
    lease, made = container
    nothing = "Nothing to repair: the leases and the containers agree.\n"
    assert admin.ok("reconcile", "--dry-run") == nothing
    assert admin.ok("reconcile") == nothing
    assert admin.data("reconcile", "--dry-run") == admin.data("reconcile") == []
    client.kill(made)
    client.wait(made)
    before = tables(admin)
    words = [f"remove container {made[:12]} of ann: it has ended", f"release lease {lease.id} of ann: container_gone"]
    assert admin.ok("reconcile", "--dry-run") == "".join(f"would {text}\n" for text in words)
    removal, release = admin.data("reconcile", "--dry-run")
    assert (removal["repair"], removal["text"], removal["container"]["id"]) == ("Remove", words[0], made)
    assert (release["repair"], release["text"], release["lease"]["id"]) == ("Release", words[1], lease.id)
    assert tables(admin) == before
    assert admin.data("reconcile") == [
        {"repair": "Remove", "text": words[0], "done": True, "problem": ""},
        {"repair": "Release", "text": words[1], "done": True, "problem": ""},
    ]
    assert admin.ok("reconcile") == nothing
    with admin.desk.ledger.reading() as books:
        found = books.leases.get(lease.id)
    assert found is not None
    assert found.state is LeaseState.CLOSED
