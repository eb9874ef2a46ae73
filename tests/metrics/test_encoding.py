from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.openmetrics.exposition import ALLOWUTF8
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.registry import Collector

from spawner.metrics.encoding import Encoders
from spawner.metrics.metric import Declaration, Histogram, Kind, Samples, Source

OPENMETRICS = "application/openmetrics-text;version=1.0.0"
GAUGE = Declaration("berth_one", Kind.GAUGE, "One.", Source.HUB, ("a", "b"))
COUNTER = Declaration("berth_two_total", Kind.COUNTER, 'Two, "2" \\.', Source.HUB, ("a",))
PLAIN = Declaration("berth_three", Kind.GAUGE, "Three.", Source.HUB)
WAITS = Declaration("berth_waits", Kind.HISTOGRAM, "Waits.", Source.HUB, (), (1.0, 5.0))


class Fixed(Collector):
    def __init__(self, metrics: list[Metric]) -> None:
        self.metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return self.metrics


def by_library(accept: str, metrics: list[Metric]) -> bytes:
    if accept == OPENMETRICS:
        text: bytes = generate_openmetrics(Fixed(metrics), escaping=ALLOWUTF8, version="1.0.0")  # type: ignore[no-untyped-call]
        return text
    return generate_latest(Fixed(metrics))


labels = st.text(st.sampled_from('ab"\\\n #é\u2028'), max_size=3)
floats = st.floats() | st.integers(-(1 << 60), 1 << 60) | st.booleans()


@st.composite
def scrapes(draw: st.DrawFn) -> list[Metric]:
    samples = Samples()
    for pair in draw(st.sets(st.tuples(labels, labels), max_size=3)):
        samples.put(GAUGE, draw(floats), *pair)
    counted = [(label,) for label in draw(st.lists(labels, max_size=3))]  # perhaps one of them twice
    samples.put_all(COUNTER, counted, [draw(st.none() | floats) for _ in counted])
    if draw(st.booleans()):
        samples.put(PLAIN, draw(floats))
    if draw(st.booleans()):
        samples.put_histogram(WAITS, Histogram((1, 2, draw(st.integers(0, 9))), 3.5))
    if draw(st.booleans()):
        samples.declare((COUNTER,))
    return list(samples)


@given(st.lists(scrapes(), min_size=1, max_size=4), st.sampled_from([OPENMETRICS, "text/plain", ""]))
def test_each_scrape_is_what_the_library_writes(series: list[list[Metric]], accept: str) -> None:
    encoders = Encoders()
    for metrics in series:
        assert encoders.choose(accept).write(metrics) == by_library(accept, metrics)


@pytest.mark.parametrize("accept", [OPENMETRICS, "text/plain"])
def test_what_is_more_than_a_value_is_left_to_the_library(accept: str) -> None:
    created = CounterMetricFamily("berth_four", "Four.", labels=["a"])
    created.add_metric(["x"], 4, created=1_700_000_000.5)
    timed = GaugeMetricFamily("berth_five", "Five.", labels=["a"])
    timed.add_metric(["x"], 5, timestamp=1_700_000_000)
    twice = GaugeMetricFamily("berth_six", "Six.", labels=["a"])
    for value in (1, 2):
        twice.add_metric(["x"], value)
    encoder = Encoders().choose(accept)
    for _ in range(2):
        for metrics in ([created], [timed], [twice]):  # none of them made by our own samples
            assert encoder.write(metrics) == by_library(accept, list(metrics))


def test_series_that_are_gone_are_forgotten() -> None:
    encoder = Encoders().choose("")
    for number in range(100):
        samples = Samples()
        samples.put(COUNTER, number, f"of {number}")
        assert f"of {number}".encode() in encoder.write(samples)
    assert len(encoder._written["berth_two"].known) <= 3


def test_many_at_once_are_as_one_after_the_other() -> None:
    one_by_one, at_once = Samples(), Samples()
    series, values = [("a", "x"), ("a", "y"), ("b", "x")], [1, None, 2.5]
    for labels, value in zip(series, values, strict=True):
        one_by_one.put(GAUGE, value, *labels)
    at_once.put_all(GAUGE, series, values)
    assert list(at_once) == list(one_by_one)
    for wrong in ([("a",)], [("a", "x"), ("a", "x", "y")]):
        with pytest.raises(ValueError, match="has the labels a, b"):
            at_once.put_all(GAUGE, wrong, [1.0] * len(wrong))


def test_no_client_fills_the_memory_with_formats() -> None:
    encoders = Encoders()
    for number in range(100):
        accept = f"application/openmetrics-text;version=1.0.{number}"
        assert f"version=1.0.{number};" in encoders.choose(accept).content_type
        assert encoders.choose(accept) is encoders.choose(accept)
    assert len(encoders._encoders) <= 8
