"""Caches of CUDA kernels that classes will want."""

from dataclasses import replace
from datetime import timedelta

from spawner.operations import caches, courses, inventory, sessions
from spawner.operations.sessions import Plan, Planned
from spawner.policy.classes import Course, Session
from spawner.policy.gpus import GpuState

from ..support.office import HOUR, MINUTE, NOW, Office
from ..support.slots import gpus

COURSE = Course("ml", "Machine learning", "gpu", "", NOW, gpus=1)


def _teach(office: Office, *, simulated: bool, seats: int = 1) -> list[tuple[Session, Course]]:
    made, slots = gpus(2, model="A100")
    office.fit(
        ([replace(one, simulated=simulated) for one in made], [replace(one, simulated=simulated) for one in slots])
    )
    assert isinstance(courses.create(office.desk, COURSE, "ines"), Course)
    answer = sessions.book(office.desk, Plan("ml", [(NOW + 2 * HOUR, NOW + 3 * HOUR)], seats), "ines")
    assert isinstance(answer, Planned)
    return caches.coming(office.desk, timedelta(hours=2))


def test_what_a_class_wants_soon(office: Office) -> None:
    coming = _teach(office, simulated=False)
    assert [course.id for _, course in coming] == ["ml"]
    [cold] = caches.cold(office.desk, coming, lambda model: f"cache-{model}")
    assert (cold.volume, cold.course, cold.profile) == ("cache-A100", "ml", "gpu")
    assert cold.slot.gpu == cold.gpu.uuid
    caches.note_warmed(office.desk, "cache-A100", "janitor", {"ok": True})
    assert caches.cold(office.desk, coming, lambda model: f"cache-{model}") == []
    office.wait(5 * HOUR)
    assert caches.coming(office.desk, timedelta(hours=2)) == []


def test_simulated_gpus_have_no_kernels(office: Office) -> None:
    coming = _teach(office, simulated=True)
    assert caches.cold(office.desk, coming, lambda model: model) == []


def test_a_gpu_in_use_or_soon_reserved_is_let_alone(office: Office) -> None:
    coming = _teach(office, simulated=False, seats=2)
    assert caches.cold(office.desk, coming, lambda model: model)
    first = office.granted("ann", hours=1)
    [cold] = caches.cold(office.desk, coming, lambda model: model)
    assert cold.slot.id not in first.slots
    inventory.set_state(office.desk, cold.gpu.uuid, GpuState.DRAINING, "olga", "a test")
    assert caches.cold(office.desk, coming, lambda model: model) == []
    inventory.set_state(office.desk, cold.gpu.uuid, GpuState.IN_SERVICE, "olga", "a test")
    office.clock.now = NOW + 2 * HOUR - 16 * MINUTE
    assert caches.cold(office.desk, coming, lambda model: model) == []


def test_a_gpu_in_doubt_is_let_alone(office: Office) -> None:
    coming = _teach(office, simulated=False)
    [cold] = caches.cold(office.desk, coming, lambda model: model)
    inventory.doubt(office.desk, [cold.slot.id], "the driver refused")
    [other] = caches.cold(office.desk, coming, lambda model: model)
    assert other.slot.id != cold.slot.id
    inventory.doubt(office.desk, [other.slot.id], "the driver refused")
    assert caches.cold(office.desk, coming, lambda model: model) == []


def test_rather_a_gpu_that_is_reserved_late(office: Office) -> None:
    coming = _teach(office, simulated=False)
    [cold] = caches.cold(office.desk, coming, lambda model: model)
    with office.ledger.reading() as books:
        [reserved] = books.reservations.upcoming(NOW)
    assert cold.slot.id not in reserved.slots
    office.reserve("art", NOW + HOUR, NOW + 2 * HOUR, cold.slot.id)
    [other] = caches.cold(office.desk, coming, lambda model: model)
    assert other.slot.id in reserved.slots
