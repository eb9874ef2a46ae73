"""What the pages on classes say that can be compared with what is there."""

import re
import shlex
from dataclasses import fields
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from spawner.policy.classes import QUIET, SLOW, TRIES, Late, Phase, Role, SeatState, Session
from spawner.policy.leases import LeaseRules
from spawner.policy.warmup import SPARE
from spawner.settings import ClassSettings
from spawner.sim.term import Term, draw

from ..cli.admin import A100, Admin, admin

DOCS = Path(__file__).parents[2] / "docs"
MINUTE = timedelta(minutes=1)


def page(name: str) -> str:
    return " ".join((DOCS / name).read_text(encoding="utf-8").split())


def states(heading: str) -> list[str]:
    text = (DOCS / "reference/classes.md").read_text(encoding="utf-8")
    section = re.search(rf"^## {heading}\n(.*?)^## ", text, re.DOTALL | re.MULTILINE)
    assert section is not None
    return re.findall(r"^\| `(\w+)` \|", section[1], re.MULTILINE)


def test_states_are_those_there_are() -> None:
    assert states("A session") == list(Phase)
    assert states("A seat") == list(SeatState)


def test_roles_and_late_policies_are_told() -> None:
    reference = page("reference/classes.md")
    assert all(f"| {role} |" in reference for role in Role)
    assert all(f"`{late}`" in reference for late in Late)


def test_times_are_the_defaults() -> None:
    default: dict[str, Any] = {field.name: field.default for field in fields(Session)}
    reference, explanation = page("reference/classes.md"), page("explanation/classes.md")
    assert f"Before the start, {default['lead'] // MINUTE} minutes by default" in reference
    assert f"After the start, {default['grace'] // MINUTE} minutes by default" in reference
    assert f"its lead ({default['lead'] // MINUTE} minutes, unless you choose otherwise)" in explanation
    assert f"the grace ({default['grace'] // MINUTE} minutes after the start" in explanation
    words = {2: "two", 3: "three", 5: "five", 10: "ten"}
    assert f"until {words[LeaseRules().turnover // MINUTE]} minutes before the class needs them" in explanation
    assert f"left with less than {words[LeaseRules().notice // MINUTE]} minutes" in explanation
    assert f"less than {words[SLOW // MINUTE]} minutes ago" in reference
    assert f"within the last {words[QUIET // MINUTE]} minutes" in reference
    assert f"is tried {words[TRIES]} times" in explanation
    assert SPARE == 1.5
    assert "half as much again" in explanation
    assert f"({ClassSettings().starts_at_once} unless set)" in explanation


def test_the_simulated_term_is_described_as_it_is() -> None:
    term = Term()
    workload, labs = draw(term)
    text = page("explanation/classes.md")
    assert f"{term.courses} courses with a weekly lab of {term.most_seats // 4} to {term.most_seats} seats" in text
    assert f"for {term.weeks} weeks" in text
    assert f"{term.users} ordinary users keep busy for {term.load:.0%} of the".replace("%", " %") in text
    counts = {model: len({slot.gpu for slot in workload.slots if slot.model == model}) for model in ("A100-SXM4-40GB",)}
    assert f"on {term.gpus} GPUs ({counts['A100-SXM4-40GB']} A100" in text
    assert len(labs) == term.courses


COMMANDS = [
    command
    for name in ("how-to/let-teachers-make-courses.md",)
    for block in re.findall(
        r"^```console\n(.*?)^```", (DOCS / name).read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )
    for command in re.findall(r"^# (berth .*)$", block, re.MULTILINE)
]


def test_commands_of_the_how_to_are_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("roster.csv").write_text("username\nann\nben\n", encoding="utf-8")
    assert len(COMMANDS) == 4
    # A limit is set for a course that is there.
    ordered = sorted(COMMANDS, key=lambda command: "limits" in command)
    for person in admin(tmp_path):
        _run_all(person, ordered)


def _run_all(person: Admin, commands: list[str]) -> None:
    person.inventory(*[(A100, 1)] * 30)
    for command in commands:
        person.ok(*shlex.split(_ahead(command))[1:])
    said = person.data("course", "show", "ml")
    assert len(said["sessions"]) > 10
    assert said["limits"]["seats"] == 30


def _ahead(command: str) -> str:
    """Move the page's year on, which is to lie ahead."""
    return command.replace("2027-", "2031-")


ROOT = DOCS.parent
# Typed by the reader, of JupyterLab itself, or of the settings.
_NOT_OURS = {"Machine learning 1", "CPU", "GPU", "Kernel", "Restart", "Restart Kernel"}
_PAGES = (
    "tutorial/your-first-class.md",
    "how-to/checklist-for-a-class.md",
    "how-to/when-a-seat-is-stuck.md",
    "how-to/let-teachers-make-courses.md",
    "for-students.md",
)


def interface() -> str:
    """Everything that the console and the lab's extension say."""
    lab = ROOT / "images/tensorflow/files/opt/jupyter/share/jupyter/labextensions/berth-lab/static"
    places = (ROOT / "spawner/console", lab)
    return "\n".join(
        path.read_text(encoding="utf-8")
        for place in places
        for suffix in ("py", "html", "js")
        for path in sorted(place.rglob(f"*.{suffix}"))
    )


@pytest.mark.parametrize("name", _PAGES)
def test_what_readers_are_to_press_is_there(name: str) -> None:
    words = set(re.findall(r"(?<!\*)\*([^*]+)\*(?!\*)", page(name))) - _NOT_OURS
    said = interface()
    assert words
    assert {one for one in words if f'"{one}"' not in said and f"'{one}'" not in said} == set()
