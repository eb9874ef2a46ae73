"""A real Prometheus for tests: scrapes every second, follows Berth's rules, answers queries."""

import contextlib
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
import yaml

from .npm import ROOT
from .ports import free_ports
from .processes import process, wait_for_http

RULES = ROOT / "deploy/prometheus"
_EVERY = "1s"


@dataclass(frozen=True)
class Prometheus:
    url: str

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Ask at this moment.

        Raises
        ------
        AssertionError
            With Prometheus' words, if it refuses.
        """
        answer = requests.get(f"{self.url}/api/v1/query", {"query": expression}, timeout=30).json()
        assert answer["status"] == "success", f"{expression}: {answer}"
        return list(answer["data"]["result"])

    def rules(self) -> list[dict[str, Any]]:
        groups = requests.get(f"{self.url}/api/v1/rules", timeout=30).json()["data"]["groups"]
        return [
            rule | {"group": group["name"], "evaluated": group["lastEvaluation"]}
            for group in groups
            for rule in group["rules"]
        ]

    def targets(self) -> dict[str, str]:
        """Give the last error of each job, empty for none."""
        found = requests.get(f"{self.url}/api/v1/targets", timeout=30).json()["data"]["activeTargets"]
        return {
            target["labels"]["job"]: target["lastError"] or ("" if target["health"] == "up" else "not yet")
            for target in found
        }


def quick_rules(folder: Path) -> list[str]:
    """Copy the rules, with all their groups evaluated every second; hours count as many seconds then."""
    written = []
    for path in sorted(RULES.glob("*.yml")):
        content = yaml.safe_load(path.read_text())
        for group in content["groups"]:
            group["interval"] = _EVERY
            for rule in group["rules"]:
                rule["expr"] = rule["expr"].replace("offset 15s", f"offset {_EVERY}")
        (folder / path.name).write_text(yaml.safe_dump(content, sort_keys=False, width=1000))
        written.append(str(folder / path.name))
    return written


@contextlib.contextmanager
def prometheus(folder: Path, scraped: Sequence[Mapping[str, Any]]) -> Iterator[Prometheus]:
    """Run one over scrape configurations; gone in the end."""
    configuration = {
        "global": {"scrape_interval": _EVERY, "scrape_timeout": _EVERY, "evaluation_interval": _EVERY},
        "rule_files": quick_rules(folder),
        "scrape_configs": [dict(job) for job in scraped],
    }
    path = folder / "prometheus.yml"
    path.write_text(yaml.safe_dump(configuration))
    port = free_ports(1)[0]
    command = [
        "prometheus",
        f"--config.file={path}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with process(command, folder / "prometheus.log", cwd=folder) as started:
        wait_for_http(f"http://127.0.0.1:{port}/-/ready", started, folder / "prometheus.log")
        yield Prometheus(f"http://127.0.0.1:{port}")


def job(name: str, port: int, path: str = "/metrics", token: str = "") -> dict[str, Any]:
    more = {"authorization": {"credentials": token}} if token else {}
    return {"job_name": name, "metrics_path": path, "static_configs": [{"targets": [f"127.0.0.1:{port}"]}], **more}


def after(seconds: float, question: Any, given: float = 30) -> Any:
    """Ask for so long until nothing is missing any more; gives the last answer, which names what is."""
    end = time.monotonic() + given
    while (missing := question()) and time.monotonic() < end:
        time.sleep(seconds)
    return missing


# --- what a query names --------------------------------------------------------------------------------------------

_WORDS = {
    *("and", "or", "unless", "by", "without", "on", "ignoring", "group_left", "group_right", "bool", "offset", "inf"),
}


def metrics_of(expression: str) -> list[tuple[str, set[str]]]:
    """Give each metric that a query names, with the labels of its selector."""
    bare = re.sub(r'"[^"]*"|\'[^\']*\'', '""', expression)
    bare = re.sub(r"\b(by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)", " ", bare)
    bare = re.sub(r"\[[^\]]*\]", "", bare)
    found = []
    for match in re.finditer(r"(?<![\w:$])([a-zA-Z_:][\w:]*)\s*(\(|\{([^}]*)\})?", bare):
        name, opens, selector = match[1], match[2], match[3]
        if name in _WORDS or opens == "(":
            continue
        found.append((name, set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", selector or ""))))
    return found


def grouped_by(expression: str) -> set[str]:
    """Give the labels by which a query groups and joins."""
    bare = re.sub(r'"[^"]*"|\'[^\']*\'', '""', expression)
    lists = re.findall(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)", bare)
    return {label.strip() for each in lists for label in each.split(",") if label.strip()}
