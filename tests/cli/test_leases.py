from datetime import UTC, datetime, timedelta

import pytest

from spawner.operations import leases, offers
from spawner.policy.leases import Lease
from spawner.policy.model import Deny

from .admin import A100, T4, Admin


def ends_at(admin: Admin, lease: Lease) -> datetime:
    (said,) = [one for one in admin.data("leases") if one["id"] == lease.id]
    return datetime.fromisoformat(said["ends_at"])


def close_to(one: datetime, other: datetime) -> bool:
    return abs(one - other) < timedelta(minutes=1)


def test_open_leases_and_all(admin: Admin) -> None:
    admin.inventory((A100, 1), (T4, 2))
    old = admin.lease("ann", models=frozenset({A100}))
    admin.stop(old, timedelta(hours=1))
    lease = admin.lease("ann", server="train", models=frozenset({A100}))
    other = admin.lease("ben", models=frozenset({T4}))
    assert {one["id"] for one in admin.data("leases")} == {lease.id, other.id}
    assert [one["id"] for one in admin.data("leases", "--user", "ann")] == [lease.id]
    assert {one["id"] for one in admin.data("leases", "--all", "--user", "ann")} == {lease.id, old.id}
    assert len(admin.data("leases", "--all", "--limit", "2")) == 2
    closed = next(one for one in admin.data("leases", "--all") if one["id"] == old.id)
    assert (closed["state"], closed["ending"], closed["gpus"]) == ("closed", "stopped", ["gpu0"])
    assert closed["closed_at"] is not None
    table = admin.ok("leases", "--user", "ann").splitlines()
    assert table[0].split() == ["lease", "state", "user", "server", "GPUs", "from", "(UTC)", "until", "(UTC)", "note"]
    for words in (lease.id, "active", "ann", "train", "gpu0", f"{lease.ends_at:%Y-%m-%d %H:%M}"):
        assert words in table[1]
    assert "gpu1:1" in admin.ok("leases", "--user", "ben")
    assert "(default)" in admin.ok("leases", "--user", "ben")


def test_none_is_said(admin: Admin) -> None:
    assert "no open leases of zoe" in admin.ok("leases", "--user", "zoe")
    assert "no leases" in admin.ok("leases", "--all")
    assert admin.data("leases") == []


def test_a_lease_whose_gpu_was_forgotten_keeps_its_slots_id(admin: Admin) -> None:
    admin.inventory((A100, 1))
    lease = admin.lease("ann")
    admin.stop(lease, timedelta(hours=1))
    with admin.desk.ledger.transaction() as books:
        books.gpus.sync("local", [], [], datetime.now(UTC))
        assert books.gpus.forget("GPU-00000000")
    assert admin.data("leases", "--all")[0]["gpus"] == ["GPU-00000000"]


def test_end_now(admin: Admin) -> None:
    admin.inventory((A100, 1))
    lease = admin.lease("ann")
    assert "of ann ends now" in admin.ok("leases", "end", lease.id, "--why", "exam")
    assert close_to(ends_at(admin, lease), datetime.now(UTC))
    said = admin.data("leases")[0]
    assert (said["state"], said["ending"]) == ("active", "ended_by_admin")
    assert "ended by admin" in admin.ok("leases")
    entry = admin.audit()[0]
    assert (entry["actor"], entry["action"], entry["subject"], entry["why"]) == (
        "cli:olga",
        "lease.end",
        f"lease {lease.id}",
        "exam",
    )


def test_end_with_notice_which_its_user_cannot_undo(admin: Admin) -> None:
    admin.inventory((A100, 1))
    lease = admin.lease("ann")
    said = admin.data("leases", "end", lease.id, "--notice", "30", "--why", "exam")
    assert close_to(datetime.fromisoformat(said["ends_at"]), datetime.now(UTC) + timedelta(minutes=30))
    for answer in (leases.extend(admin.desk, lease.id, 1, "ann"), leases.can_extend(admin.desk, lease.id)):
        assert isinstance(answer, Deny)
        assert answer.code == "lease_over"
        assert "admin" in answer.reason
    undone = admin.data("leases", "extend", lease.id, "--hours", "1", "--why", "exam is off")
    assert close_to(datetime.fromisoformat(undone["ends_at"]), datetime.now(UTC) + timedelta(minutes=90))
    assert undone["ending"] == ""
    assert [entry["action"] for entry in admin.audit()] == ["lease.extend", "lease.end"]


