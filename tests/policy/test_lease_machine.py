from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from ..support.lease_book import LeaseBook, MemoryBook
from ..support.lease_machine import HUB, LeaseMachine


class InMemory(LeaseMachine):
    def make_book(self) -> LeaseBook:
        return MemoryBook(HUB, self.clock)


def test_whatever_happens_to_leases_in_memory() -> None:
    run_state_machine_as_test(InMemory, settings=settings(max_examples=250, stateful_step_count=40, deadline=None))
