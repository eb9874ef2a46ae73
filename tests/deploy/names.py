"""What a query may name: what Berth declares and records, JupyterHub's own, Prometheus' own."""

import re
from pathlib import Path
from typing import Any

import yaml

from spawner.metrics.catalog import ALL_METRICS
from spawner.metrics.metric import Kind

from ..support.npm import ROOT
from ..support.prometheus import grouped_by, metrics_of

RULES = ROOT / "deploy/prometheus"
_OF_PROMETHEUS = {
    "up": set[str](),
    "scrape_duration_seconds": set[str](),
    "process_cpu_seconds_total": set[str](),
    "process_resident_memory_bytes": set[str](),
    "ALERTS": {"alertname", "alertstate", "severity"},
}
_SCRAPED = {"job", "instance"}


def rules(name: str) -> list[dict[str, Any]]:
    content = yaml.safe_load((RULES / f"{name}.yml").read_text(encoding="utf-8"))
    return [rule for group in content["groups"] for rule in group["rules"]]


def _known() -> dict[str, set[str]]:
    known = {name: set(labels) for name, labels in _OF_PROMETHEUS.items()}
    for metric in ALL_METRICS:
        labels = set(metric.labels)
        if metric.kind is Kind.HISTOGRAM:
            known |= {f"{metric.name}_bucket": labels | {"le"}}
            known |= {f"{metric.name}_{part}": labels for part in ("count", "sum")}
        else:
            known[metric.name] = labels
    return known


KNOWN = _known()
_LABELS = set().union(*KNOWN.values()) | _SCRAPED
_RECORDED = {rule["record"] for path in sorted(RULES.glob("*.yml")) for rule in rules(path.stem) if "record" in rule}


def wrong_names(expression: str) -> list[str]:
    """Say what a query names that there is not."""
    wrong = []
    for name, labels in metrics_of(expression):
        if name in _RECORDED:
            wrong += [f"{name}{{{label}}}" for label in labels - _LABELS]
        elif name in KNOWN:
            wrong += [f"{name}{{{label}}}" for label in labels - KNOWN[name] - _SCRAPED]
        elif not name.startswith("jupyterhub_"):
            wrong.append(name)
    return wrong + [f"by {label}" for label in grouped_by(expression) - _LABELS - {"code"}]


def queries_in(template: str) -> list[str]:
    """Find the queries that an annotation makes."""
    texts = re.findall(r'(?:printf|query) "([^"]+)"', template)
    return [text.replace("%s", "x") for text in texts if "berth" in text]


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")