def test_a_notice_never_makes_a_lease_longer(admin: Admin) -> None:
    admin.inventory((A100, 1))
    lease = admin.lease("ann", hours=1)
    admin.ok("leases", "end", lease.id, "--notice", "600", "--why", "x")
    assert close_to(ends_at(admin, lease), lease.ends_at)


def test_an_offer_is_taken_back_at_once_and_goes_to_the_next(admin: Admin) -> None:
    admin.inventory((A100, 1))
    lease = admin.lease("ann")
    admin.wait("ben")
    admin.wait("cleo")
    admin.stop(lease, timedelta(hours=1))
    (offer,) = admin.data("leases")
    assert (offer["state"], offer["user"]) == ("offered", "ben")
    assert "offered until" in admin.ok("leases")
    assert "offer to ben is withdrawn" in admin.ok("leases", "end", offer["id"], "--why", "left")
    assert [(one["state"], one["user"]) for one in admin.data("leases")] == [("offered", "cleo")]
    assert offers.look_up(admin.desk, "ben", "") is None


def test_what_is_over_cannot_be_ended(admin: Admin) -> None:
    admin.inventory((A100, 1))
    lease = admin.lease("ann")
    admin.stop(lease, timedelta(hours=1))
    assert "closed already" in admin.refused("leases", "end", lease.id, "--why", "x", code="lease_lost")


@pytest.mark.parametrize("command", ["end", "extend"])
def test_unknown_leases(admin: Admin, command: str) -> None:
    assert "no lease nowhere" in admin.refused("leases", command, "nowhere", "--why", "x", code="unknown_name")
    assert admin.audit() == []


def test_extend_within_the_quota(admin: Admin) -> None:
    admin.inventory((A100, 1))
    lease = admin.lease("ann", hours=4)
    assert "lasts until" in admin.ok("leases", "extend", lease.id, "--hours", "2", "--why", "asked nicely")
    assert close_to(ends_at(admin, lease), lease.ends_at + timedelta(hours=2))
    assert "24 h" in admin.refused("leases", "extend", lease.id, "--hours", "30", "--why", "x", code="over_limit")
    admin.ok("leases", "extend", lease.id, "--why", "as long as may be")
    assert close_to(ends_at(admin, lease), datetime.now(UTC) + timedelta(hours=24))
    assert [entry["why"] for entry in admin.audit()] == ["as long as may be", "asked nicely"]


def test_extend_not_while_somebody_waits(admin: Admin) -> None:
    admin.inventory((A100, 1))
    lease = admin.lease("ann")
    admin.wait("ben")
    assert "Somebody waits" in admin.refused("leases", "extend", lease.id, "--why", "x", code="others_wait")
    assert close_to(ends_at(admin, lease), lease.ends_at)
    assert admin.audit() == []


@pytest.mark.parametrize("hours", ["0", "-1", "nan", "inf", "1e300", "soon"])
def test_hours_that_cannot_be(admin: Admin, hours: str) -> None:
    assert "number of hours" in admin.misused("leases", "extend", "id", f"--hours={hours}", "--why", "x")


@pytest.mark.parametrize("notice", ["-1", "1.5", "soon", "99999999"])
def test_notices_that_cannot_be(admin: Admin, notice: str) -> None:
    assert "--notice" in admin.misused("leases", "end", "id", f"--notice={notice}", "--why", "x")


@pytest.mark.parametrize("command", ["end", "extend"])
def test_a_reason_is_wanted(admin: Admin, command: str) -> None:
    assert "--why" in admin.misused("leases", command, "id")
    assert "empty" in admin.misused("leases", command, "id", "--why", "")
