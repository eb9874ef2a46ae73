from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spawner.policy.gpus import SlotKind
from spawner.sim.fleet import apportion, build, weights


@given(st.integers(0, 500), st.lists(st.integers(1, 100), min_size=1, max_size=8))
def test_seats_are_dealt_out_by_weight(seats: int, odds: list[int]) -> None:
    dealt = Counter(apportion(seats, odds))
    assert dealt.total() == seats
    for index, weight in enumerate(odds):
        assert abs(dealt[index] - seats * weight / sum(odds)) < 1


@pytest.mark.parametrize("gpus", [1, 7, 48, 100, 1000])
def test_a_fleet_has_as_many_gpus_as_asked_for(gpus: int) -> None:
    slots = build(gpus)
    assert len({slot.id for slot in slots}) == len(slots)
    assert len({slot.gpu for slot in slots}) == gpus
    assert sum(weights(slots).values()) == pytest.approx(gpus)
    assert all(count <= 8 for count in Counter(node for node, _ in {(slot.node, slot.gpu) for slot in slots}).values())


def test_a_large_fleet_has_every_kind() -> None:
    slots = build(1000)
    assert {slot.kind for slot in slots} == set(SlotKind)
    assert len({slot.model for slot in slots}) == 4
    assert max(len({slot.island for slot in slots if slot.node == node}) for node in {slot.node for slot in slots}) == 2
