from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from spawner.policy.classes import Role
from spawner.policy.joining import JoinLink, check_link

NOW = datetime(2027, 3, 1, 12, tzinfo=UTC)
LINK = JoinLink("t", "ml", Role.STUDENT, "ines", NOW, NOW + timedelta(hours=1), cap=2)


@pytest.mark.parametrize(
    ("link", "code"),
    [
        (LINK, None),
        (replace(LINK, used=1), None),
        (replace(LINK, used=2), "link_full"),
        (replace(LINK, used=2, cap=None), None),
        (replace(LINK, expires_at=NOW), "link_ended"),
        (replace(LINK, revoked_at=NOW), "link_ended"),
    ],
)
def test_whom_a_link_lets_in(link: JoinLink, code: str | None) -> None:
    denied = check_link(link, NOW)
    assert (denied and denied.code) == code
