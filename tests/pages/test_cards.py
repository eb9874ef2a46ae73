"""What the spawn form says of GPUs, quota and queue."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser

import pytest

from spawner.operations.survey import Kind, Survey
from spawner.pages import spawn_form
from spawner.pages.cards import make_cards, make_fields, quota_words
from spawner.pages.words import hours_words, isolation_words, wait_words
from spawner.policy.gpus import Isolation, SlotKind
from spawner.policy.leases import Allot, Wait
from spawner.policy.model import AtEnd, Deny, Grant, LimitRule, Limits, Profile

LIMITS = Limits(cpu=2, memory=6 << 30, processes=100, shm=1 << 30, open_files=100, gpus=1)
ALLOT = Allot(("a",), datetime(2026, 11, 21, tzinfo=UTC))
WHOLE = Kind("NVIDIA A100", SlotKind.EXCLUSIVE, 40 << 30, Isolation.HARDWARE, False, 2, 4, 4)
SURVEY = Survey(ALLOT, (WHOLE,), 0, None, 4, 0, 24, None, None, 7)


def _offer(slug: str, gpus: int = 1) -> tuple[Profile, Grant]:
    profile = Profile(slug, slug.upper(), "", LimitRule(cpu=2, memory=6 << 30, gpus=gpus))
    return profile, Grant(profile, replace(LIMITS, gpus=gpus))


def _form(surveys: Mapping[str, Survey], *offers: tuple[Profile, Grant], chosen: str = "", problem: str = "") -> str:
    return " ".join(spawn_form(offers, chosen, surveys, problem).split())


def test_a_card_tells_model_memory_isolation_and_how_many_are_free() -> None:
    form = _form({"gpu": SURVEY}, _offer("gpu"))
    for text in ("NVIDIA A100", "40 GiB", "A whole GPU, yours alone", "2 of 4 free now", "Nobody waits."):
        assert text in form
    assert "simulated" not in form


def test_simulated_gpus_say_so() -> None:
    form = _form({"gpu": replace(SURVEY, kinds=(replace(WHOLE, simulated=True),))}, _offer("gpu"))
    assert '<span class="berth-tag">simulated</span>' in form
    assert "nothing is computed on it" in form


@pytest.mark.parametrize(
    ("kind", "isolation", "word"),
    [
        (SlotKind.EXCLUSIVE, Isolation.HARDWARE, "yours alone"),
        (SlotKind.MIG, Isolation.HARDWARE, "hardware"),
        (SlotKind.SHARED, Isolation.KERNEL, "kernel"),
        (SlotKind.SHARED, Isolation.MPS, "MPS"),
        (SlotKind.SHARED, Isolation.COOPERATIVE, "by agreement"),
    ],
)
def test_isolation_is_named(kind: SlotKind, isolation: Isolation, word: str) -> None:
    assert word in isolation_words(kind, isolation)


def test_who_would_wait_is_told_how_long() -> None:
    busy = replace(SURVEY, answer=Wait(4, "No GPU is free."), waiting=3, eta_seconds=3000)
    assert "3 wait. You would likely wait about 50 min." in _form({"gpu": busy}, _offer("gpu"))
    unknown = replace(busy, eta_seconds=None, waiting=1)
    assert "1 waits. How long you would wait cannot be told now." in _form({"gpu": unknown}, _offer("gpu"))


def test_a_profile_that_has_to_wait_can_be_chosen() -> None:
    for answer in (Wait(1, "No GPU is free."), Deny("busy", "No GPU is free.")):
        (card,) = make_cards([_offer("gpu")], "gpu", {"gpu": replace(SURVEY, answer=answer)}, "")
        assert card.checked
        assert not card.refusal
        assert card.gpu is not None
        assert card.gpu.busy


@pytest.mark.parametrize("code", ["over_limit", "over_budget", "model_not_allowed", "no_gpus"])
def test_what_one_may_not_have_is_greyed_with_the_reason(code: str) -> None:
    refused = replace(SURVEY, answer=Deny(code, "Not for <you>."))
    form = _form({"gpu": refused}, _offer("gpu"), _offer("cpu", 0), chosen="gpu")
    assert "Not for &lt;you&gt;." in form
    assert _attributes(form, "profile-gpu").keys() >= {"disabled"}
    assert "checked" in _attributes(form, "profile-cpu")
    assert "Your GPU quota:" in form
    assert "berth-gpu-fields" not in form, "nothing is left to choose for GPUs"


def test_a_problem_is_the_reason_where_nothing_is_known() -> None:
    form = _form({}, _offer("gpu"), _offer("cpu", 0), problem="The ledger is away.")
    assert "The ledger is away." in form
    assert "disabled" in _attributes(form, "profile-gpu")
    assert "disabled" not in _attributes(form, "profile-cpu")


def test_one_may_choose_as_many_as_quota_and_hosts_allow() -> None:
    def most(survey: Survey, gpus: int = 1) -> tuple[int, ...]:
        cards = make_cards([_offer("gpu", gpus)], "", {"gpu": survey}, "")
        fields = make_fields(cards, {"gpu": survey})
        assert fields is not None
        return fields.counts

    assert most(SURVEY) == (1, 2, 3, 4)
    assert most(replace(SURVEY, held=1)) == (1, 2, 3)
    assert most(replace(SURVEY, kinds=(replace(WHOLE, widest=2),))) == (1, 2)
    assert most(replace(SURVEY, at_once=1)) == (1,)


@pytest.mark.parametrize(
    ("longest", "left", "hours", "words"),
    [
        (24, None, ["0.5", "1", "2", "4", "8", "12", "24"], "24 h"),
        (3, None, ["0.5", "1", "2"], "3 h"),
        (24, 2.25, ["0.5", "1", "2"], "2 h 15 min"),
        (0.25, None, [], "15 min"),
    ],
)
def test_lengths_end_at_the_longest_that_is_allowed(
    longest: float, left: float | None, hours: list[str], words: str
) -> None:
    survey = replace(SURVEY, longest_hours=longest, left_hours=left, budget_hours=None if left is None else 40)
    fields = make_fields(make_cards([_offer("gpu")], "", {"gpu": survey}, ""), {"gpu": survey})
    assert fields is not None
    assert [value for value, _ in fields.hours] == hours
    assert fields.longest == words


def test_the_defaults_ask_for_what_the_profile_has() -> None:
    """Without the page's script all fields are sent, whatever profile is chosen."""
    form = _form({"gpu": SURVEY}, _offer("cpu", 0), _offer("gpu"))
    assert form.count('<option value="" selected>') == 3
    assert "checked" in _attributes(form, "berth-if-busy-queue")
    assert "disabled" not in _attributes(form, "berth-gpu-fields")
    assert "hidden" not in _attributes(form, "berth-gpu-fields")


