"""Names: whatever a login looks like, Docker takes the name and nobody else has it."""

import itertools
import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spawner.policy.names import (
    bridge_name,
    container_name,
    exam_bridge_name,
    exam_network_name,
    exam_volume_name,
    home_volume_name,
    home_volume_prefix,
    network_name,
    slug,
)

HUB = "0a1b2c3d"
DOCKER_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{1,254}")
# Surrogates too: a login may come out of a broken encoding.
LOGINS = st.text(st.characters(), max_size=255)
SERVERS = st.from_regex(r"\A[a-z0-9-]{0,30}\Z")

LOOKALIKES = [
    ["ann.lee", "ann_lee", "ann-lee", "ann lee", "annlee", "ANN.LEE", "Ann.Lee", "ann..lee", "-ann.lee-"],
    ["../../etc", "etc", "..\\..\\etc", "%2e%2e/etc", "/etc"],
    [unicodedata.normalize(form, "ångström") for form in ("NFC", "NFD")] + ["angstrom"],
    ["ann", "аnn", "ann\u200b", "ann\0", "\uff41nn"],
    ["用户", "ユーザー", "🚢", "", " ", "x"],
    ["a" * 255, "a" * 254, "a" * 254 + "b"],
    ["\ud800", "\udfff", "?"],
]


@given(LOGINS, SERVERS)
def test_docker_takes_every_name(user: str, server: str) -> None:
    for name in (
        container_name(HUB, user, server),
        home_volume_name(HUB, user),
        exam_volume_name(HUB, "0123456789abcdef", user),
        network_name(HUB),
        exam_network_name(HUB),
    ):
        assert DOCKER_NAME.fullmatch(name)
        assert name.startswith(f"berth-{HUB}")


@given(LOGINS, SERVERS)
def test_a_name_is_always_the_same(user: str, server: str) -> None:
    assert container_name(HUB, user, server) == container_name(HUB, user, server)
    assert home_volume_name(HUB, user) == home_volume_name(HUB, user)


@given(st.lists(st.tuples(LOGINS, SERVERS), unique=True, min_size=2, max_size=6))
def test_different_servers_have_different_containers(servers: list[tuple[str, str]]) -> None:
    assert len({container_name(HUB, user, server) for user, server in servers}) == len(servers)


@given(st.lists(LOGINS, unique=True, min_size=2, max_size=6))
def test_different_users_have_different_homes(users: list[str]) -> None:
    assert len({home_volume_name(HUB, user) for user in users}) == len(users)


@pytest.mark.parametrize("logins", LOOKALIKES)
def test_logins_that_look_alike_stay_apart(logins: list[str]) -> None:
    assert len({container_name(HUB, login, "") for login in logins}) == len(set(logins)) == len(logins)
    assert len({home_volume_name(HUB, login) for login in logins}) == len(logins)


@given(st.text(max_size=12), st.integers(0, 12))
def test_the_boundary_between_user_and_server_counts(text: str, cut: int) -> None:
    halves = {(text[:at], text[at:]) for at in (cut, cut + 1)}
    assert len({container_name(HUB, user, server) for user, server in halves}) == len(halves)


def test_a_server_is_not_its_user_with_a_suffix() -> None:
    names = [
        container_name(HUB, "ann", "lab"),
        container_name(HUB, "ann-lab", ""),
        container_name(HUB, "ann", ""),
        home_volume_name(HUB, "ann"),
        container_name(HUB, "home-ann", ""),
    ]
    assert all(left != right for left, right in itertools.combinations(names, 2))


def test_hubs_do_not_share_names() -> None:
    assert container_name("hub1", "ann", "") != container_name("hub2", "ann", "")
    assert home_volume_name("hub1", "ann") != home_volume_name("hub2", "ann")


def test_names_are_telling() -> None:
    assert container_name(HUB, "Ann.Lee", "class-1").startswith(f"berth-{HUB}-ann-lee-class-1-")
    assert home_volume_name(HUB, "Ann.Lee").startswith(f"berth-{HUB}-home-ann-lee-")


def test_names_do_not_change_between_releases() -> None:
    # Another digest would cut everybody off from their homes.
    assert home_volume_name(HUB, "ann") == "berth-0a1b2c3d-home-ann-962f5b2411f1295a7589"
    assert container_name(HUB, "ann", "") == "berth-0a1b2c3d-ann-2259ccdd349747cf8e28"


@given(LOGINS)
def test_a_slug_is_short_and_plain(text: str) -> None:
    assert re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,22}[a-z0-9])?", slug(text))


@given(st.from_regex(r"\A[a-z0-9]{1,8}\Z"))
def test_linux_takes_the_bridge(hub_id: str) -> None:
    assert len(bridge_name(hub_id)) <= 15
    assert bridge_name(hub_id).endswith(hub_id), "cut off, hubs would share a bridge"
    assert len(exam_bridge_name(hub_id)) <= 15
    assert exam_bridge_name(hub_id).endswith(hub_id)
    assert not exam_bridge_name(hub_id).startswith(bridge_name("")), "no other hub's users' bridge"


@given(LOGINS, LOGINS, st.sampled_from(["s1", "s2", ""]))
def test_an_exams_volume_is_nobodys_home_and_no_other_exams(user: str, other: str, session: str) -> None:
    name = exam_volume_name(HUB, "s1", user)
    assert not name.startswith(home_volume_prefix(HUB))
    assert (name == exam_volume_name(HUB, session, other)) == ((user, "s1") == (other, session))
