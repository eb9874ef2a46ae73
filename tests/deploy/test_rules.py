"""Rules and alerts, tried by promtool; that each alert fires, is silent, and is explained."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from ..support.npm import ROOT
from .names import RULES, queries_in, read, rules, wrong_names

CASES = sorted((Path(__file__).parent / "promtool").glob("*.yml"))
RUNBOOKS = ROOT / "docs/how-to/runbooks.md"
ALERTS = {rule["alert"]: rule for rule in rules("alerts")}
THRESHOLDS = {rule["record"]: rule["expr"] for rule in rules("thresholds")}


def promtool(*arguments: str | Path) -> str:
    done = subprocess.run(["promtool", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def tried() -> dict[str, list[dict[str, Any]]]:
    """Give what is expected of each alert in the unit tests."""
    found: dict[str, list[dict[str, Any]]] = {}
    for path in CASES:
        for test in yaml.safe_load(read(path))["tests"]:
            for case in test.get("alert_rule_test", []):
                found.setdefault(case["alertname"], []).append(case)
    return found


@pytest.mark.prometheus
def test_the_files_are_well_formed() -> None:
    assert "SUCCESS" in promtool("check", "rules", "--lint-fatal", *sorted(RULES.glob("*.yml")))


@pytest.mark.prometheus
@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_units(path: Path) -> None:
    promtool("test", "rules", path)


@pytest.mark.parametrize("name", ALERTS)
def test_each_alert_is_tried_firing_and_silent(name: str) -> None:
    cases = tried()[name]
    assert any(case["exp_alerts"] for case in cases)
    assert any(not case["exp_alerts"] for case in cases)


def test_no_case_is_of_an_alert_that_is_no_more() -> None:
    assert set(tried()) == set(ALERTS)


@pytest.mark.parametrize("name", ALERTS)
def test_each_alert_explains_itself(name: str) -> None:
    alert = ALERTS[name]
    assert alert["labels"]["severity"] in {"critical", "warning", "info"}
    notes = alert["annotations"]
    for text in (notes["summary"], notes["description"]):
        assert text.strip().endswith((".", "{{ end }}"))
        assert all(not wrong_names(query) for query in queries_in(text))
    assert notes["runbook_url"] == f"docs/how-to/runbooks.md#{name.lower()}"


@pytest.mark.parametrize("name", ALERTS)
def test_each_alert_has_a_runbook(name: str) -> None:
    found = re.search(rf"^## {name}\n(.*?)(?=^## |\Z)", read(RUNBOOKS), re.DOTALL | re.MULTILINE)
    assert found
    for part in ("Means:", "Confirm:", "Do:", "Silence:"):
        assert re.search(rf"^\*\*{part}\*\* \S", found[1], re.MULTILINE), part


@pytest.mark.parametrize("page", ["runbooks", "find-the-hoarder", "charge-back-gpu-hours"])
def test_queries_of_the_docs_name_what_there_is(page: str) -> None:
    blocks = re.findall(r"^```promql\n(.*?)^```", read(RUNBOOKS.with_name(f"{page}.md")), re.DOTALL | re.MULTILINE)
    assert blocks
    queries = [re.sub(r"^#.*$", "", block, flags=re.MULTILINE) for block in blocks]
    assert not [wrong for query in queries for wrong in wrong_names(query)]


def test_no_runbook_is_of_an_alert_that_is_no_more() -> None:
    assert set(re.findall(r"^## (Berth\w+)", read(RUNBOOKS), re.MULTILINE)) == set(ALERTS)


@pytest.mark.parametrize(
    "rule", [*rules("rules"), *rules("alerts")], ids=lambda rule: rule.get("alert", rule.get("record"))
)
def test_names_are_declared(rule: dict[str, Any]) -> None:
    assert not wrong_names(rule["expr"])


def test_bounds_stand_in_one_place() -> None:
    used = {name for rule in ALERTS.values() for name in re.findall(r"berth:threshold:\w+", str(rule))}
    assert used == set(THRESHOLDS)
    page = read(ROOT / "docs/how-to/connect-your-prometheus.md")
    told = dict(re.findall(r"^\| `(berth:threshold:\w+)` \| ([\d.]+) ", page, re.MULTILINE))
    assert {name: f"vector({value})" for name, value in told.items()} == THRESHOLDS


def test_hours_are_counted_at_the_pace_that_they_assume() -> None:
    groups = yaml.safe_load(read(RULES / "rules.yml"))["groups"]
    (pace,) = {group["interval"] for group in groups if "15 / 3600" in str(group)}
    assert pace == "15s"


def test_what_is_not_declared_is_found() -> None:
    assert wrong_names("sum by (nobody) (berth_gpu_upp)") == ["berth_gpu_upp", "by nobody"]
    assert wrong_names('berth_gpu_up{user="x"} + on (gpu) rate(berth_queue_wait_seconds_bucket{le="1"}[5m])') == [
        "berth_gpu_up{user}"
    ]
