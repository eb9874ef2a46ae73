"""What is cheap is told as it is; what takes long as it was some seconds ago, but never without who asks."""

import threading
import time
from datetime import timedelta

from spawner.operations.forecasts import ForecastBook
from spawner.policy.pool import Pool
from spawner.policy.queue import Serving

from ..policy.pools import NOW, at, ticket
from ..support.waiting import eventually


class Worker:
    """Makes forecasts of a pool, and counts them."""

    def __init__(self, pool: Pool, seconds: float = 0.0) -> None:
        self.pool, self.seconds, self.made = pool, seconds, 0
        self.elsewhere = 0

    def __call__(self) -> list[Serving]:
        self.made += 1
        self.elsewhere += threading.current_thread() is not threading.main_thread()
        end = time.thread_time() + self.seconds
        while time.thread_time() < end:
            pass
        return [Serving(one, place, None) for place, one in enumerate(self.pool.queue.values(), start=1)]


def told(servings: list[Serving]) -> list[tuple[str, int]]:
    return [(serving.ticket.id, serving.position) for serving in servings]


def test_what_is_cheap_is_worked_out_each_time() -> None:
    pool, book = Pool([], queue=[ticket("a"), ticket("b")]), ForecastBook()
    work = Worker(pool)
    for _ in range(3):
        assert told(book.servings(pool, NOW, {"b"}, work, work)) == [("a", 1), ("b", 2)]
    assert (work.made, work.elsewhere) == (3, 0)


def test_what_takes_long_is_remembered_for_who_is_in_it() -> None:
    pool, book = Pool([], queue=[ticket("a"), ticket("b"), ticket("c")]), ForecastBook()
    work = Worker(pool, 0.06)
    book.servings(pool, NOW, {"c"}, work, work)
    pool.drop_ticket("b")
    assert told(book.servings(pool, at(1 / 60), {"c"}, work, work)) == [("a", 1), ("c", 2)]
    assert work.made == 1
    pool.put_ticket(ticket("d"))
    assert told(book.servings(pool, at(1 / 60), {"d"}, work, work)) == [("a", 1), ("c", 2), ("d", 3)]
    assert (work.made, work.elsewhere) == (2, 0)


def test_it_is_renewed_behind_its_readers_backs_and_not_kept_for_ever() -> None:
    pool, book = Pool([], queue=[ticket("a")]), ForecastBook()
    work = Worker(pool, 0.06)
    book.servings(pool, NOW, {"a"}, work, work)
    book.servings(pool, NOW + timedelta(seconds=10), {"a"}, work, work)
    eventually(lambda: work.elsewhere == 1)
    book.servings(pool, NOW + timedelta(seconds=12), {"a"}, work, work)
    assert work.made == 2
    book.servings(pool, NOW + timedelta(minutes=5), {"a"}, work, work)
    assert (work.made, work.elsewhere) == (3, 1)
