"""Grafana's JSON for what `boards` describes: rows of panels, each with its queries.

A panel is a title, a sentence, a unit of Grafana's, and queries with their legends. Where it stands follows from the
order: a row of the page has 24 columns.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

SOURCE = {"type": "prometheus", "uid": "${datasource}"}
_WIDTH = 24
_SCHEMA = 39  # Grafana 10 and newer
_HEIGHTS = {"stat": 4, "row": 1}


@dataclass(frozen=True)
class Panel:
    """One panel.

    Attributes
    ----------
    queries
        PromQL by legend; a legend is text with ``{{label}}``.
    kind
        timeseries, stat, table, bargauge or state-timeline.
    width
        Of 24 columns.
    steps
        Values from which on it turns orange, then red.
    """

    title: str
    text: str
    unit: str
    queries: dict[str, str]
    kind: str = "timeseries"
    width: int = 12
    height: int = 8
    stacked: bool = False
    maximum: float | None = None
    steps: tuple[float, float] | None = None
    columns: dict[str, str] = field(default_factory=dict)
    """Of a table: titles by label, in order; labels that are not named are left out. A query's legend titles it."""


@dataclass(frozen=True)
class Variable:
    """A choice at the top of the page: the values of a label."""

    name: str
    title: str
    query: str
    multiple: bool = False


@dataclass(frozen=True)
class Dashboard:
    uid: str
    title: str
    text: str
    rows: dict[str, Sequence[Panel]]
    variables: tuple[Variable, ...] = ()
    period: str = "now-6h"

    def json(self) -> dict[str, Any]:
        return {
            "uid": self.uid,
            "title": self.title,
            "description": self.text,
            "tags": ["berth"],
            "schemaVersion": _SCHEMA,
            "editable": True,
            "graphTooltip": 1,
            "timezone": "browser",
            "refresh": "30s",
            "time": {"from": self.period, "to": "now"},
            "annotations": {"list": [_ALERTS]},
            "links": [
                {"type": "dashboards", "tags": ["berth"], "title": "Berth", "asDropdown": True, "includeVars": True}
            ],
            "templating": {"list": [_DATASOURCE, *(_variable(variable) for variable in self.variables)]},
            "panels": _lay_out(self.rows),
        }


_DATASOURCE = {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus", "hide": 0}
_ALERTS = {
    "name": "Alerts",
    "enable": True,
    "hide": False,
    "iconColor": "red",
    "datasource": SOURCE,
    "expr": 'ALERTS{alertname=~"Berth.*", alertstate="firing", severity!="info"}',
    "titleFormat": "{{alertname}}",
}


def _variable(variable: Variable) -> dict[str, Any]:
    more = {"multi": True, "includeAll": True, "allValue": ".*"} if variable.multiple else {"multi": False}
    return {
        "name": variable.name,
        "label": variable.title,
        "type": "query",
        "datasource": SOURCE,
        "query": {"query": variable.query, "refId": "A"},
        "definition": variable.query,
        "refresh": 2,  # when the time changes
        "sort": 1,
        "hide": 0,
        **more,
    }


def _lay_out(rows: dict[str, Sequence[Panel]]) -> list[dict[str, Any]]:
    laid: list[dict[str, Any]] = []
    y = 0
    for title, panels in rows.items():
        at = {"x": 0, "y": y, "w": _WIDTH, "h": 1}
        laid.append(
            {"id": len(laid) + 1, "type": "row", "title": title, "collapsed": False, "gridPos": at, "panels": []}
        )
        y += 1
        x = height = 0
        for panel in panels:
            if x + panel.width > _WIDTH:
                x, y, height = 0, y + height, 0
            tall = _HEIGHTS.get(panel.kind, panel.height)
            at = {"x": x, "y": y, "w": panel.width, "h": tall}
            laid.append({"id": len(laid) + 1, "gridPos": at, **_panel(panel)})
            x, height = x + panel.width, max(height, tall)
        y += height
    return laid


def _panel(panel: Panel) -> dict[str, Any]:
    defaults: dict[str, Any] = {"unit": panel.unit, "min": 0, "color": {"mode": "palette-classic"}}
    if panel.maximum is not None:
        defaults["max"] = panel.maximum
    if panel.steps:
        colours = ("green", None), ("orange", panel.steps[0]), ("red", panel.steps[1])
        defaults["thresholds"] = {
            "mode": "absolute",
            "steps": [{"color": colour, "value": value} for colour, value in colours],
        }
        defaults["color"] = {"mode": "thresholds"}
    at_once = panel.kind in {"stat", "table", "bargauge"}
    targets = [
        {
            "refId": chr(ord("A") + number),
            "datasource": SOURCE,
            "expr": expression,
            "legendFormat": legend,
            "instant": at_once,
            "range": not at_once,
            **({"format": "table"} if panel.kind == "table" else {}),
        }
        for number, (legend, expression) in enumerate(panel.queries.items())
    ]
    made = {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.text,
        "datasource": SOURCE,
        "targets": targets,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": _OPTIONS[panel.kind],
    }
    if panel.kind == "timeseries":
        defaults["custom"] = {
            "lineWidth": 1,
            "fillOpacity": 60 if panel.stacked else 8,
            "showPoints": "never",
            "spanNulls": False,  # a gap is something that could not be read
            "stacking": {"mode": "normal" if panel.stacked else "none", "group": "A"},
        }
    if panel.kind == "table":
        made["transformations"] = _columns(panel)
    return made


_OPTIONS: dict[str, dict[str, Any]] = {
    "timeseries": {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
        "tooltip": {"mode": "multi", "sort": "desc"},
    },
    "stat": {
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "colorMode": "value",
        "graphMode": "none",
        "justifyMode": "auto",
        "textMode": "auto",
    },
    "bargauge": {
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "displayMode": "basic",
        "orientation": "horizontal",
        "showUnfilled": True,
    },
    "table": {"showHeader": True, "cellHeight": "sm"},
    "state-timeline": {"showValue": "never", "mergeValues": True, "rowHeight": 0.8},
}


def _columns(panel: Panel) -> list[dict[str, Any]]:
    """Join the queries' rows on their labels, and leave the columns that are named."""
    values = [f"Value #{chr(ord('A') + number)}" for number in range(len(panel.queries))]
    one = len(values) == 1
    names = dict(panel.columns) | dict(zip(["Value"] if one else values, panel.queries, strict=True))
    return [
        *([] if one else [{"id": "merge", "options": {}}]),
        {"id": "filterFieldsByName", "options": {"include": {"names": list(names)}}},
        {
            "id": "organize",
            "options": {"indexByName": {name: place for place, name in enumerate(names)}, "renameByName": names},
        },
    ]
