"""What may follow what: a home's files are never lost, whoever wishes, works, crashes and comes back when."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from spawner.policy import home_keeping as keeping
from spawner.policy import homes
from spawner.policy.homes import JANITOR, RESTS, START_HOLD, DeletedUsers, Home, HomeState, Phase
from spawner.policy.model import Deny

NOW = datetime(2027, 3, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
GRACE = 30 * DAY
S, P = HomeState, Phase


def home(state: HomeState = S.PRESENT, **changes: object) -> Home:
    made = Home("vol", "ann", state, NOW - DAY, last_used_at=NOW - DAY)
    if state in {S.ARCHIVED, S.RESTORING}:
        made = replace(made, sha256="5a", archive="a.tar.gz", archive_size=9)
    return replace(made, **changes)  # type: ignore[arg-type]


def done(answer: Home | Deny | None) -> Home:
    assert isinstance(answer, Home), answer
    return answer


def refused(answer: Home | Deny | None) -> str:
    assert isinstance(answer, Deny), answer
    return answer.code


# --- wishes -------------------------------------------------------------------------------------------------------


def test_each_wish_has_its_states() -> None:
    allowed = {
        "archive": {S.PRESENT},
        "restore": {S.ARCHIVED},
        "delete": {S.PRESENT, S.ARCHIVED},
        "cancel": {S.ARCHIVING, S.RESTORING, S.DELETING},
    }
    for state in S:
        one = home(state)
        answers = {
            "archive": homes.ask_archive(one, "olga", "space", NOW),
            "restore": homes.ask_restore(one, "olga", "back", NOW),
            "delete": homes.ask_delete(one, "olga", "left", NOW + GRACE, NOW),
            "cancel": homes.cancel(one, "olga", "no", NOW),
        }
        for wish, answer in answers.items():
            assert isinstance(answer, Home) == (state in allowed[wish]), (state, wish)
            if isinstance(answer, Home):
                assert (answer.asked_by, answer.asked_at) == ("olga", NOW)
                assert answer.version > one.version


def test_a_home_in_use_is_let_alone() -> None:
    just_started = homes.ask_archive(home(start_until=NOW + MINUTE), "olga", "", NOW)
    assert just_started == Deny("home_in_use", "ann started a server a moment ago. Look again in three minutes.")
    for used in (home(in_use=True), home(start_until=NOW + MINUTE)):
        assert refused(homes.ask_archive(used, "olga", "", NOW)) == "home_in_use"
        assert refused(homes.ask_delete(used, "olga", "", NOW, NOW)) == "home_in_use"
        for state in (S.ARCHIVING, S.DELETING):
            wished = replace(used, state=state, delete_at=NOW - DAY)
            assert keeping.claim(wished, "w", NOW) is None
            assert keeping.pass_point(replace(home(start_until=NOW + MINUTE), worker="w"), "w", P.SEALED, NOW) is None


def test_what_has_begun_for_good_cannot_be_taken_back() -> None:
    for state, phase in ((S.ARCHIVING, P.SEALED), (S.DELETING, P.REMOVING), (S.RESTORING, P.FILLING)):
        assert refused(homes.cancel(home(state, phase=phase), "olga", "", NOW)) == "too_late"
    assert refused(homes.cancel(home(S.RESTORING, worker="w"), "olga", "", NOW)) == "too_late"


def test_the_grace_period_is_named_and_kept() -> None:
    wished = done(homes.ask_delete(home(), "olga", "left", NOW + GRACE, NOW))
    assert keeping.claim(wished, "w", NOW + GRACE - MINUTE) is None
    assert keeping.claim(wished, "w", NOW + GRACE) is not None
    answer = homes.ask_archive(wished, "olga", "", NOW)
    assert isinstance(answer, Deny)
    assert answer.reason == ("The home of ann is to be deleted on 31 March 2027. Wait for that, or cancel it first.")
    assert done(homes.ask_delete(home(), "olga", "", NOW - DAY, NOW)).delete_at == NOW


# --- owners who come back -----------------------------------------------------------------------------------------


def test_a_start_takes_back_what_is_not_done() -> None:
    for state in (S.ARCHIVING, S.DELETING):
        wished = home(state, worker="w", beat_at=NOW, delete_at=NOW + GRACE)
        back = done(homes.start(wished, NOW))
        assert (back.state, back.asked_by, back.delete_at) == (S.PRESENT, "ann", None)
        assert keeping.beat(back, "w", 5, NOW) is None  # whoever was at it is told


def test_a_start_wants_an_archived_home_back() -> None:
    archived = home(S.ARCHIVED)
    doomed = done(homes.ask_delete(archived, JANITOR, "", NOW + GRACE, NOW))
    for one in (archived, doomed):
        assert done(homes.start(one, NOW)).state is S.RESTORING
    assert done(homes.start(home(S.RESTORING, worker="w"), NOW)).state is S.RESTORING


def test_a_start_waits_for_what_cannot_be_taken_back() -> None:
    for state, phase in ((S.ARCHIVING, P.SEALED), (S.DELETING, P.REMOVING)):
        assert refused(homes.start(home(state, phase=phase), NOW)) == "home_busy"
        assert refused(homes.hold(home(state, phase=phase), NOW)) == "home_busy"


def test_after_a_deletion_a_home_begins_anew() -> None:
    new = done(homes.start(home(S.DELETED, size=5, error="x", owner_gone_at=NOW), NOW))
    assert (new.state, new.size, new.error, new.owner_gone_at) == (S.PRESENT, None, "", None)
    assert done(homes.hold(new, NOW)).start_until == NOW + START_HOLD


# --- deleted users ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "state"),
    [(DeletedUsers.KEEP, S.PRESENT), (DeletedUsers.ARCHIVE, S.ARCHIVING), (DeletedUsers.DELETE, S.DELETING)],
)
def test_the_rule_for_deleted_users(rule: DeletedUsers, state: HomeState) -> None:
    gone = keeping.retire(home(), False, rule, GRACE, NOW)
    assert (gone.state, gone.owner_gone_at) == (S.PRESENT, NOW)
    assert keeping.retire(gone, False, rule, GRACE, NOW + 59 * MINUTE) == gone
    later = NOW + HOUR
    put = keeping.retire(gone, False, rule, GRACE, later)
    assert put.state is state
    assert put.delete_at == (later + GRACE if state is S.DELETING else None)
    back = keeping.retire(put, True, rule, GRACE, later)
    assert (back.state, back.owner_gone_at) == (S.PRESENT, None)


def test_who_decides_against_the_rule_is_not_asked_again() -> None:
    gone = keeping.retire(home(), False, DeletedUsers.DELETE, GRACE, NOW)
    doomed = keeping.retire(gone, False, DeletedUsers.DELETE, GRACE, NOW + HOUR)
    kept = done(homes.cancel(doomed, "olga", "evidence", NOW + HOUR))
    assert keeping.retire(kept, False, DeletedUsers.DELETE, GRACE, NOW + 2 * HOUR) == kept
    looked_into = done(homes.ask_restore(home(S.ARCHIVED, owner_gone_at=NOW), "olga", "audit", NOW))
    assert looked_into.kept


def test_what_an_admin_wished_stays_when_the_owner_is_back() -> None:
    gone = home(owner_gone_at=NOW)
    doomed = done(homes.ask_delete(gone, "olga", "asked for", NOW + GRACE, NOW))
    assert keeping.retire(doomed, True, DeletedUsers.DELETE, GRACE, NOW).state is S.DELETING


# --- what is seen -------------------------------------------------------------------------------------------------


def test_use_is_noted_sparingly() -> None:
    first = done(keeping.seen(home(), True, True, NOW))
    assert (first.in_use, first.last_used_at) == (True, NOW)
    assert keeping.seen(first, True, True, NOW + MINUTE) == first
    again = done(keeping.seen(first, True, True, NOW + 10 * MINUTE))
    assert again.last_used_at == NOW + 10 * MINUTE
    over = done(keeping.seen(again, True, False, NOW + 11 * MINUTE))
    assert (over.in_use, over.last_used_at) == (False, NOW + 11 * MINUTE)


def test_volumes_that_are_gone_or_back() -> None:
    lost = done(keeping.seen(home(), False, False, NOW))
    assert lost.state is S.DELETED
    assert "not by Berth" in lost.error
    back = done(keeping.seen(lost, True, False, NOW + MINUTE))
    assert (back.state, back.error) == (S.PRESENT, "")
    for state in (S.ARCHIVED, S.RESTORING):
        assert done(keeping.seen(home(state), False, False, NOW)).state is state
    # Looked at before it was made, or made by a start that failed.
    assert done(keeping.seen(home(state_since=NOW), False, False, NOW)).state is S.PRESENT
    held = done(homes.hold(home(last_used_at=None), NOW))
    assert done(keeping.seen(held, False, False, NOW + MINUTE)).state is S.PRESENT
    assert keeping.seen(held, False, False, NOW + START_HOLD) is None
    # Removed since one looked.
    assert done(keeping.seen(home(S.DELETED, state_since=NOW), True, False, NOW)).state is S.DELETED


def test_what_nobody_uses_is_measured_once() -> None:
    one = home()
    assert keeping.to_be_measured(one, HOUR, NOW)
    assert not keeping.to_be_measured(one, timedelta(0), NOW)
    known = keeping.measured(one, 5, None, NOW)
    assert not keeping.to_be_measured(known, HOUR, NOW + DAY)
    used = done(keeping.seen(known, True, True, NOW + MINUTE))
    assert not keeping.to_be_measured(used, HOUR, NOW + 59 * MINUTE)
    assert keeping.to_be_measured(used, HOUR, NOW + HOUR)
    assert not keeping.to_be_measured(home(S.ARCHIVED), HOUR, NOW)


def test_a_file_from_the_future_tells_nothing() -> None:
    assert keeping.measured(home(), 5, NOW + DAY, NOW).last_used_at == NOW - DAY
    assert keeping.measured(home(), 5, NOW - HOUR, NOW).last_used_at == NOW - HOUR


# --- the whole life -----------------------------------------------------------------------------------------------


class Life(RuleBasedStateMachine):
    """A home, its volume and its archive, an admin, an owner, and workers that may die at any moment.

    The volume holds "" where there is none, "part" where only part of the files is there, "all" where all are.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = NOW
        self.volume, self.archive = "all", ""
        self.runs = self.making = False
        self.work: Iterator[None] | None = None
        self.deleted = False
        self.number = 0

    @initialize()
    def begin(self) -> None:
        self.home = home()

    def take(self, found: Home | Deny | None) -> bool:
        if isinstance(found, Home):
            self.home = found
        return isinstance(found, Home)

    # --- people

    @rule(wish=st.sampled_from(["archive", "restore", "delete", "cancel"]), days=st.integers(0, 3))
    def wish(self, wish: str, days: int) -> None:
        if wish == "delete":
            self.take(homes.ask_delete(self.home, "olga", "", self.now + days * DAY, self.now))
        elif wish == "cancel":
            self.take(homes.cancel(self.home, "olga", "", self.now))
        else:
            ask = {"archive": homes.ask_archive, "restore": homes.ask_restore}[wish]
            self.take(ask(self.home, "olga", "", self.now))

    @rule()
    def owner_starts(self) -> None:
        if self.take(homes.start(self.home, self.now)) and self.home.state is S.PRESENT:
            self.making = self.take(homes.hold(self.home, self.now))

    @precondition(lambda self: self.making)
    @rule()
    def container_is_made(self) -> None:
        self.making = False
        assert self.volume in {"all", ""}
        if self.volume == "":
            assert self.deleted, "an empty home in place of an archived one"
            self.volume, self.deleted = "all", False
        self.runs = True

    @precondition(lambda self: self.runs)
    @rule()
    def container_ends(self) -> None:
        self.runs = False

    @rule(hours=st.sampled_from([0.01, 0.1, 1, 30]))
    def time_passes(self, hours: float) -> None:
        self.now += timedelta(hours=hours)
        if self.making and self.now >= self.home.start_until:  # type: ignore[operator]
            self.making = False

    @rule()
    def look(self) -> None:
        self.take(keeping.seen(self.home, self.volume != "", self.runs, self.now))

    @rule(known=st.booleans(), rule=st.sampled_from(DeletedUsers))
    def ask_the_hub(self, known: bool, rule: DeletedUsers) -> None:
        self.take(keeping.retire(self.home, known, rule, DAY, self.now))

    # --- workers

    @rule()
    def claim(self) -> None:
        self.number += 1
        name = f"w{self.number}"
        if self.take(keeping.claim(self.home, name, self.now)):
            # Another that was at it has not been heard of for so long that it is dead.
            carry_out = {S.ARCHIVING: self._archive, S.RESTORING: self._restore, S.DELETING: self._delete}
            self.work = carry_out.get(self.home.state, self._tidy)(name)

    @precondition(lambda self: self.work)
    @rule()
    def worker_dies(self) -> None:
        self.work = None

    @precondition(lambda self: self.work)
    @rule()
    def worker_goes_on(self) -> None:
        assert self.work is not None
        try:
            next(self.work)
        except StopIteration:
            self.work = None

    def _archive(self, name: str) -> Iterator[None]:
        if self.home.phase is P.OPEN:
            if self.runs:
                self.take(keeping.failed(self.home, name, "in use", self.now))
                return
            yield
            if keeping.beat(self.home, name, 1, self.now) is None:
                return
            written = self.volume
            yield
            sealed = keeping.seal(self.home, name, 5, "5a", {}, self.now)
            if self.runs or sealed is None:
                self.take(keeping.failed(self.home, name, "in use", self.now))
                return
            self.archive = written
            self.home = sealed
            yield
        assert self.archive == "all"
        if self.runs:
            self.take(keeping.postponed(self.home, name, "in use"))
            return
        self.volume = "part" if self.volume else ""
        yield
        self.volume = ""
        yield
        assert self.take(keeping.finished(self.home, name, self.now))

    def _restore(self, name: str) -> Iterator[None]:
        if self.home.phase is not P.FILLING:
            if self.volume:
                self.take(keeping.failed(self.home, name, "there is one", self.now))
                return
            yield
            if not self.take(keeping.pass_point(self.home, name, P.FILLING, self.now)):
                return
            yield
        self.volume = ""
        yield
        self.volume = "part"
        yield
        if self.number % 3 == 0:  # the disk is full
            self.volume = ""
            yield
            self.take(keeping.failed(self.home, name, "full", self.now))
            return
        self.volume = "all"
        yield
        assert self.take(keeping.finished(self.home, name, self.now))
        yield
        yield from self._tidy(name)

    def _delete(self, name: str) -> Iterator[None]:
        if self.home.phase is P.OPEN:
            if self.runs:
                self.take(keeping.failed(self.home, name, "in use", self.now))
                return
            if not self.take(keeping.pass_point(self.home, name, P.REMOVING, self.now)):
                return
            assert self.home.delete_at is not None
            assert self.home.delete_at <= self.now
            yield
        if self.runs:
            self.take(keeping.postponed(self.home, name, "in use"))
            return
        self.deleted = True
        self.volume = ""
        yield
        self.archive = ""
        yield
        assert self.take(keeping.finished(self.home, name, self.now))

    def _tidy(self, name: str) -> Iterator[None]:
        if self.home.state in RESTS and not self.home.archived:
            self.archive = ""
            yield
            self.take(keeping.finished(self.home, name, self.now))

    # --- what always holds

    @invariant()
    def the_files_are_somewhere(self) -> None:
        if not hasattr(self, "home") or self.deleted:
            return
        if self.home.archived:
            assert self.archive == "all"
        else:
            assert self.volume == "all"

    @invariant()
    def what_runs_has_all(self) -> None:
        if self.runs:
            assert self.volume == "all"

    @invariant()
    def what_is_said_is_so(self) -> None:
        if not hasattr(self, "home"):
            return
        state = self.home.state
        assert (state is S.DELETING) == (self.home.delete_at is not None)
        if state in RESTS:
            assert self.home.phase is P.OPEN
        if state is S.PRESENT:
            assert self.volume == "all" or self.deleted
        if state is S.ARCHIVED:
            assert self.home.archived
            assert self.volume == ""


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=400, stateful_step_count=40, deadline=None)
