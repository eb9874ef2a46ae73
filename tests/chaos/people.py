"""Users who start, stop, extend and wait at random, through the hub's API."""

import contextlib
import random
import threading
import time
from collections import Counter

import requests

from ..support.berth import Berth

_ANSWER_SECONDS = 30


class People:
    """Threads, one per user, that act until told to rest.

    Attributes
    ----------
    said
        How often the hub answered what to what; ``lost`` where it did not answer.
    """

    def __init__(self, berth: Berth, seed: int, count: int) -> None:
        self._berth = berth
        self.names = [f"user{number}" for number in range(count)]
        self.said: Counter[str] = Counter()
        self._acting = threading.Event()
        self._over = threading.Event()
        self._busy = 0
        self._lock = threading.Condition()
        self._threads = [
            threading.Thread(target=self._live, args=(name, random.Random(f"{seed}/{name}")), daemon=True)
            for name in self.names
        ]
        for thread in self._threads:
            thread.start()

    def act(self) -> None:
        self._acting.set()

    def rest(self) -> None:
        """Return when nobody is in the middle of something."""
        self._acting.clear()
        with self._lock:
            assert self._lock.wait_for(lambda: self._busy == 0, 2 * _ANSWER_SECONDS), "users who never rest"

    def close(self) -> None:
        self._over.set()
        self._acting.set()
        for thread in self._threads:
            thread.join(2 * _ANSWER_SECONDS)

    def _live(self, user: str, dice: random.Random) -> None:
        while not self._over.is_set():
            self._acting.wait()
            with self._lock:
                self._busy += 1
            try:
                if self._acting.is_set() and not self._over.is_set():
                    self._do_something(user, dice)
            finally:
                with self._lock:
                    self._busy -= 1
                    self._lock.notify_all()
            self._over.wait(dice.uniform(0.2, 2.5))

    def _do_something(self, user: str, dice: random.Random) -> None:
        action = dice.choices(["start", "stop", "extend", "wait"], [6, 1, 1, 3])[0]
        # Few lengths: an offer is for what was asked for, and one who asks for something else declines it.
        seconds = dice.choice([6.0, 6.0, 6.0, 20.0])
        if_busy = dice.choices(["queue", "cpu", "refuse"], [8, 1, 1])[0]
        at_cpu = dice.random() < 0.1
        if action == "start":
            options = {"profile": "cpu"} if at_cpu else {"profile": "gpu", "hours": seconds / 3600, "if_busy": if_busy}
            self._ask(user, action, "POST", f"users/{user}/server", options)
        elif action == "stop":
            self._ask(user, action, "DELETE", f"users/{user}/server")
        elif action == "extend":
            self._ask(user, action, "POST", f"berth/lease/extend?user={user}&server=", {"hours": seconds / 7200})

    def stop_all(self) -> None:
        """Stop every server that runs; those who wait go on waiting."""
        for name in self.names:
            self._ask(name, "stop", "DELETE", f"users/{name}/server")

    def _ask(self, user: str, action: str, method: str, path: str, body: object = None) -> None:
        try:
            answer = self._berth.api(method, path, body, timeout=_ANSWER_SECONDS)
        except requests.RequestException:
            self.said[f"{action} lost"] += 1
            return
        reason = ""
        if not answer.ok:
            with contextlib.suppress(ValueError):
                reason = f" {answer.json().get('reason') or answer.reason or ''}"
        self.said[f"{action} {answer.status_code}{reason}"] += 1


def wait_until(end: float) -> None:
    time.sleep(max(0.0, end - time.monotonic()))
