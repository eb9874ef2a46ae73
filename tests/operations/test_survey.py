"""What the spawn form tells: what there is, what one could have, and that asking takes nothing."""

import pytest

from spawner.operations import leases
from spawner.operations.leases import Granted, Queued
from spawner.operations.survey import Kind, Survey, survey
from spawner.policy.leases import Allot, GpuRequest, Wait
from spawner.policy.model import Deny, Person

from ..support.office import HOUR, MINUTE, Office
from ..support.slots import MEMORY, MODEL, gpus, mig, shared

PERSON = Person("ann")


def asked(office: Office, count: int = 1, hours: float | None = 4, **more: object) -> Survey:
    request = GpuRequest("ann", str(more.pop("server", "")), "gpu", count, hours, **more)  # type: ignore[arg-type]
    before = office.tables()
    found = survey(office.desk, PERSON, {"gpu": request})
    assert office.tables() == before
    return found["gpu"]


def test_what_there_is(office: Office) -> None:
    office.fit(gpus(2), shared(2, index=2), mig(5 << 30, index=3))
    office.fit(gpus(3, node="far"), node="far")
    office.running("bob", models=frozenset({MODEL}), memory=MEMORY)
    told = asked(office)
    assert isinstance(told.answer, Allot)
    assert told.kinds == (
        Kind(MODEL, "mig", 5 << 30, "hardware", True, 1, 1, 1),
        Kind(MODEL, "shared", MEMORY // 2, "cooperative", True, 2, 2, 1),
        Kind(MODEL, "exclusive", MEMORY, "hardware", True, 4, 5, 3),
    )
    assert (told.waiting, told.eta_seconds, told.at_once, told.held) == (0, None, 4, 0)
    assert (told.longest_hours, told.budget_hours, told.left_hours, told.window_days) == (24, None, None, 7)


def test_what_is_left_of_the_budget(office: Office) -> None:
    office.fit(gpus(2))
    office.give("user", "ann", "gpu_hours", 10)
    office.running("ann", 1, 4, server="lab")
    office.wait(HOUR)
    told = asked(office, 1, 7)
    assert (told.budget_hours, told.left_hours, told.held) == (10, 6, 1)
    assert isinstance(told.answer, Deny)
    assert told.answer.code == "over_budget"
    assert isinstance(asked(office, 1, 6).answer, Allot)


def test_the_queue_and_how_long_it_takes(office: Office) -> None:
    office.fit(gpus(1))
    assert isinstance(asked(office, 2).answer, Deny)
    office.running("bob", 1, 4)
    alone = asked(office, 1, 1)
    assert isinstance(alone.answer, Wait)
    assert (alone.answer.position, alone.waiting, alone.eta_seconds) == (1, 0, 4 * 3600 + 120)
    office.queued("eve", 1, 2)
    office.wait(MINUTE)
    behind = asked(office, 1, 1)
    assert isinstance(behind.answer, Wait)
    assert (behind.answer.position, behind.waiting, behind.eta_seconds) == (2, 1, 6 * 3600 + 240 - 60)
    # What the form says is what becomes true.
    answer = office.ask("ann", 1, 1)
    assert isinstance(answer, Queued)
    assert answer.position == 2
    again = asked(office, 1, 1)
    assert isinstance(again.answer, Wait)
    assert (again.answer.position, again.waiting, again.eta_seconds) == (2, 2, behind.eta_seconds)


@pytest.mark.parametrize("most", [1, 4])
def test_who_has_an_offer_could_have_it(office: Office, most: int) -> None:
    office.fit(gpus(1))
    office.give("user", "ann", "gpus", most)
    lease = office.running("bob")
    ticket = office.queued("ann", 1, 4)
    office.stop(lease)
    offered = office.offer_to(ticket)
    told = asked(office, 1, 4)
    assert isinstance(told.answer, Allot)
    assert (told.answer.slots, told.held) == (offered.slots, 0)
    assert isinstance(asked(office, 1, 25).answer, Deny)
    # For another server of theirs it is somebody else's.
    other = asked(office, 1, 4, server="lab").answer
    assert isinstance(other, Deny if most == 1 else Wait)
    assert leases.of_server(office.desk, "ann", "") == offered


def test_all_answers_are_those_of_asking(office: Office) -> None:
    office.fit(gpus(2), shared(2, index=2))
    office.running("bob")
    requests = {
        f"{count} {hours}": GpuRequest("ann", "", "gpu", count, hours) for count in (1, 2, 3, 5) for hours in (1, 25)
    }
    told = survey(office.desk, PERSON, requests)
    for key, request in requests.items():
        answer = leases.acquire(office.desk, request)
        match answer:
            case Granted(lease):
                given = told[key].answer
                assert isinstance(given, Allot)
                assert given.slots == lease.slots
                leases.close(office.desk, lease.id, None)
            case _:
                assert told[key].answer == answer
