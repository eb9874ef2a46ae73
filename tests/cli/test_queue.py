from datetime import datetime, timedelta

import pytest

from .admin import A100, T4, Admin


def users(admin: Admin) -> list[tuple[int, str, str]]:
    return [(place["position"], place["user"], place["server"]) for place in admin.data("queue")]


def test_who_waits_for_what_since_when_until_when(admin: Admin) -> None:
    admin.inventory((A100, 1))
    lease = admin.lease("ann", hours=4)
    ticket = admin.wait("ben", server="train", hours=2, models=frozenset({A100, T4}))
    admin.wait("cleo", hours=1)
    first, second = admin.data("queue")
    assert (first["ticket"], first["state"], first["gpus"], first["hours"]) == (ticket.id, "waiting", 1, 2)
    assert first["models"] == [A100, T4]
    assert (first["priority"], first["moved_up"], first["blocked"]) == (0, 0, False)
    turnover = admin.desk.rules.turnover
    assert abs(datetime.fromisoformat(first["eta"]) - lease.ends_at - turnover) < timedelta(minutes=1)
    assert datetime.fromisoformat(second["eta"]) > datetime.fromisoformat(first["eta"]) + timedelta(hours=2)
    table = admin.ok("queue").splitlines()
    assert table[0].split()[:4] == ["place", "ticket", "user", "server"]
    for words in (
        "1",
        ticket.id,
        "ben",
        "train",
        f"1 GPU, {A100} or {T4}, 2 h",
        f"{lease.ends_at + turnover:%Y-%m-%d %H:%M}",
    ):
        assert words in table[1]
    assert "(default)" in table[2]


def test_nobody_waits(admin: Admin) -> None:
    assert admin.ok("queue") == "Nobody waits.\n"
    assert admin.data("queue") == []


def test_whom_the_quota_blocks_and_whom_nobody_can_tell(admin: Admin) -> None:
    admin.inventory((A100, 1), (T4, 1))
    admin.lease("ann", models=frozenset({A100}))
    admin.lease("dan", models=frozenset({T4}))
    admin.wait("ben", models=frozenset({A100}))
    admin.wait("cleo", models=frozenset({T4}))
    admin.ok("quota", "set", "user", "ben", "gpus", "0", "--why", "holiday")
    admin.ok("gpus", "drain", "gpu1", "--why", "fan")
    ben, cleo = admin.data("queue")
    assert (ben["blocked"], ben["eta"], cleo["blocked"], cleo["eta"]) == (True, None, False, None)
    table = admin.ok("queue")
    assert "their quota allows nothing now" in table
    assert "nobody can tell" in table


def test_up(admin: Admin) -> None:
    admin.inventory((A100, 1))
    admin.lease("ann")
    admin.wait("ben")
    ticket = admin.wait("cleo")
    assert "cleo is next" in admin.ok("queue", "up", ticket.id, "--why", "demo at noon")
    assert users(admin) == [(1, "cleo", ""), (2, "ben", "")]
    assert "(moved up)" in admin.ok("queue").splitlines()[1]
    entry = admin.audit()[0]
    assert (entry["actor"], entry["action"], entry["subject"], entry["why"]) == (
        "cli:olga",
        "ticket.move_up",
        f"ticket {ticket.id}",
        "demo at noon",
    )


def test_up_for_nobody(admin: Admin) -> None:
    assert "No ticket t1 waits" in admin.refused("queue", "up", "t1", "--why", "x", code="unknown_name")


def test_drop_one_server_or_all_of_a_user(admin: Admin) -> None:
    admin.inventory((A100, 1))
    admin.lease("ann")
    for server in ("", "one", "two"):
        admin.wait("ben", server=server)
    admin.wait("cleo")
    assert "server one waits no more" in admin.ok("queue", "drop", "ben", "one", "--why", "typo")
    assert users(admin) == [(1, "ben", ""), (2, "ben", "two"), (3, "cleo", "")]
    assert [place["server"] for place in admin.data("queue", "drop", "ben", "", "--why", "left")] == [""]
    assert [place["server"] for place in admin.data("queue", "drop", "ben", "--why", "left")] == ["two"]
    assert users(admin) == [(1, "cleo", "")]
    entries = [entry for entry in admin.audit() if entry["action"] == "ticket.drop"]
    assert [(entry["actor"], entry["why"], entry["before"]["server"]) for entry in entries] == [
        ("cli:olga", "left", "two"),
        ("cli:olga", "left", ""),
        ("cli:olga", "typo", "one"),
    ]


def test_dropping_an_offer_serves_the_next(admin: Admin) -> None:
    admin.inventory((A100, 1))
    lease = admin.lease("ann")
    admin.wait("ben")
    admin.wait("cleo")
    admin.stop(lease, timedelta(hours=1))
    assert users(admin) == [(0, "ben", ""), (1, "cleo", "")]
    assert "offered until" in admin.ok("queue").splitlines()[1]
    admin.ok("queue", "drop", "ben", "--why", "left")
    assert users(admin) == [(0, "cleo", "")]
    (lease_of_cleo,) = admin.data("leases")
    assert admin.data("queue")[0]["lease"] == lease_of_cleo["id"]


def test_dropping_who_does_not_wait(admin: Admin) -> None:
    admin.inventory((A100, 1))
    admin.lease("ann")
    admin.wait("ben")
    assert "waits for ann" in admin.refused("queue", "drop", "ann", "--why", "x", code="unknown_name")
    assert "'two' of ben" in admin.refused("queue", "drop", "ben", "two", "--why", "x", code="unknown_name")
    assert users(admin) == [(1, "ben", "")]
    assert admin.audit() == []


@pytest.mark.parametrize("command", [["up", "t"], ["drop", "ben"]])
def test_a_reason_is_wanted(admin: Admin, command: list[str]) -> None:
    assert "--why" in admin.misused("queue", *command)
    assert "empty" in admin.misused("queue", *command, "--why", " ")
