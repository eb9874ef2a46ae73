"""``berth`` in this process, on a real ledger that operations have filled."""

import itertools
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from spawner.cli import main
from spawner.ledger import Ledger
from spawner.operations import inventory, leases
from spawner.operations.desk import Desk
from spawner.operations.leases import Granted, Queued
from spawner.policy.gpus import LOCAL_NODE, Gpu, Isolation, Slot, SlotKind
from spawner.policy.leases import GpuRequest, Lease, LeaseRules, Ticket
from spawner.policy.model import IfBusy
from spawner.settings import LimitSettings

A100, T4 = "NVIDIA A100-SXM4-40GB", "Tesla T4"
GIB = 1 << 30


@dataclass
class Admin:
    """A person at a terminal, and the ledger that the commands work on.

    Attributes
    ----------
    ids
        What the next leases and tickets are called; then numbers.
    """

    directory: Path
    environment: dict[str, str] = field(default_factory=dict)
    ids: list[str] = field(default_factory=list)
    clock_ahead: timedelta = timedelta(0)

    def __post_init__(self) -> None:
        numbers = itertools.count(1)
        url = f"sqlite:///{self.state_dir / 'ledger.sqlite'}"
        self.desk = Desk(
            Ledger(url),
            LimitSettings().rules(),
            LeaseRules(),
            lambda: datetime.now(UTC) + self.clock_ahead,
            lambda: self.ids.pop(0) if self.ids else f"id{next(numbers):04}",
        )

    @property
    def state_dir(self) -> Path:
        return self.directory / "state"

    def run(self, *arguments: str, input: str | None = None, **environment: str | None) -> Result:
        inherited: dict[str, str | None] = {name: None for name in os.environ if name.startswith("BERTH_")}
        ours = {"BERTH_STATE_DIR": str(self.state_dir), "SUDO_USER": "olga", **self.environment}
        return CliRunner().invoke(
            main, list(arguments), input=input, env={**inherited, **ours, **environment}, catch_exceptions=False
        )

    def ok(self, *arguments: str, input: str | None = None, **environment: str | None) -> str:
        """Run ``berth``; it must succeed. Gives what it printed."""
        done = self.run(*arguments, input=input, **environment)
        assert done.exit_code == 0, done.output
        return done.stdout

    def data(self, *arguments: str, **environment: str | None) -> Any:
        return json.loads(self.ok(*arguments, "--json", **environment))

    def refused(self, *arguments: str, code: str, **environment: str | None) -> str:
        """Run ``berth``; it must refuse with this code, for people and for programs. Gives the sentence."""
        done = self.run(*arguments, **environment)
        assert (done.exit_code, done.stdout) == (1, ""), done.output
        assert done.stderr.startswith("berth: ")
        assert done.stderr.rstrip().endswith(f"[{code}]"), done.stderr
        said = json.loads(self.run(*arguments, "--json", **environment).stdout)["error"]
        assert said["code"] == code
        assert said["message"] in done.stderr
        return str(said["message"])

    def misused(self, *arguments: str, input: str | None = None) -> str:
        """Run ``berth`` wrongly; gives what it says about that."""
        done = self.run(*arguments, input=input)
        assert done.exit_code == 2, done.output
        return done.stderr

    def audit(self) -> list[dict[str, Any]]:
        return list(self.data("audit"))

    # --- what users do --------------------------------------------------------------------------------------------

    def inventory(self, *counts: tuple[str, int]) -> None:
        """Put GPUs into the ledger, of a model, each in so many parts."""
        gpus, slots = zip(*(fitted(index, model, parts) for index, (model, parts) in enumerate(counts)), strict=True)
        inventory.sync(self.desk, LOCAL_NODE, gpus, [slot for of_gpu in slots for slot in of_gpu])

    def lease(self, user: str, *, server: str = "", hours: float = 4, **request: Any) -> Lease:
        """Let a user start a server, which runs."""
        lease = self.offered(user, server=server, hours=hours, **request)
        return leases.activate(self.desk, lease.id, f"container-{lease.id}", lease.granted_at)

    def offered(self, user: str, *, server: str = "", hours: float = 4, **request: Any) -> Lease:
        """Let a user ask for GPUs that are free."""
        answer = leases.acquire(self.desk, GpuRequest(user, server, "gpu", request.pop("count", 1), hours, **request))
        assert isinstance(answer, Granted), answer
        return answer.lease

    def wait(self, user: str, *, server: str = "", hours: float = 4, **request: Any) -> Ticket:
        """Let a user ask for GPUs that are not free."""
        asked = GpuRequest(user, server, "gpu", request.pop("count", 1), hours, **request)
        answer = leases.acquire(self.desk, asked, IfBusy.QUEUE)
        assert isinstance(answer, Queued), answer
        return answer.ticket

    def stop(self, lease: Lease, after: timedelta) -> None:
        """Let a server end so long after its start, by the engine's clock."""
        assert lease.started_at is not None
        leases.release(self.desk, lease.id, "stopped")
        leases.close(self.desk, lease.id, lease.started_at + after)


def fitted(index: int, model: str, parts: int, *, simulated: bool = False) -> tuple[Gpu, list[Slot]]:
    """Give a GPU and what can be leased of it."""
    uuid = f"{'SIM' if simulated else 'GPU'}-{index:08}"
    memory = 40 * GIB if model == A100 else 16 * GIB
    gpu = Gpu(uuid, LOCAL_NODE, index, model, memory, simulated=simulated)
    if parts == 1:
        whole = Slot(
            uuid, uuid, LOCAL_NODE, SlotKind.EXCLUSIVE, model, memory, Isolation.HARDWARE, uuid, simulated=simulated
        )
        return gpu, [whole]
    return gpu, [
        Slot(
            f"{uuid}:{number}",
            uuid,
            LOCAL_NODE,
            SlotKind.SHARED,
            model,
            memory // parts,
            Isolation.COOPERATIVE,
            uuid,
            simulated=simulated,
        )
        for number in range(1, parts + 1)
    ]


def admin(directory: Path) -> Iterator[Admin]:
    """Give an admin of a deployment whose ledger is made and empty."""
    person = Admin(directory)
    person.ok("db", "upgrade")
    yield person
    person.desk.ledger.close()
