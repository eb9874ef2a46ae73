"""What seats cost the hub while their class meets: each asks what is new, and reports, every few seconds."""

import statistics
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import requests

from spawner.pages.class_views import POLL_SECONDS

from .clocks import process_seconds

_ALONE = 300  # requests of each kind, one after the other
_SECONDS = 30.0
_ROUND = 2  # requests
_THREADS = 8


@dataclass(frozen=True)
class Questions:
    """What was measured.

    Attributes
    ----------
    own, report, stock
        The hub's CPU milliseconds for a seat's question, its report, and JupyterHub's own answer to who asks.
    core
        The share of a core that the hub takes for a whole class at its pace.
    slow
        Milliseconds within which 95 of 100 of its requests are answered meanwhile.
    """

    own: float
    report: float
    stock: float
    core: float
    slow: float


def ask(url: str, hub_pid: int, tokens: Sequence[str]) -> Questions:
    """Ask as the seats of a class do, one request after the other and then all at their pace.

    Parameters
    ----------
    tokens
        Each seat's server's own.
    """
    with requests.Session() as session:
        session.mount("http://", requests.adapters.HTTPAdapter(pool_maxsize=_THREADS))

        def send(token: str, method: str, path: str, body: object = None) -> None:
            headers = {"Authorization": f"token {token}"}
            session.request(method, f"{url}/hub/api/{path}", json=body, headers=headers, timeout=60).raise_for_status()

        def question(token: str) -> None:
            send(token, "GET", "berth/lease")

        def report(token: str) -> None:
            send(token, "POST", "berth/lease/report", {"busy_kernels": 0, "present": True})

        def turn(token: str) -> None:
            question(token)
            report(token)

        own = _alone(question, hub_pid, tokens)
        reported = _alone(report, hub_pid, tokens)
        stock = _alone(lambda token: send(token, "GET", "user"), hub_pid, tokens)
        core, slow = _together(turn, hub_pid, tokens)
    return Questions(own, reported, stock, core, slow)


def _alone(request: Callable[[str], object], hub_pid: int, tokens: Sequence[str]) -> float:
    for token in tokens[:10]:
        request(token)
    before = process_seconds(hub_pid)
    for number in range(_ALONE):
        request(tokens[number % len(tokens)])
    return (process_seconds(hub_pid) - before) * 1000 / _ALONE


def _together(turn: Callable[[str], object], hub_pid: int, tokens: Sequence[str]) -> tuple[float, float]:
    """Let each seat take its turns; gives the share of a core, and the slow turns' milliseconds for a request."""
    takes: list[float] = []
    lock = threading.Lock()

    def timed(token: str) -> None:
        began = time.perf_counter()
        turn(token)
        with lock:
            takes.append((time.perf_counter() - began) * 1000 / _ROUND)

    pause = POLL_SECONDS / len(tokens)
    before, began = process_seconds(hub_pid), time.perf_counter()
    with ThreadPoolExecutor(_THREADS) as pool:
        done = []
        for number in range(int(_SECONDS / pause)):
            done.append(pool.submit(timed, tokens[number % len(tokens)]))
            time.sleep(max(0.0, began + (number + 1) * pause - time.perf_counter()))
        for one in done:
            one.result()
    seconds = time.perf_counter() - began
    core = (process_seconds(hub_pid) - before) / seconds
    return core, statistics.quantiles(takes, n=20)[-1]
