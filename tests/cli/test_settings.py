import json
import re
from pathlib import Path

import pytest
import yaml

from spawner.cli.deployment import ROOT
from spawner.cli.metrics_reference import render_metrics
from spawner.cli.reference import entries, render, render_profiles
from spawner.metrics.catalog import ALL_METRICS
from spawner.settings import Settings

from .conftest import Command


def config(berth: Command, text: str) -> dict[str, str]:
    path = berth.directory / "berth.yaml"
    path.write_text(text)
    return {"BERTH_CONFIG": str(path)}


def test_check_says_what_was_read(berth: Command) -> None:
    environment = config(berth, "port: 8001\n")
    assert "valid" in berth.ok("settings", "check", **environment)
    assert berth.data("settings", "check", **environment) == {
        "valid": True,
        "file": str(berth.directory / "berth.yaml"),
    }


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("prot: 8001", ["berth.yaml", "prot", "no such key", "port"]),
        ("profiles: [{slug: a, name: A, cpus: 1}]", ["berth.yaml", "profiles.0.cpus", "no such key"]),
        ("image: {", ["berth.yaml", "not YAML"]),
        ("pull: sometimes", ["berth.yaml", "pull", "'missing', 'always' or 'never'", "sometimes"]),
    ],
)
def test_invalid_settings_are_named(berth: Command, text: str, told: list[str]) -> None:
    sentence = berth.refused("settings", "check", code="settings_invalid", **config(berth, text))
    for words in told:
        assert words in sentence


@pytest.mark.parametrize("command", ["up", "down", "status", "images"])
def test_no_command_works_on_invalid_settings(berth: Command, command: str) -> None:
    sentence = berth.refused(command, code="settings_invalid", **config(berth, "prot: 8001"))
    assert "berth.yaml: prot: no such key" in sentence
    assert not berth.state.path.exists()


def test_every_mistake_gets_a_line(berth: Command) -> None:
    environment = config(berth, "start_timeout: soon\nstop_grace: -1\n")
    lines = berth.refused("settings", "check", code="settings_invalid", **environment).splitlines()
    assert ["start_timeout" in lines[0], "stop_grace" in lines[1], len(lines)] == [True, True, 2]


def test_an_unknown_variable_is_an_error(berth: Command) -> None:
    assert "BERTH_PROT" in berth.refused("up", code="settings_invalid", BERTH_PROT="8001")


def test_the_demo_listens_on_this_machine_only(berth: Command) -> None:
    assert "127.0.0.1" in berth.refused("up", code="settings_invalid", BERTH_BIND_ADDRESS="0.0.0.0")


def test_an_error_can_be_read_by_programs(berth: Command) -> None:
    done = berth("settings", "check", "--json", BERTH_PORT="http")
    assert done.returncode == 1
    assert json.loads(done.stdout)["error"]["code"] == "settings_invalid"


def test_wrong_usage_is_another_status(berth: Command) -> None:
    assert berth("upp").returncode == 2
    assert berth("images", "--flavour", "tpu").returncode == 2


def test_show_hides_secrets(berth: Command) -> None:
    secret = "a-token-of-thirty-two-characters"
    shown = berth.ok("settings", "show", BERTH_API_TOKEN=secret)
    assert secret not in shown
    assert yaml.safe_load(shown)["port"] == berth.port
    values = berth.data("settings", "show", BERTH_API_TOKEN=secret)
    assert secret not in json.dumps(values)
    assert set(values) == set(Settings.model_fields)


def test_what_show_prints_is_a_settings_file(berth: Command) -> None:
    assert berth.ok("settings", "check", **config(berth, berth.ok("settings", "show")))


def test_the_reference_is_up_to_date() -> None:
    folder = ROOT / "docs" / "reference"
    assert (folder / "settings.md").read_text() == render(), "make docs"
    assert (folder / "profiles.md").read_text() == render_profiles(), "make docs"
    assert (folder / "metrics.md").read_text() == render_metrics(), "make docs"


def test_every_metric_is_in_the_reference_once() -> None:
    rows = [line.split("|") for line in render_metrics().splitlines() if line.startswith("| `berth_")]
    assert [row[1].strip(" `") for row in rows] == [metric.name for metric in ALL_METRICS]
    assert len({metric.name for metric in ALL_METRICS}) == len(ALL_METRICS)
    assert {len(row) for row in rows} == {6}


def test_the_reference_has_every_key_described() -> None:
    found = list(entries())
    assert {entry.key for entry in found} >= set(Settings.model_fields)
    assert [entry.key for entry in found if not entry.description] == []


def test_the_variables_of_the_reference_are_the_ones_that_are_read(berth: Command, tmp_path: Path) -> None:
    variables = {entry.key: entry.variable for entry in entries() if entry.variable}
    assert variables["network.subnet"] == "BERTH_NETWORK__SUBNET"
    shown = berth.data("settings", "show", **{variables["network.subnet"]: "10.9.0.0/16"})
    assert shown["network"]["subnet"] == "10.9.0.0/16"


def test_what_the_example_comments_out_are_the_defaults(berth: Command) -> None:
    text = (ROOT / "deploy" / "berth.yaml").read_text()
    # "#key:" and "#  deeper:" are settings, "# Words" are not.
    uncommented = re.sub(r"^#(?=[a-z]|  )", "", text, flags=re.MULTILINE)
    assert uncommented.count("\n#") < text.count("\n#") - 20
    shown = berth.data("settings", "show", **config(berth, uncommented))
    default = berth.data("settings", "show")
    assert shown == default
    assert berth.ok("settings", "check", **config(berth, text))
