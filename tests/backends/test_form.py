from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from jupyterhub.objects import Hub

from spawner.backends import desks
from spawner.backends.docker import TensorFlowSpawner
from spawner.backends.requests import options_from_form
from spawner.ledger import Ledger
from spawner.operations import inventory, leases
from spawner.operations.desk import Desk
from spawner.pages import spawn_form
from spawner.policy.gpus import LOCAL_NODE
from spawner.policy.leases import GpuRequest
from spawner.policy.model import Deny, Grant, LimitRule, Limits, Profile
from spawner.settings import LeaseSettings, LimitSettings

from ..support.slots import gpus
from .conftest import PROFILES

LIMITS = Limits(cpu=1, memory=2 << 30, processes=100, shm=1 << 30, open_files=100, gpus=0)


def _profile(slug: str, name: str = "Name", description: str = "") -> Profile:
    return Profile(slug, name, description, LimitRule(cpu=2, memory=6 << 30, gpus=1))


def test_cards_show_what_is_given() -> None:
    form = spawn_form([(_profile("cpu", "CPU", "For notebooks."), Grant(_profile("cpu"), LIMITS))], "")
    for text in ("CPU", "For notebooks.", "1 CPU", "2 GiB memory", 'value="cpu"'):
        assert text in form
    assert "GPU<" not in form


def test_a_profile_that_is_refused_says_why_and_cannot_be_chosen() -> None:
    offers: list[tuple[Profile, Grant | Deny]] = [
        (_profile("gpu"), Deny("no_gpus", "This hub hands out none.")),
        (_profile("cpu"), Grant(_profile("cpu"), LIMITS)),
    ]
    form = spawn_form(offers, "gpu")
    assert "This hub hands out none." in form
    assert "2 CPUs" in form
    assert "1 GPU" in form
    assert _checked(form) == ["cpu"]
    assert [card["value"] for card in _cards(form) if "disabled" in card] == ["gpu"]


def _checked(form: str) -> list[str]:
    return [card["value"] for card in _cards(form) if "checked" in card]


def _cards(form: str) -> list[dict[str, str]]:
    """Read the attributes of the inputs."""
    found: list[dict[str, str]] = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            if tag == "input":
                found.append({name: value or "" for name, value in attrs})

    Reader().feed(form)
    return found


@pytest.mark.parametrize(("chosen", "checked"), [("b", "b"), ("", "a"), ("gone", "a")])
def test_the_last_choice_is_kept(chosen: str, checked: str) -> None:
    offers = [(_profile(slug), Grant(_profile(slug), LIMITS)) for slug in ("a", "b")]
    assert _checked(spawn_form(offers, chosen)) == [checked]


def test_texts_are_escaped() -> None:
    evil = _profile("a", "<script>alert(1)</script>", "<img src=x onerror=alert(1)>")
    form = spawn_form([(evil, Deny("over_limit", "<b>no</b>"))], '"><script>')
    assert "<script>" not in form
    assert "<img" not in form
    assert "<b>no" not in form


def test_no_profile_at_all_is_a_form_too() -> None:
    assert _checked(spawn_form([], "")) == []


async def test_the_form_shows_only_ones_own_profiles(spawner: Any) -> None:
    form = await spawner.get_options_form()
    assert 'value="tiny"' in form
    assert "staff" not in form.lower()
    assert "Huge" in form, "shown with the reason why not"
    assert _checked(form) == ["tiny"]


async def test_a_member_sees_the_groups_profile(make_user: Any) -> None:
    member = make_user("eve", groups=("staff",))
    spawner = member._new_spawner("", spawner_class=TensorFlowSpawner, profiles=PROFILES)
    assert spawner.person.groups == {"staff"}
    assert 'value="staff"' in await spawner.get_options_form()


@pytest.mark.parametrize(
    ("form", "options"),
    [
        ({}, {}),
        ({"profile": ["cpu"]}, {"profile": "cpu"}),
        ({"profile": ["cpu"], "gpus": [""], "hours": [""], "at_end": [""]}, {"profile": "cpu"}),
        ({"gpus": ["2"], "hours": ["1.5"], "if_busy": ["cpu"]}, {"gpus": 2, "hours": 1.5, "if_busy": "cpu"}),
        ({"gpus": ["two"], "hours": ["long"]}, {"gpus": "two", "hours": "long"}),
        ({"image": ["evil"]}, {"image": "evil"}),
        ({"clean": ["true"]}, {"clean": True}),
        ({"clean": ["perhaps"]}, {"clean": "perhaps"}),
        ({"profile": ["a", "b"]}, {"profile": "b"}),
    ],
)
def test_from_the_form_to_options(form: dict[str, list[str]], options: dict[str, Any]) -> None:
    assert options_from_form(form) == options


async def test_the_hub_asks_for_both(spawner: Any) -> None:
    assert "<input" in await spawner.get_options_form()
    assert spawner.run_options_from_form({"profile": ["tiny"]}) == {"profile": "tiny"}


GPU_PROFILE = {"slug": "gpu", "name": "GPU", "memory": "64 MiB", "gpus": 1}


@pytest.fixture
def gpu_spawner(make_user: Any, tmp_path: Path) -> Iterator[Any]:
    """A spawner whose ledger has two GPUs, one of them held by somebody else."""
    url = f"sqlite:///{tmp_path / 'ledger.sqlite'}"
    ledger = Ledger(url)
    ledger.upgrade()
    desk = Desk(ledger, LimitSettings().rules(), LeaseSettings().rules())
    inventory.sync(desk, LOCAL_NODE, *gpus(2))
    leases.acquire(desk, GpuRequest("bob", "", "gpu", 1))
    yield make_user()._new_spawner(
        "", spawner_class=TensorFlowSpawner, hub=Hub(), profiles=[GPU_PROFILE, *PROFILES], ledger_url=url
    )
    ledger.close()
    for key in [key for key in desks._DESKS if key[0] == url]:
        desks._DESKS.pop(key).ledger.close()


async def test_the_form_tells_what_the_ledger_knows(gpu_spawner: Any) -> None:
    form = await gpu_spawner.get_options_form()
    assert "1 of 2 free now" in form
    assert "Nobody waits." in form
    assert "1 GPU at once; leases up to 24 h." in form
    assert _checked(form)[0] == "gpu"
    assert 'name="hours"' in form


async def test_who_waits_is_told_so(gpu_spawner: Any) -> None:
    await gpu_spawner.operate(leases.acquire, GpuRequest("cyd", "", "gpu", 1))
    await gpu_spawner.operate(leases.acquire, GpuRequest("ann", "", "gpu", 1))
    form = await gpu_spawner.get_options_form()
    assert "waits in the queue already, as number 1 of 1" in " ".join(form.split())
    assert "0 of 2 free now" in form


async def test_a_ledger_that_is_away_leaves_the_other_profiles(gpu_spawner: Any, tmp_path: Path) -> None:
    (tmp_path / "ledger.sqlite").unlink()
    gpu_spawner.desk.ledger.close()
    form = await gpu_spawner.get_options_form()
    assert "Which GPUs are free cannot be told now" in form
    assert "gpu" in [card["value"] for card in _cards(form) if "disabled" in card]
    assert _checked(form) == ["tiny"]
    assert 'name="hours"' not in form


async def test_a_hub_without_a_ledger_hands_out_no_gpus(make_user: Any) -> None:
    spawner = make_user()._new_spawner("", spawner_class=TensorFlowSpawner, hub=Hub(), profiles=[GPU_PROFILE])
    form = await spawner.get_options_form()
    assert "This hub hands out no GPUs." in form
    assert _checked(form) == []
