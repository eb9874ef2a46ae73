"""Calls that may be repeated: one is carried out, on each database."""

import threading
from dataclasses import replace
from datetime import timedelta

from spawner.operations import calls
from spawner.operations.calls import ABANDONED, KEPT, Answered, Begun, Different, UnderWay

from ..support.office import MS, Office

ANN = "user:ann"
MAY = frozenset({"custom:berth:self"})


def begin(office: Office, caller: str = ANN, key: str = "key", call: str = "POST /a", fingerprint: str = "f") -> object:
    return calls.begin(office.desk, caller, MAY, key, call, fingerprint)


def begun(office: Office, caller: str = ANN, key: str = "key") -> Begun:
    found = begin(office, caller, key)
    assert isinstance(found, Begun), found
    return found


def test_a_call_is_carried_out_once(office: Office) -> None:
    first = begun(office)
    assert begin(office) == UnderWay()
    assert calls.finish(office.desk, first.call, 201, {"ETag": '"1"'}, '{"name": "ä🙂"}')
    kept = replace(first.call, status=201, headers={"ETag": '"1"'}, answer='{"name": "ä🙂"}')
    assert begin(office) == Answered(kept)
    office.wait(KEPT)
    assert begin(office) == Answered(kept)
    office.wait(MS)
    assert isinstance(begin(office), Begun)


def test_a_key_is_one_calls_and_one_callers(office: Office) -> None:
    begun(office)
    assert begin(office, call="POST /b") == Different()
    assert begin(office, fingerprint="g") == Different()
    begun(office, "user:bob")
    begun(office, "service:ann")
    begun(office, key="other")


def test_what_did_nothing_leaves_its_key_free(office: Office) -> None:
    calls.give_up(office.desk, begun(office).call)
    assert isinstance(begin(office, fingerprint="another"), Begun)


def test_a_call_whose_process_died_does_not_hold_its_key_for_ever(office: Office) -> None:
    dead = begun(office)
    office.wait(ABANDONED - MS)
    assert begin(office) == UnderWay()
    office.wait(MS)
    second = begun(office)
    # It lived, but was slow: the key is no longer its own.
    assert not calls.finish(office.desk, dead.call, 200, {}, "first")
    calls.give_up(office.desk, dead.call)
    assert begin(office) == UnderWay()
    assert calls.finish(office.desk, second.call, 200, {}, "second")
    found = begin(office)
    assert isinstance(found, Answered)
    assert found.call.answer == "second"


def test_old_calls_are_removed(office: Office) -> None:
    for number in range(3):
        begun(office, key=str(number))
        office.wait(timedelta(hours=11))
    begun(office, key="last")
    assert [row[1] for row in office.tables()["calls"]] == ["1", "2", "last"]


def test_many_at_once(office: Office) -> None:
    threads, found, start = 8, [], threading.Barrier(8)

    def call() -> None:
        start.wait()
        found.append(begin(office))

    running = [threading.Thread(target=call) for _ in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    assert sum(isinstance(one, Begun) for one in found) == 1
    assert found.count(UnderWay()) == threads - 1
