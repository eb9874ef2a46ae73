from dataclasses import replace
from datetime import UTC, datetime

import pytest

from spawner.operations import inventory, offers, repairs
from spawner.policy.gpus import LOCAL_NODE
from spawner.policy.leases import Lease
from spawner.policy.observed import ObservedContainer
from spawner.policy.reconcile import Quarantine

from .admin import A100, GIB, T4, Admin, fitted


def test_the_board_says_who_holds_what_until_when(admin: Admin) -> None:
    admin.inventory((A100, 1), (T4, 2))
    lease = admin.lease("ann", server="train", models=frozenset({A100}))
    admin.lease("ben", models=frozenset({T4}))
    lines = admin.ok("gpus").splitlines()
    assert [line.split()[0] for line in lines] == ["GPU", "gpu0", "gpu1:1", "gpu1:2"]
    until = f"{lease.ends_at:%Y-%m-%d %H:%M}"
    for words in (A100, "40 GiB", "exclusive", "hardware", "in service", "ann/train (active)", until):
        assert words in lines[1]
    assert "8 GiB" in lines[2]
    assert "cooperative" in lines[2]
    assert sorted("free" in line for line in lines[2:]) == [False, True]
    assert "simulated" not in "".join(lines)


def test_the_board_for_programs(admin: Admin) -> None:
    admin.inventory((A100, 1), (T4, 2))
    lease = admin.lease("ann", models=frozenset({A100}))
    admin.wait("ben", models=frozenset({A100}))
    board = admin.data("gpus")
    assert board["waiting"] == 1
    first, second = board["gpus"]
    assert (first["name"], first["uuid"], first["memory"], first["simulated"]) == (
        "gpu0",
        "GPU-00000000",
        40 * GIB,
        False,
    )
    assert first["slots"][0]["lease"]["id"] == lease.id
    assert datetime.fromisoformat(first["slots"][0]["lease"]["ends_at"]) == lease.ends_at.replace(
        microsecond=lease.ends_at.microsecond // 1000 * 1000
    )
    assert [(slot["name"], slot["kind"], slot["isolation"], slot["lease"]) for slot in second["slots"]] == [
        ("gpu1:1", "shared", "cooperative", None),
        ("gpu1:2", "shared", "cooperative", None),
    ]


def test_no_gpus_are_no_empty_table(admin: Admin) -> None:
    assert "No GPUs are known" in admin.ok("gpus")
    assert admin.data("gpus") == {"gpus": [], "waiting": 0}


def test_simulated_ones_are_plainly_called_so(admin: Admin) -> None:
    gpu, slots = fitted(0, T4, 1, simulated=True)
    inventory.sync(admin.desk, LOCAL_NODE, [gpu], slots)
    told = admin.ok("gpus")
    assert "Tesla T4 (simulated)" in told
    assert "compute nothing" in told
    assert admin.data("gpus")["gpus"][0]["simulated"] is True


def test_one_that_is_gone_says_so(admin: Admin) -> None:
    admin.inventory((A100, 1))
    inventory.sync(admin.desk, LOCAL_NODE, [], [])
    assert "unhealthy: " in admin.ok("gpus")
    assert admin.data("gpus")["gpus"][0]["healthy"] is False


@pytest.mark.parametrize(
    ("command", "state"),
    [("drain", "draining"), ("quarantine", "quarantined"), ("out", "out_of_service"), ("resume", "in_service")],
)
def test_states(admin: Admin, command: str, state: str) -> None:
    admin.inventory((A100, 1))
    before = datetime.now(UTC)
    said = admin.data("gpus", command, "gpu0", "--why", "new fan")
    assert (said["state"], said["state_by"], said["state_why"]) == (state, "cli:olga", "new fan")
    assert datetime.fromisoformat(said["state_since"]).timestamp() == pytest.approx(before.timestamp(), abs=60)
    assert admin.data("gpus")["gpus"][0] == said
    entry = admin.audit()[0]
    assert (entry["actor"], entry["action"], entry["subject"], entry["why"]) == (
        "cli:olga",
        "gpu.state",
        "gpu GPU-00000000",
        "new fan",
    )
    assert entry["after"]["state"] == state
    table = admin.ok("gpus")
    assert f"{state.replace('_', ' ')} since" in table
    assert "by cli:olga: new fan" in table


