from datetime import UTC, datetime

import pytest

from spawner.backends.spec import clean_environment, course_environment
from spawner.policy.leases import Lease, LeaseState

NOW = datetime(2026, 3, 4, 12, tzinfo=UTC)


@pytest.mark.parametrize(("course", "expected"), [("ml", {"BERTH_COURSE": "ml"}), ("", {})])
def test_a_container_says_its_course(course: str, expected: dict[str, str]) -> None:
    lease = Lease("L", "ann", "", "gpu", LeaseState.PENDING, ("GPU-0",), NOW, NOW, NOW, course=course)
    assert course_environment(lease) == expected


def test_without_a_lease_there_is_no_course() -> None:
    assert course_environment(None) == {}


def test_only_a_clean_start_looks_elsewhere_than_in_the_home() -> None:
    assert clean_environment(clean=False) == {}
    assert all("/home/" not in value for value in clean_environment(clean=True).values())
