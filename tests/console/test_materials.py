"""What staff are told of a course's materials."""

from dataclasses import replace

import pytest

from spawner.console.class_desk import places
from spawner.operations import courses, materials
from spawner.operations.materials import MaterialsState
from spawner.policy.classes import Course, Role

from ..support.console import ConsoleStand
from ..support.office import NOW

PROBLEM = "The materials at https://h/x cannot be fetched: <b>no</b>."


@pytest.fixture
def course(console: ConsoleStand) -> Course:
    desk = console.office.desk
    made = courses.create(desk, Course("ml", "ML", "cpu", "", NOW, materials="https://h/x", folder="ml"), "ines")
    assert isinstance(made, Course)
    courses.enrol(desk, "ml", ("ann",), Role.STUDENT, "ines")
    return made


def test_staff_see_what_is_wrong_with_materials(console: ConsoleStand, course: Course) -> None:
    at = places(console.console)
    state = MaterialsState(course.materials, "", NOW, problem=PROBLEM, left_out=("large: larger than 100 MiB",))

    def page(user: str) -> str:
        answer = console.signed_in(user).get("courses/ml")
        assert answer.status_code == 200
        return str(answer.text)

    assert "Last looked at" not in page("ines")
    materials.keep_state(at, "ml", state)
    seen = page("ines")
    assert "Last looked at" in seen
    assert "cannot be fetched: &lt;b&gt;no" in seen
    assert "large: larger than 100 MiB" in seen
    assert "cannot be fetched" not in page("ann")
    # Of another source than the one that was chosen since, nobody is told.
    materials.keep_state(at, "ml", replace(state, source="https://h/y"))
    assert "cannot be fetched" not in page("ines")