def test_the_usual_end_of_a_lease_is_the_default() -> None:
    for usual, words, other in ((AtEnd.CPU, "Go on without GPU", "stop"), (AtEnd.STOP, "Stop the server", "cpu")):
        form = " ".join(spawn_form([_offer("gpu")], "", {"gpu": SURVEY}, at_end=usual).split())
        assert f'<option value="" selected>{words}</option>' in form
        assert f'<option value="{other}">' in form


def test_every_field_has_its_label() -> None:
    form = _form({"gpu": SURVEY}, _offer("cpu", 0), _offer("gpu"))
    for name in (
        "profile-cpu",
        "profile-gpu",
        "berth-gpus",
        "berth-hours",
        "berth-at-end",
        "berth-if-busy-cpu",
        "berth-if-busy-queue",
    ):
        assert f'for="{name}"' in form
        assert _attributes(form, name)


def test_the_quota_is_told() -> None:
    assert quota_words({}) == ()
    assert quota_words({"gpu": SURVEY}) == ("4 GPUs at once", "leases up to 24 h")
    held = replace(SURVEY, held=1, at_once=2, budget_hours=40, left_hours=12.345)
    assert quota_words({"gpu": held, "big": held}) == (
        "you hold 1 of 2 GPUs at once",
        "leases up to 24 h",
        "12.3 of 40 GPU-hours left for these 7 days",
    )


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "about a minute"),
        (61, "about 2 min"),
        (601, "about 15 min"),
        (7200, "about 2 h"),
        (7201, "about 2 h 15 min"),
        (29000, "about 9 h"),
    ],
)
def test_a_likely_wait_is_no_more_exact_than_it_can_be(seconds: int, words: str) -> None:
    assert wait_words(seconds) == words


def test_hours_in_words() -> None:
    assert [hours_words(hours) for hours in (0.5, 1, 1.5, 24)] == ["30 min", "1 h", "1 h 30 min", "24 h"]


def _attributes(form: str, wanted: str) -> dict[str, str | None]:
    """Read the attributes of the element with an id."""
    found: dict[str, str | None] = {}

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            if dict(attrs).get("id") == wanted:
                found.update(attrs)

    Reader().feed(form)
    return found
