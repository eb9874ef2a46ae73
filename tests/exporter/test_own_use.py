import os

from prometheus_client import PLATFORM_COLLECTOR, PROCESS_COLLECTOR
from prometheus_client.core import Metric

from spawner.exporter.own_use import OwnUse


def test_it_tells_what_the_librarys_collectors_tell() -> None:
    def described(metrics: list[Metric]) -> list[tuple[str, str, str]]:
        return sorted((one.name, one.type, one.documentation) for one in metrics)

    own = {one.name: one for one in OwnUse().collect()}
    theirs = {one.name: one for one in [*PROCESS_COLLECTOR.collect(), *PLATFORM_COLLECTOR.collect()]}
    assert described(list(own.values())) == described(list(theirs.values()))
    for name in ("process_start_time_seconds", "process_max_fds", "python_info"):
        assert own[name].samples == theirs[name].samples
    assert 0 < own["process_cpu_seconds"].samples[0].value <= theirs["process_cpu_seconds"].samples[0].value


def test_open_files_are_counted() -> None:
    def told() -> float:
        return next(one.samples[0].value for one in OwnUse().collect() if one.name == "process_open_fds")

    before = told()
    opened = [os.open(os.devnull, os.O_RDONLY) for _ in range(10)]
    assert told() == before + 10
    for one in opened:
        os.close(one)
