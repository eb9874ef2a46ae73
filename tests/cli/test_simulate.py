import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from spawner.cli.main import main
from spawner.sim.checks import Checks
from spawner.sim.report import Seats

SMALL = ("--users", "60", "--gpus", "16", "--days", "1")


def simulate(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["simulate", *SMALL, *arguments])


def test_a_program_gets_one_value_with_everything() -> None:
    done = simulate("--json")
    assert done.exit_code == 0, done.output
    value: dict[str, Any] = json.loads(done.stdout)
    scenario = value["scenario"]
    assert {name: scenario[name] for name in ("users", "gpus", "days", "seed", "slots")} == {
        "users": 60,
        "gpus": 16,
        "days": 1,
        "seed": 1,
        "slots": 16,
    }
    assert [result["discipline"] for result in value["results"]] == ["fair-share", "fifo", "pinned"]
    for result in value["results"]:
        assert set(result) == {
            "discipline",
            "title",
            "description",
            "waits",
            "utilisation",
            "fairness",
            "work_done",
            "seats",
            "starvation",
            "checks",
            "denials",
            "extensions",
            "ended",
            "lapsed_offers",
            "shortened_leases",
            "events",
            "run_seconds",
            "cpu_seconds",
        }
        assert set(result["waits"]) >= {"all", "students", "research"}
        assert set(result["waits"]["all"]) == {
            "asked",
            "served",
            "gave_up",
            "left",
            "denied",
            "p50",
            "p95",
            "max",
        }
        assert set(result["checks"].values()) == {0}
        assert len(result["utilisation"]["busy_by_hour"]) == 24
        assert 0 < result["fairness"] <= 1


def test_the_same_seed_gives_the_same_figures_and_another_seed_others() -> None:
    def figures(seed: int) -> Any:
        value = json.loads(simulate("--json", "--seed", str(seed), "--discipline", "fair-share").stdout)
        for measured in ("run_seconds", "cpu_seconds"):
            del value["results"][0][measured]
        return value

    assert figures(5) == figures(5)
    assert figures(5)["results"] != figures(6)["results"]


def test_people_get_tables() -> None:
    done = simulate("--discipline", "fifo", "--discipline", "pinned")
    assert done.exit_code == 0
    for words in ("GPU time at work", "fairness (Jain)", "budget errors", "leased twice", "FIFO", "pinned", "students"):
        assert words in done.stdout
    assert "fair share" not in done.stdout


def test_a_picture_is_drawn(tmp_path: Path) -> None:
    picture = tmp_path / "week.png"
    assert simulate("--plot", str(picture)).exit_code == 0
    head = picture.read_bytes()[:24]
    assert head.startswith(b"\x89PNG")
    width, height = int.from_bytes(head[16:20]), int.from_bytes(head[20:24])
    assert width > 900
    assert height > 700
    again = tmp_path / "again.png"
    simulate("--plot", str(again))
    assert again.read_bytes() == picture.read_bytes()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--gpus", "0"), "0 is not in the range"),
        (("--users", "many"), "not a valid integer"),
        (("--load", "0"), "not in the range"),
        (("--discipline", "lottery"), "fair-share"),
        (("--plot", "/no/such/place/week.png"), "there is no directory /no/such/place"),
    ],
)
def test_bad_input_is_named(arguments: tuple[str, ...], told: str) -> None:
    done = simulate(*arguments)
    assert done.exit_code == 2
    assert told in done.stderr


def test_what_must_not_happen_ends_with_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spawner.sim.report.check", lambda *_: Checks(2, 0, 0, 0, 0))
    done = simulate("--discipline", "fifo")
    assert done.exit_code == 1
    assert "FIFO: double_leases 2" in done.stderr


TERM = ("--courses", "3", "--weeks", "1", "--gpus", "32", "--users", "40")


def test_a_term_of_classes() -> None:
    done = CliRunner().invoke(main, ["simulate", "classes", *TERM, "--seeds", "2"])
    assert done.exit_code == 0, done.output
    for words in ("seed 1", "seed 2", "reserved seats kept", "ready at the bell", "used again", "→"):
        assert words in done.stdout
    value = json.loads(CliRunner().invoke(main, ["simulate", "classes", *TERM, "--json"]).stdout)
    (result,) = value["results"]
    assert value["terms"][0]["courses"] == 3
    assert result["errors"] == {}
    assert result["classes"]["kept"] == result["classes"]["seats"] > 0
    assert set(result["beside"]) >= {"all", "students", "research"}


def test_a_reservation_that_is_not_kept_ends_with_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spawner.sim.term_report.seats_of", lambda _log: Seats(9, 0, 0, 9, 9))
    done = CliRunner().invoke(main, ["simulate", "classes", *TERM])
    assert done.exit_code == 1
    assert "Seed 1: reservations_broken" in done.stderr


def test_options_of_the_week_stand_alone() -> None:
    done = CliRunner().invoke(main, ["simulate", "--days", "1", "classes"])
    assert done.exit_code == 2
    assert "Put --days behind classes" in done.stderr
