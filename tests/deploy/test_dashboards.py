"""Grafana's dashboards: as described, in a shape that Grafana takes, and of metrics that there are."""

import itertools
import json
import re
from typing import Any

import pytest
import yaml

from deploy.grafana.boards import ALL, FOLDER, files

from ..support.npm import ROOT
from .names import read, wrong_names

BOARDS = [json.loads(text) for text in files().values()]
# https://github.com/grafana/grafana/blob/main/packages/grafana-data/src/valueFormats/categories.ts
UNITS = {"short", "percentunit", "s", "h", "bytes", "watt", "celsius", "hertz", "Bps", "reqps"}


def panels(board: dict[str, Any]) -> list[dict[str, Any]]:
    return [panel for panel in board["panels"] if panel["type"] != "row"]


def test_the_files_are_what_the_description_gives() -> None:
    assert {path: read(path) for path in FOLDER.glob("*.json")} == files()


def test_the_boards_that_were_asked_for() -> None:
    assert [board.uid for board in ALL] == [
        "berth-fleet",
        "berth-gpu",
        "berth-user",
        "berth-class",
        "berth-hoarder",
        "berth-health",
    ]


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board["uid"])
def test_panels_are_explained_and_have_their_place(board: dict[str, Any]) -> None:
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
    for panel in panels(board):
        assert panel["title"]
        assert panel["description"].endswith(".")
        assert panel["fieldConfig"]["defaults"]["unit"] in UNITS
        assert panel["targets"]
        references = [target["refId"] for target in panel["targets"]]
        assert len(set(references)) == len(references)
        assert all(target["datasource"]["uid"] == "${datasource}" for target in panel["targets"])
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        at = panel["gridPos"]
        cells = set(itertools.product(range(at["x"], at["x"] + at["w"]), range(at["y"], at["y"] + at["h"])))
        assert at["x"] + at["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board["uid"])
def test_names_are_declared(board: dict[str, Any]) -> None:
    variables = {variable["name"] for variable in board["templating"]["list"]}
    assert "datasource" in variables
    for panel in panels(board):
        for target in panel["targets"]:
            assert not wrong_names(target["expr"].replace("$__range", "1h")), panel["title"]
            used = set(re.findall(r"\$(\w+)", target["expr"])) - {"__range"}
            assert used <= variables, panel["title"]
    for variable in board["templating"]["list"]:
        if variable["type"] == "query":
            assert not wrong_names(re.sub(r"label_values\((.*),.*\)", r"\1", variable["definition"]))


def test_tables_name_columns_that_their_queries_give() -> None:
    for board in BOARDS:
        for panel in panels(board):
            if panel["type"] == "table":
                renamed = panel["transformations"][-1]["options"]["renameByName"]
                assert any(name.startswith("Value") for name in renamed), panel["title"]


def test_provisioning_finds_them() -> None:
    grafana = ROOT / "deploy/grafana/provisioning"
    provider = yaml.safe_load(read(grafana / "dashboards/berth.yml"))["providers"][0]
    source = yaml.safe_load(read(grafana / "datasources/prometheus.yml"))["datasources"][0]
    compose = yaml.safe_load(read(ROOT / "deploy/compose/monitoring.yml"))["services"]["grafana"]
    mounts = dict(mount.split(":")[:2] for mount in compose["volumes"])
    assert mounts["../grafana/dashboards"] == provider["options"]["path"]
    assert mounts["../grafana/provisioning"] == "/etc/grafana/provisioning"
    assert source["url"].removeprefix("$") in compose["environment"]
    home = compose["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert (FOLDER / home.removeprefix(provider["options"]["path"] + "/")).exists()
