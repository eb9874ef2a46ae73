"""What the API says, and what it takes, without a hub around it."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from jupyterhub.scopes import parse_scopes

from spawner.errors import LeaseLost, LedgerUnavailable
from spawner.operations.holdings import Holding
from spawner.operations.offers import Place
from spawner.pages.asking import Refusal, own_server
from spawner.pages.lease_api import at_end_in, busy_in, hours_in, problem_in
from spawner.pages.views import lease_view, notices_of, place_view, poll_seconds
from spawner.policy.gpus import Isolation, Slot, SlotKind
from spawner.policy.leases import GpuRequest, Lease, LeaseState, Ticket, TicketState
from spawner.policy.model import AtEnd, Deny, LimitRule, Profile
from spawner.settings import LeaseSettings

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
SLOT = Slot("a", "a", "local", SlotKind.EXCLUSIVE, "NVIDIA A100", 40 << 30, Isolation.HARDWARE, "a")
SETTINGS = LeaseSettings()


def _lease(left: timedelta = timedelta(hours=2), **values: Any) -> Lease:
    given = {"state": LeaseState.ACTIVE, "slots": ("a", "b"), "started_at": NOW - timedelta(hours=1), **values}
    return Lease("l1", "ann", "", "gpu", granted_at=NOW, ends_at=NOW + left, changed_at=NOW, **given)


def test_a_lease_is_described() -> None:
    view = lease_view(Holding(_lease(), (SLOT, SLOT)), NOW + timedelta(hours=5), NOW)
    assert view == {
        "id": "l1",
        "gpus": 2,
        "model": "2 × NVIDIA A100",
        "isolation": "hardware",
        "isolation_text": "A whole GPU, yours alone",
        "simulated": False,
        "state": "active",
        "ends_at": "2026-11-21T14:00:00+00:00",
        "left_seconds": 7200,
        "can_extend": True,
        "extend_reason": "",
        "at_end": "cpu",
    }


def test_why_it_cannot_be_extended_is_told() -> None:
    view = lease_view(Holding(_lease(timedelta(minutes=-1)), ()), Deny("others_wait", "Somebody waits."), NOW)
    assert (view["can_extend"], view["extend_reason"], view["left_seconds"]) == (False, "Somebody waits.", 0)


def test_idle_notices_follow_the_profile() -> None:
    lease = _lease(idle_since=NOW - timedelta(minutes=55))
    patient = Profile("gpu", "GPU", "", LimitRule(), idle=timedelta(0))
    assert [notice.actions for notice in notices_of(lease, [], SETTINGS, NOW)] == [("release",)]
    assert notices_of(lease, [patient], SETTINGS, NOW) == []


def test_questions_come_oftener_towards_the_end() -> None:
    pace = [poll_seconds(_lease(timedelta(minutes=left)), SETTINGS, NOW) for left in (120, 29, 2, 0)]
    assert pace == [60, 15, 5, 5]
    assert poll_seconds(_lease(state=LeaseState.RELEASING), SETTINGS, NOW) == 5
    assert poll_seconds(None, SETTINGS, NOW) == 300
    assert poll_seconds(_lease(), LeaseSettings(warn_minutes=()), NOW) == 60


def test_a_place_is_described() -> None:
    ticket = Ticket("t", GpuRequest("ann", "", "gpu", 2), TicketState.WAITING, NOW)
    assert place_view(Place(ticket, 2, None, 3, blocked=True)) == {
        "state": "waiting",
        "position": 2,
        "waiting": 3,
        "eta": None,
        "since": "2026-11-21T12:00:00+00:00",
        "blocked": True,
        "gpus": 2,
        "profile": "gpu",
    }
    assert place_view(Place(ticket, 0, NOW, 1, _lease()))["state"] == "offered"


@pytest.mark.parametrize(
    ("scopes", "own"),
    [
        (["access:servers!server=ann/"], ""),
        (["access:servers!server=ann/lab", "users:activity!user=ann"], "lab"),
        (["access:servers!server=bob/"], None),
        (["access:servers!server=ann/", "access:servers!server=ann/lab"], None),
        (["access:servers!user=ann"], None),
        (["access:servers!user=ann", "access:servers!server=bob/"], None),
        (["access:servers"], None),
        (["read:users!user=ann"], None),
    ],
)
def test_a_servers_token_means_its_server(scopes: list[str], own: str | None) -> None:
    assert own_server(parse_scopes(frozenset(scopes)), "ann") == own


@pytest.mark.parametrize("hours", [True, "1", 0, -1, 1e9, float("nan"), float("inf"), [], {}])
def test_hours_that_are_none_are_refused_with_words(hours: object) -> None:
    with pytest.raises(Refusal, match="hours must be") as caught:
        hours_in({"hours": hours})
    assert caught.value.status_code == 400


def test_hours_may_be_left_out() -> None:
    assert (hours_in({}), hours_in({"hours": None}), hours_in({"hours": 2}), hours_in({"hours": 0.5})) == (
        None,
        None,
        2.0,
        0.5,
    )


def test_what_becomes_of_the_server_must_be_known() -> None:
    assert at_end_in({"at_end": "stop"}) is AtEnd.STOP
    for at_end in (None, "", "gpu", 1):
        with pytest.raises(Refusal, match="at_end must be"):
            at_end_in({"at_end": at_end})


@pytest.mark.parametrize(
    ("report", "busy"),
    [
        ({}, False),
        ({"busy_kernels": 0, "last_kernel_activity": None}, False),
        ({"busy_kernels": 2, "last_kernel_activity": None}, True),
        ({"busy_kernels": 0, "last_kernel_activity": (NOW - timedelta(seconds=30)).isoformat()}, True),
        ({"busy_kernels": 0, "last_kernel_activity": (NOW - timedelta(minutes=10)).isoformat()}, False),
    ],
)
def test_a_kernel_at_work_is_found_in_the_report(report: dict[str, Any], busy: bool) -> None:
    assert busy_in(report, NOW) is busy


@pytest.mark.parametrize(
    "report",
    [
        {"busy_kernels": -1},
        {"busy_kernels": "two"},
        {"busy_kernels": True},
        {"last_kernel_activity": 5},
        {"last_kernel_activity": "yesterday"},
        {"last_kernel_activity": "2026-11-21T12:00:00"},
    ],
)
def test_a_report_that_cannot_be_read_is_refused(report: dict[str, Any]) -> None:
    with pytest.raises(Refusal) as caught:
        busy_in(report, NOW)
    assert caught.value.status_code == 400


def test_a_lost_gpu_is_found_in_the_report() -> None:
    assert problem_in({}) == ""
    assert problem_in({"gpu": {"expected": 1, "seen": 1, "problem": ""}}) == ""
    assert problem_in({"gpu": {"expected": 2, "seen": 1, "problem": None}}) == "it sees 1 of 2"
    assert problem_in({"gpu": {"expected": 1, "seen": 0, "problem": "Unknown Error"}}) == "Unknown Error"
    strange: tuple[object, ...] = ([], {"expected": "1"}, {"seen": True}, {"problem": 5})
    for gpu in strange:
        with pytest.raises(Refusal):
            problem_in({"gpu": gpu})


def test_errors_have_a_status_of_their_own() -> None:
    assert Refusal.of(Deny("over_limit", "No.")).status_code == 403
    assert Refusal.of(LedgerUnavailable("Away.")).status_code == 503
    assert Refusal.of(LeaseLost("Changed.")).status_code == 409
