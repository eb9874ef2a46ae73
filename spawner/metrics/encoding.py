"""From metrics to the text that Prometheus reads, as prometheus-client writes it.

A series' name and labels are the same at each scrape, and prometheus-client takes longer to write them than all else
takes. So it is asked once for each, and what it wrote before the value is remembered.
"""

import functools
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from prometheus_client import utils
from prometheus_client.core import Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.openmetrics.exposition import ALLOWUTF8
from prometheus_client.registry import Collector

from .metric import Family, Series

_EOF = "# EOF\n"
_FORMATS = 8
# Most values are those of the scrape before, or small numbers that many things have.
_number: Callable[[float], str] = functools.lru_cache(maxsize=1 << 13)(utils.floatToGoString)


class _Registry(Collector):
    """What the encoders of prometheus-client take."""

    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return self._metrics


@dataclass(frozen=True, slots=True)
class _Written:
    """How a metric is written.

    Attributes
    ----------
    head
        Help and type.
    known
        What stands before the value of each series, some of which may be gone.
    series, before
        Those of the last scrape, and what stands before their values.
    """

    head: str
    known: Mapping[Series, str]
    series: Sequence[Series]
    before: Sequence[str]

    def fill_in(self, values: Iterable[float]) -> str:
        lines = map(operator.add, self.before, map(_number, values))
        return "\n".join((self.head, *lines, ""))


class Encoder:
    """Writes metrics in one format; thread-safe.

    Parameters
    ----------
    encode
        The library's.

    Attributes
    ----------
    content_type
        Of the format.
    """

    def __init__(self, encode: Callable[[Collector], bytes], content_type: str) -> None:
        self._encode, self.content_type = encode, content_type
        self._end = encode(_Registry([])).decode()
        self._written: dict[str, _Written] = {}

    def write(self, metrics: Iterable[Metric]) -> bytes:
        """Write what the library would."""
        written: dict[str, _Written] = {}
        texts = []
        for metric in metrics:
            if isinstance(metric, Family) and (how := self._how(metric)) is not None:
                written[metric.name] = how
                texts.append(how.fill_in(metric.values))
            else:
                texts.append(self._by_library(metric))
        self._written = written
        return "".join((*texts, self._end)).encode()

    def _how(self, family: Family) -> _Written | None:
        """Tell how a metric is written; None for one that is to be left to the library."""
        last = self._written.get(family.name)
        if last is not None and last.series == family.series:
            return last
        series = set(family.series)
        if len(series) != len(family.series):
            return None
        known = {} if last is None else last.known
        if len(known) > 2 * len(series):  # most are gone
            known = {one: known[one] for one in series if one in known}
        new = [one for one in family.series if one not in known]
        head, lines = _taken_apart(self._by_library(family.of(new, [0.0] * len(new))))
        known = {**known, **dict(zip(new, lines, strict=True))}
        return _Written(head, known, list(family.series), [known[one] for one in family.series])

    def _by_library(self, metric: Metric) -> str:
        return self._encode(_Registry([metric])).decode().removesuffix(_EOF)


def _taken_apart(text: str) -> tuple[str, list[str]]:
    """Give the head of what the library wrote, and what stands before the value in each of the lines after it."""
    lines = text.split("\n")[:-1]
    head = [line for line in lines if line.startswith("#")]
    return "\n".join(head), [line[: line.rindex(" ") + 1] for line in lines[len(head) :]]


class Encoders:
    """The encoder for what each client accepts."""

    def __init__(self) -> None:
        self._encoders: dict[str, Encoder] = {}

    def choose(self, accept: str) -> Encoder:
        """Choose by a header ``Accept``."""
        encode, content_type = choose_encoder(accept)
        if isinstance(encode, functools.partial):
            # Our names need no escaping, and to find that out anew for each letter takes as long as all the rest.
            encode = functools.partial(encode, escaping=ALLOWUTF8)
        if content_type not in self._encoders and len(self._encoders) >= _FORMATS:
            self._encoders.clear()  # a format's version is the client's to name
        return self._encoders.setdefault(content_type, Encoder(encode, content_type))