def test_a_drained_gpu_keeps_its_lease_and_gets_no_other(admin: Admin) -> None:
    admin.inventory((A100, 1))
    lease = admin.lease("ann")
    told = admin.ok("gpus", "drain", "gpu0", "--why", "new fan")
    assert "1 lease of it (ann)" in told
    assert f"{lease.ends_at:%Y-%m-%d %H:%M}" in told
    ticket = admin.wait("ben")
    admin.stop(lease, lease.ends_at - lease.granted_at)
    assert [place["ticket"] for place in admin.data("queue")] == [ticket.id]
    assert admin.data("queue")[0]["state"] == "waiting"
    admin.ok("gpus", "resume", "gpu0", "--why", "new fan is in")
    offered = admin.data("queue")[0]
    assert (offered["state"], offered["position"], offered["user"]) == ("offered", 0, "ben")
    assert offers.look_up(admin.desk, "ben", "") is not None


def test_a_part_in_quarantine_says_why_until_the_gpu_is_resumed(admin: Admin) -> None:
    admin.inventory((T4, 2))
    slot = "GPU-00000000:1"
    container = ObservedContainer("c1", "berth-ann", "ann", "", "gone", (slot,), running=True)
    repairs.apply(admin.desk, Quarantine((slot,), container, "a container without a lease has it"))
    line = next(line for line in admin.ok("gpus").splitlines() if line.startswith("gpu0:1"))
    assert "in quarantine since" in line
    assert "a container without a lease has it" in line
    assert "free" not in line
    admin.ok("gpus", "resume", "gpu0", "--why", "container removed")
    assert [slot["usable"] for slot in admin.data("gpus")["gpus"][0]["slots"]] == [True, True]


def test_an_unknown_gpu_is_told_with_those_there_are(admin: Admin) -> None:
    admin.inventory((A100, 1), (T4, 1))
    sentence = admin.refused("gpus", "drain", "gpu7", "--why", "x", code="unknown_name")
    assert "gpu7" in sentence
    assert "gpu0, gpu1" in sentence
    assert admin.audit() == []


@pytest.mark.parametrize("command", ["drain", "resume", "quarantine", "out"])
def test_a_reason_is_wanted(admin: Admin, command: str) -> None:
    admin.inventory((A100, 1))
    assert "--why" in admin.misused("gpus", command, "gpu0")
    assert "empty" in admin.misused("gpus", command, "gpu0", "--why", "  ")
    assert "UTF-8" in admin.misused("gpus", command, "gpu0", "--why", "a\udcffb")
    assert admin.data("gpus")["gpus"][0]["state_since"] is None
    assert admin.audit() == []


def test_options_before_a_command_mean_nothing_and_are_refused(admin: Admin) -> None:
    assert "Put --json behind drain" in admin.misused("gpus", "--json", "drain", "gpu0", "--why", "x")


def test_words_of_others_do_not_steer_the_terminal(admin: Admin) -> None:
    admin.inventory((A100, 1))
    lease: Lease = admin.lease("ann")
    with admin.desk.ledger.transaction() as books:
        books.leases.update(replace(lease, problem="\x1b[2J[red]gone"), lease)
    told = admin.ok("leases")
    assert "\x1b" not in told
    assert "[2J[red]gone" in told


def test_without_a_terminal_each_row_is_one_line(admin: Admin) -> None:
    admin.inventory((A100, 1))
    why = "word " * 60
    admin.ok("gpus", "drain", "gpu0", "--why", why)
    assert len(admin.ok("gpus").splitlines()) == 2
    assert why.strip() in admin.ok("gpus")
