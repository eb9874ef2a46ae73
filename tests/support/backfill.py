"""A time that is over, written into a real Prometheus: what was scraped then, and what its rules make of it."""

import contextlib
import subprocess
from collections.abc import Collection, Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import requests
import yaml
from prometheus_client.core import Metric

from .ports import free_ports
from .processes import process, wait_for_http
from .prometheus import Prometheus, metrics_of

# Backfilled series have no marks of staleness. With this a sample lasts until the next scrape, as with marks.
_LOOKBACK = "14999ms"


class Scrapes:
    """Text in the OpenMetrics format of all that was scraped, sorted by series.

    Parameters
    ----------
    wanted
        Names of the metrics to be kept.
    """

    def __init__(self, wanted: Collection[str]) -> None:
        self._wanted = frozenset(wanted)
        self._types: dict[str, str] = {}
        self._series: dict[str, dict[tuple[str, str, tuple[tuple[str, str], ...]], list[str]]] = {}

    def put(self, job: str, at: datetime, metrics: Iterable[Metric]) -> None:
        time = f"{at.timestamp():.3f}"
        for metric in metrics:
            for sample in metric.samples:
                if sample.name in self._wanted:
                    self._types[metric.name] = metric.type
                    key = job, sample.name, tuple(sample.labels.items())
                    series = self._series.setdefault(metric.name, {})
                    series.setdefault(key, []).append(f"{float(sample.value)!r} {time}")

    def write(self, path: Path) -> None:
        with path.open("w", encoding="utf-8") as file:
            for family, series in self._series.items():
                file.write(f"# TYPE {family} {self._types[family]}\n")
                for (job, name, labels), samples in series.items():
                    told = (*labels, ("job", job), ("instance", f"{job}:1"))
                    text = ",".join(f'{label}="{value}"' for label, value in told)
                    file.writelines(f"{name}{{{text}}} {sample}\n" for sample in samples)
            file.write("# EOF\n")


class History:
    """A Prometheus' data directory, and one Prometheus after the other that serves it."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._data = folder, folder / "data"
        self._configuration = folder / "prometheus.yml"
        self._configuration.write_text("{}")

    def take(self, scrapes: Scrapes) -> None:
        text = self._folder / "scrapes.txt"
        scrapes.write(text)
        promtool("tsdb", "create-blocks-from", "openmetrics", "--quiet", text, self._data)
        text.unlink()

    def follow(self, group: dict[str, Any], begin: datetime, end: datetime) -> None:
        """Record what a group of rules gives from `begin` to `end`.

        Prometheus evaluates the rules of a group in order, each with what those before it gave. promtool has each one
        ask a Prometheus that knows only what is on its disk, so that rules of others come after them. All are written
        under one name, without its folder: the fraction of the interval at which a group is evaluated depends on that.
        """
        path = self._folder / "rules.yml"
        for rules in stages(group["rules"]):
            path.write_text(yaml.safe_dump({"groups": [{**group, "rules": rules}]}, width=1000))
            edges = [f"--start={begin.timestamp():.0f}", f"--end={end.timestamp():.0f}"]
            with self.served() as server:
                promtool(
                    *("tsdb", "create-blocks-from", "rules", "--quiet", f"--url={server.url}"),
                    *(*edges, f"--output-dir={self._data}", path.name),
                    folder=self._folder,
                )

    @contextlib.contextmanager
    def served(self) -> Iterator[Prometheus]:
        """Run a Prometheus over what there is on disk."""
        port, log = free_ports(1)[0], self._folder / "prometheus.log"
        command = [
            "prometheus",
            f"--config.file={self._configuration}",
            f"--storage.tsdb.path={self._data}",
            f"--web.listen-address=127.0.0.1:{port}",
            f"--query.lookback-delta={_LOOKBACK}",
        ]
        with process(command, log, cwd=self._folder) as started:
            wait_for_http(f"http://127.0.0.1:{port}/-/ready", started, log)
            yield Prometheus(f"http://127.0.0.1:{port}")


def stages(rules: Iterable[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Sort rules so that none asks for what one of the same stage, or of a later one, records."""
    left, sorted_ = list(rules), []
    while left:
        later = {rule["record"] for rule in left}
        now = [rule for rule in left if not later & {name for name, _ in metrics_of(rule["expr"])}]
        assert now, f"rules in a circle: {later}"
        sorted_.append(now)
        left = [rule for rule in left if rule not in now]
    return sorted_


def needed_for(wanted: Collection[str], rules: Iterable[dict[str, Any]]) -> tuple[list[dict[str, Any]], set[str]]:
    """Give the rules that it takes to record some series, in their order, and the metrics that these ask for."""
    by_name = {rule["record"]: rule for rule in rules}
    asked, found = list(wanted), set[str]()
    while asked:
        if (name := asked.pop()) not in found:
            found.add(name)
            asked += [other for other, _ in metrics_of(by_name[name]["expr"])] if name in by_name else []
    return [rule for name, rule in by_name.items() if name in found], found - set(by_name)


def promtool(*arguments: str | Path, folder: Path | None = None) -> None:
    done = subprocess.run(["promtool", *arguments], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def ask(server: Prometheus, expression: str, at: datetime) -> list[dict[str, Any]]:
    """Ask about a moment that is over.

    Raises
    ------
    AssertionError
        With Prometheus' words, if it refuses.
    """
    answer = requests.get(
        f"{server.url}/api/v1/query", {"query": expression, "time": f"{at.timestamp():.3f}"}, timeout=30
    ).json()
    assert answer["status"] == "success", f"{expression}: {answer}"
    return list(answer["data"]["result"])
