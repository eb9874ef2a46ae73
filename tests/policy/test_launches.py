"""What launches of learning platforms say."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spawner.policy.classes import Role
from spawner.policy.launches import Launch, Meant, meant, read, role_of

LIS = "http://purl.imsglobal.org/vocab/lis/v2/"
CLAIM = "https://purl.imsglobal.org/spec/lti/claim/"


@pytest.mark.parametrize(
    ("roles", "role"),
    [
        ([f"{LIS}membership#Learner"], Role.STUDENT),
        ([f"{LIS}membership/Learner#GuestLearner"], Role.STUDENT),
        (["Learner"], Role.STUDENT),
        ([f"{LIS}membership#Instructor"], Role.INSTRUCTOR),
        ([f"{LIS}membership#Instructor", f"{LIS}membership#Learner"], Role.INSTRUCTOR),
        # As Canvas sends an assistant.
        ([f"{LIS}membership#Instructor", f"{LIS}membership/Instructor#TeachingAssistant"], Role.ASSISTANT),
        ([f"{LIS}membership/Instructor#TeachingAssistantSection"], Role.ASSISTANT),
        # Who teaches at the university is a student in this course.
        ([f"{LIS}institution/person#Instructor", f"{LIS}membership#Learner"], Role.STUDENT),
        ([f"{LIS}institution/person#Instructor", f"{LIS}system/person#Administrator"], None),
        ([f"{LIS}membership#Administrator"], None),
        ([f"{LIS}membership#Mentor"], None),
        ([f"{LIS}membership/Instructor#Grader"], None),
        ([], None),
        (None, None),
        ("Instructor", None),
        ([{"Instructor": 1}, 7], None),
    ],
)
def test_roles(roles: object, role: Role | None) -> None:
    assert role_of(roles) is role


def test_what_is_read() -> None:
    claims = {
        f"{CLAIM}context": {"id": "c1", "label": "ML"},
        f"{CLAIM}custom": {"berth_course": " ml ", "other": "x"},
        f"{CLAIM}roles": ["Learner"],
    }
    assert read(claims) == Launch("c1", "ml", Role.STUDENT)
    assert read({f"{CLAIM}context": "c1", f"{CLAIM}custom": {"berth_course": 7}}) == Launch()


JSON: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda more: st.lists(more) | st.dictionaries(st.text(), more),
    max_leaves=8,
)


@given(st.fixed_dictionaries({}, optional={f"{CLAIM}{name}": JSON for name in ("context", "custom", "roles")}))
def test_anything_can_be_read(claims: dict[str, Any]) -> None:
    found = meant(read(claims), {})
    assert found.role is None or found.course


def test_a_context_goes_before_the_parameter() -> None:
    launch = Launch("c1", "ml", Role.STUDENT)
    assert meant(launch, {"c1": "dl"}) == Meant("dl", Role.STUDENT)
    assert meant(launch, {"c2": "dl"}) == Meant("ml", Role.STUDENT)


@pytest.mark.parametrize("role", [Role.INSTRUCTOR, Role.ASSISTANT])
def test_the_parameter_alone_makes_no_staff(role: Role) -> None:
    launch = Launch("c1", "ml", role)
    assert meant(launch, {}).role is None
    assert "sign_in.courses with the platform's id 'c1': 'ml'" in meant(launch, {}).missing
    assert "Name the course in the roster" in meant(Launch("", "ml", role), {}).missing
    assert meant(launch, {"c1": "ml"}) == meant(launch, {}, staff_by_parameter=True) == Meant("ml", role)


def test_what_is_missing_is_told() -> None:
    assert meant(Launch("c1"), {}).missing == (
        "The launch names no course. Let the setting sign_in.courses with the platform's id 'c1', or its custom "
        "parameter berth_course, name one."
    )
    assert meant(Launch(), {}).missing == "The launch names no course. Let its custom parameter berth_course name one."
    assert meant(Launch("", "ml"), {}).missing.startswith("Its roles say neither instructor, nor teaching assistant")
