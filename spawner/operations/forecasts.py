"""When those who wait are likely served: remembered for some seconds where it takes long to work out.

With a thousand GPUs and five hundred in the queue that takes half a second, and everybody who waits looks every five
seconds. What is cheap is worked out each time.
"""

import threading
import time
from collections.abc import Callable, Collection
from datetime import datetime, timedelta

from ..errors import BerthError
from ..policy.pool import Pool
from ..policy.queue import Serving

_CHEAP = 0.05  # seconds of this process
_FRESH, _KEPT = timedelta(seconds=5), timedelta(seconds=60)

Work = Callable[[], list[Serving]]


class ForecastBook:
    """The last forecast. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # One value, for threads read it while others renew it.
        self._kept: tuple[datetime, list[Serving]] | None = None
        self._renewing = False

    def servings(self, pool: Pool, now: datetime, wanted: Collection[str], work: Work, again: Work) -> list[Serving]:
        """Give who waits, next first, each with what they can have and when.

        Parameters
        ----------
        wanted
            Ids of tickets that have to be in it, though they came only now.
        work, again
            Make the forecast: from this pool, and from one that is read anew, in another thread.
        """
        known = self._known(pool, now, wanted)
        if known is None:
            with self._lock:  # whoever waited here finds what another has worked out
                known = self._known(pool, now, wanted)
                if known is None:
                    return self._make(now, work)
        elif self._kept is not None and now - self._kept[0] > _FRESH:
            self._renew(now, again)
        return known

    def _known(self, pool: Pool, now: datetime, wanted: Collection[str]) -> list[Serving] | None:
        kept = self._kept
        if kept is None or not timedelta(0) <= now - kept[0] <= _KEPT:
            return None
        still = [serving for serving in kept[1] if serving.ticket.id in pool.queue]
        if not {serving.ticket.id for serving in still}.issuperset(wanted):
            return None
        return [serving._replace(position=place) for place, serving in enumerate(still, start=1)]

    def _make(self, now: datetime, work: Work) -> list[Serving]:
        begun = time.thread_time()
        made = work()
        self._kept = (now, made) if time.thread_time() - begun > _CHEAP else None
        return made

    def _renew(self, now: datetime, again: Work) -> None:
        if self._renewing:
            return
        self._renewing = True

        def run() -> None:
            try:
                self._make(now, again)
            except BerthError:
                pass  # the old one stays, and the next reader tries again
            finally:
                self._renewing = False

        threading.Thread(target=run, daemon=True, name="forecast").start()
