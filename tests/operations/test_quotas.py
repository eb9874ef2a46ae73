"""Quotas that admins set: one by one, for a time, all at once; and why somebody has what they have."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spawner.errors import BerthError, QuotaChanged, QuotaInvalid
from spawner.ledger import Ledger
from spawner.operations import leases, quotas
from spawner.operations.desk import Desk
from spawner.operations.quotas import Change, make_grant
from spawner.policy.limits import why
from spawner.policy.model import LimitRule, LimitRules, Person
from spawner.policy.quota import QuotaGrant, QuotaRule, Subject

from ..support.office import HOUR, LIMITS, MINUTE, NOW, Office
from ..support.slots import gpus
from .conftest import OpenOffice


def grant(subject: str, name: str, dimension: str, value: object, until: datetime | None = None) -> QuotaGrant:
    return make_grant(subject, name, dimension, value, until, "olga", "a test", NOW)


def quota(desk: Desk, user: str, *groups: str) -> Any:
    with desk.ledger.reading() as books:
        return desk.quota(books, Person(user, frozenset(groups)), desk.clock())


def test_set_replaced_and_taken_back(office: Office) -> None:
    four, six = grant("user", "ann", "gpus", 4), grant("user", "ann", "gpus", "6")
    assert quotas.set_quota(office.desk, four) is None
    assert quotas.set_quota(office.desk, six) == four
    assert quotas.all_grants(office.desk) == [six]
    assert quota(office.desk, "ann").gpus == 6
    assert quotas.unset_quota(office.desk, Subject.USER, "ann", "gpus", "olga", "enough") == six
    assert quota(office.desk, "ann").gpus == 4
    before = office.tables()
    assert quotas.unset_quota(office.desk, Subject.USER, "ann", "gpus", "olga", "enough") is None
    assert {name for name, rows in office.tables().items() if rows != before[name]} <= {"pool"}
    assert [(one.action, one.actor, one.subject, one.before, one.after, one.why) for one in office.audit()] == [
        ("quota.set", "olga", "user ann gpus", None, {"value": "4", "until": None}, "a test"),
        (
            "quota.set",
            "olga",
            "user ann gpus",
            {"value": "4", "until": None},
            {"value": "6", "until": None},
            "a test",
        ),
        ("quota.unset", "olga", "user ann gpus", {"value": "6", "until": None}, None, "enough"),
    ]


@pytest.mark.parametrize(
    ("subject", "name", "dimension", "value", "until"),
    [
        ("team", "ann", "gpus", 1, None),
        ("user", "", "gpus", 1, None),
        ("default", "ann", "gpus", 1, None),
        ("user", "a\nb", "gpus", 1, None),
        ("user", "ann", "tpus", 1, None),
        ("user", "ann", "gpus", -1, None),
        ("user", "ann", "gpus", 1.5, None),
        ("user", "ann", "gpu_hours", "nan", None),
        ("user", "ann", "lease_hours", 0, None),
        ("user", "ann", "models", "", None),
        ("user", "ann", "gpus", 1, NOW),
    ],
)
def test_what_cannot_be_set(subject: str, name: str, dimension: str, value: object, until: datetime | None) -> None:
    with pytest.raises(QuotaInvalid):
        grant(subject, name, dimension, value, until)


def test_for_a_time(office: Office) -> None:
    office.fit(gpus(2))
    office.give("group", "lab", "gpus", 0)
    office.give("user", "ann", "gpus", 2, NOW + HOUR)
    assert quota(office.desk, "ann", "lab").gpus == 2
    office.wait(HOUR - timedelta(milliseconds=1))
    assert quota(office.desk, "ann", "lab").gpus == 2
    assert quotas.over(office.desk) == []
    office.wait(timedelta(milliseconds=1))
    assert quota(office.desk, "ann", "lab").gpus == 0
    [over] = quotas.over(office.desk)
    before = office.tables()
    assert quotas.over(office.desk) == [over]
    assert office.tables() == before
    assert quotas.grants_ended(office.desk) == [over]
    assert quotas.grants_ended(office.desk) == []
    assert [one.name for one in quotas.all_grants(office.desk)] == ["lab"]
    last = office.audit()[-1]
    assert (last.actor, last.action, last.why) == ("janitor", "quota.end", "set until 2027-03-01 13:00 UTC")


def test_a_change_reaches_every_process(office: Office) -> None:
    """Each keeps the rules until somebody changes them, wherever."""
    other = Desk(Ledger(office.place.url), LIMITS, office.desk.rules, office.clock)
    try:
        assert quota(other, "ann").gpus == 4
        office.give("user", "ann", "gpus", 1)
        assert quota(other, "ann").gpus == 1
        office.give("user", "ann", "gpus", 7, NOW + HOUR)
        assert quota(other, "ann").gpus == 7
        office.wait(HOUR)
        assert quota(other, "ann").gpus == 4
        assert leases.rules_now(other) == LIMITS
    finally:
        other.ledger.close()


def test_rules_that_were_rolled_back_are_not_kept(office: Office) -> None:
    office.fit(gpus(1))
    office.running("ann")
    office.queued("bob")  # so that somebody's quota is looked at within the transaction
    with pytest.raises(BerthError, match="refused"):
        _set_and_fail(office, grant("user", "bob", "gpus", 0))
    quotas.set_quota(office.desk, grant("user", "bob", "gpus", 3))  # gets the same version
    assert quota(office.desk, "bob").gpus == 3


def _set_and_fail(office: Office, made: QuotaGrant) -> None:
    with office.ledger.transaction() as books:
        books.quotas.set(made)
        assert office.desk.quota(books, Person("bob"), NOW).gpus == 0
        books.leases.insert(replace(books.leases.open()[0], id="twin"))


# --- all at once --------------------------------------------------------------------------------------------------


def test_a_file_replaces_all(office: Office) -> None:
    kept, changed, gone = (
        grant("user", "ann", "gpus", 1),
        grant("group", "lab", "gpus", 2),
        grant("default", "", "cpu", 3),
    )
    for one in (kept, changed, gone):
        quotas.set_quota(office.desk, one)
    office.wait(HOUR)
    wanted = [
        replace(kept, by="", why="", at=None),
        replace(changed, value=5, by="", why="more to do", at=None),
        QuotaGrant(Subject.USER, "bob", "gpus", 9),
    ]
    told = quotas.changes(office.desk, wanted)
    assert quotas.all_grants(office.desk) == [gone, changed, kept]
    done = quotas.replace_all(office.desk, wanted, "olga", "the new term")
    assert [(one.before, one.after and one.after.name) for one in done] == [
        (one.before, one.after and one.after.name) for one in told
    ]
    now = office.clock.now
    new_lab = replace(changed, value=5, why="more to do", at=now)
    new_bob = QuotaGrant(Subject.USER, "bob", "gpus", 9, None, "olga", "the new term", now)
    assert done == [Change(changed, new_lab), Change(None, new_bob), Change(gone, None)]
    assert quotas.all_grants(office.desk) == [new_lab, kept, new_bob]  # with its first author and time
    entries = [entry for entry in office.audit() if entry.action == "quota.import"]
    assert [(entry.subject, entry.why) for entry in entries] == [
        ("group lab gpus", "more to do"),
        ("user bob gpus", "the new term"),
        ("default cpu", "the new term"),
    ]
    assert quotas.replace_all(office.desk, wanted, "olga", "again") == []


def test_all_or_nothing(office: Office) -> None:
    quotas.set_quota(office.desk, grant("user", "ann", "gpus", 1))
    before = office.tables()
    with pytest.raises(ValueError, match="Two grants"):
        quotas.replace_all(office.desk, [grant("user", "bob", "gpus", value) for value in (1, 2)], "olga", "why")
    assert office.tables() == before


def test_an_import_serves_who_waits(office: Office) -> None:
    office.fit(gpus(2))
    office.running("bob")
    lease = office.running("ann")
    ticket = office.queued("bob", server="lab")
    office.give("user", "bob", "gpus", 1)
    office.stop(lease)
    assert office.ticket(ticket.id).state == "waiting"
    quotas.replace_all(office.desk, [grant("user", "bob", "gpus", 2)], "olga", "why")
    assert office.offer_to(ticket)


_GRANTS = st.lists(
    st.builds(
        QuotaGrant,
        st.just(Subject.USER),
        st.sampled_from(["ann", "bob"]),
        st.sampled_from(["gpus", "priority"]),
        st.integers(0, 3),
        st.none() | st.just(NOW + HOUR),
    ),
    unique_by=lambda one: (one.name, one.dimension),
)


@settings(max_examples=30, deadline=None)
@given(old=_GRANTS, new=_GRANTS)
def test_what_an_import_says_is_what_it_does(
    open_office: OpenOffice, old: list[QuotaGrant], new: list[QuotaGrant]
) -> None:
    office = open_office()
    quotas.replace_all(office.desk, old, "olga", "before")
    before = {(one.name, one.dimension): one for one in quotas.all_grants(office.desk)}
    done = quotas.replace_all(office.desk, new, "olga", "after")
    after = {(one.name, one.dimension): one for one in quotas.all_grants(office.desk)}
    assert {key: (one.value, one.until) for key, one in after.items()} == {
        (one.name, one.dimension): (one.value, one.until) for one in new
    }
    for key in before.keys() | after.keys():
        change = Change(before.get(key), after.get(key))
        assert (change in done) == (change.before != change.after)


# --- why ----------------------------------------------------------------------------------------------------------


def test_why_with_the_grants_behind_it(office: Office) -> None:
    rules = replace(
        LIMITS, groups={"lab": QuotaRule(gpus=2), "staff": LimitRule(gpus=3)}, users={"ann": QuotaRule(priority=7)}
    )
    office.desk = Desk(office.ledger, rules, office.desk.rules, office.clock)
    office.fit(gpus(1))
    office.give("group", "lab", "gpus", 6)
    office.give("group", "lab", "models", ["T4"])
    office.give("group", "staff", "models", ["A100"])
    office.give("user", "ann", "cpu", 8, NOW + HOUR)
    office.give("user", "bob", "cpu", 1)
    found = {
        one.dimension: one for one in quotas.account(office.desk, Person("ann", frozenset({"lab", "staff"}))).quota
    }
    told = {name: (one.origin.value, one.origin.source, one.grant and one.grant.by) for name, one in found.items()}
    assert told["gpus"] == (6, "group lab", "olga")
    assert told["priority"] == (7, "user ann", None)
    assert told["cpu"] == (8, "user ann", "olga")
    assert told["models"] == (frozenset({"T4", "A100"}), "groups lab, staff", "olga")
    assert told["memory"] == (6 << 30, "default", None)
    office.wait(HOUR)
    ended = {one.dimension: one for one in quotas.account(office.desk, Person("ann")).quota}
    assert (ended["cpu"].origin.source, ended["cpu"].grant) == ("default", None)
    assert quotas.account(office.desk, Person("ann")).quota == tuple(
        quotas.Explained(name, origin, None)
        for name, origin in why(LimitRules(LIMITS.default, {}, rules.users), Person("ann")).items()
    )


def test_what_somebody_has_used(office: Office) -> None:
    office.fit(gpus(2))
    office.running("ann", 2, 4)
    office.wait(HOUR + MINUTE)
    account = quotas.account(office.desk, Person("ann"))
    assert (account.used_ms, account.committed_ms, account.gpus_held) == (
        2 * 61 * 60_000,
        2 * (4 * 60 - 61) * 60_000,
        2,
    )


# --- two admins at once -------------------------------------------------------------------------------------------


def test_the_second_is_told_and_nothing_is_lost(office: Office) -> None:
    seen = quotas.grant_version(quotas.get_grant(office.desk, Subject.USER, "ann", "gpus"))
    first = replace(grant("user", "ann", "gpus", 6, NOW + HOUR), by="petra", why="a deadline")
    assert quotas.set_quota(office.desk, first, seen) is None
    written = office.tables()
    with pytest.raises(QuotaChanged) as told:
        quotas.set_quota(office.desk, grant("user", "ann", "gpus", 1), seen)
    assert str(told.value) == (
        "Meanwhile petra has set user ann gpus to 6 until 2027-03-01T13:00:00+00:00, at 2027-03-01 12:00:00 UTC "
        "(a deadline); nothing was written. Look again, then repeat."
    )
    with pytest.raises(QuotaChanged, match="petra has set"):
        quotas.unset_quota(office.desk, Subject.USER, "ann", "gpus", "olga", "why", seen)
    assert office.tables() == written
    [now_set] = quotas.all_grants(office.desk)
    assert quotas.set_quota(office.desk, grant("user", "ann", "gpus", 1), quotas.grant_version(now_set)) == first
    [seen_by_both] = quotas.all_grants(office.desk)
    version = quotas.grant_version(seen_by_both)
    assert quotas.unset_quota(office.desk, Subject.USER, "ann", "gpus", "petra", "enough", version) == seen_by_both
    with pytest.raises(QuotaChanged, match=r"petra has taken back user ann gpus, at .*enough"):
        quotas.unset_quota(office.desk, Subject.USER, "ann", "gpus", "olga", "why", version)


def test_setting_the_same_again_is_a_change(office: Office) -> None:
    """Who set it, when and why are others."""
    office.give("user", "ann", "gpus", 6)
    [first] = quotas.all_grants(office.desk)
    office.wait(HOUR)
    office.give("user", "ann", "gpus", 6)
    [second] = quotas.all_grants(office.desk)
    assert quotas.grant_version(first) != quotas.grant_version(second)


def test_an_import_of_what_was_seen(office: Office) -> None:
    office.give("user", "ann", "gpus", 6)
    seen = quotas.all_set(office.desk)
    assert list(seen.grants) == quotas.all_grants(office.desk)
    office.give("group", "lab", "cpu", 2)
    office.fit(gpus(1))  # something else than quotas
    before = office.tables()
    with pytest.raises(QuotaChanged, match="olga has set group lab cpu to 2, at"):
        quotas.replace_all(office.desk, [], "petra", "clean up", seen.version)
    after = office.tables()
    assert all(after[name] == before[name] for name in after if name != "pool")
    seen = quotas.all_set(office.desk)
    office.running("cid")  # no quota
    assert len(quotas.replace_all(office.desk, [], "petra", "clean up", seen.version)) == 2


def test_an_import_may_keep_what_its_file_does_not_name(office: Office) -> None:
    office.give("user", "ann", "gpus", 6)
    office.give("group", "lab", "cpu", 2)
    kept = quotas.all_grants(office.desk)
    wanted = [QuotaGrant(Subject.USER, "ann", "gpus", 2), QuotaGrant(Subject.USER, "bob", "gpus", 1)]
    told = quotas.changes(office.desk, wanted, keep_others=True)
    done = quotas.replace_all(office.desk, wanted, "olga", "more", keep_others=True)
    assert [change.before for change in told] == [change.before for change in done] == [kept[1], None]
    assert [(one.name, one.value) for one in quotas.all_grants(office.desk)] == [("lab", 2), ("ann", 2), ("bob", 1)]
    assert quotas.all_grants(office.desk)[0] == kept[0]


@pytest.mark.parametrize("whole", [False, True])
def test_of_writers_who_have_seen_the_same_one_writes(office: Office, whole: bool) -> None:
    office.give("user", "ann", "gpus", 4)
    desks = [Desk(Ledger(office.place.url), LIMITS, office.desk.rules, office.clock) for _ in range(4)]
    barrier = threading.Barrier(len(desks))
    [current], seen = quotas.all_grants(office.desk), quotas.all_set(office.desk).version

    def write(number: int) -> str:
        wanted = replace(current, value=number, by=f"admin{number}", why="mine")
        barrier.wait()
        try:
            if whole:
                quotas.replace_all(desks[number], [wanted], f"admin{number}", "mine", seen)
            else:
                quotas.set_quota(desks[number], wanted, quotas.grant_version(current))
        except QuotaChanged as error:
            return str(error)
        return ""

    try:
        with ThreadPoolExecutor(len(desks)) as threads:
            told = list(threads.map(write, range(len(desks))))
    finally:
        for desk in desks:
            desk.ledger.close()
    [winner] = [number for number, text in enumerate(told) if not text]
    [left] = quotas.all_grants(office.desk)
    assert (left.value, left.by) == (winner, f"admin{winner}")
    assert all(f"Meanwhile admin{winner} has set user ann gpus to {winner}" in text for text in told if text)
    assert [entry.actor for entry in office.audit()] == ["olga", f"admin{winner}"]
