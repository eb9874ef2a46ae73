from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from spawner.gpus.attribution import Attribution, End, Excess, SlotUse, Warn, Watch, attribute, watch
from spawner.gpus.readings import GpuProcess, Processes
from spawner.policy.gpus import Isolation, Slot, SlotKind

NOW = datetime(2026, 11, 21, 8, tzinfo=UTC)
GRACE = timedelta(seconds=60)


def slot(slot_id: str, device: str = "", kind: SlotKind = SlotKind.SHARED) -> Slot:
    gpu = slot_id.partition(":")[0]
    return Slot(slot_id, gpu, "local", kind, "A100", 100, Isolation.COOPERATIVE, device or gpu)


def process(pid: int, memory: int | None, gpu: str = "g", mig: str = "") -> GpuProcess:
    return GpuProcess(pid, gpu, mig, memory)


def use(*memories: int | None, slot_id: str = "g:0", container: str = "ann") -> SlotUse:
    return SlotUse(slot_id, container, tuple(process(10 + n, memory) for n, memory in enumerate(memories)))


def test_each_process_goes_to_the_slot_of_its_container() -> None:
    small, large, unknown = process(1, 10), process(2, 20), process(3, None)
    other, elsewhere, foreign = process(4, 5), process(5, 7, gpu="h"), process(6, 9)
    divided = process(7, 3, gpu="d", mig="MIG-1")
    made = attribute(
        Processes((small, large, unknown, other, elsewhere, foreign, divided)),
        {1: "ann", 2: "ann", 3: "ann", 4: "bob", 5: "ann", 6: None, 7: "eve"},
        {
            "ann": [slot("g:0")],
            "bob": [slot("g:1")],
            "eve": [slot("MIG-1", kind=SlotKind.MIG)],
            "idle": [slot("h:0"), slot("i")],
        },
    )
    assert made == Attribution(
        (
            SlotUse("g:0", "ann", (large, small, unknown)),
            SlotUse("g:1", "bob", (other,)),
            SlotUse("MIG-1", "eve", (divided,)),
            SlotUse("h:0", "idle", ()),
            SlotUse("i", "idle", ()),
        ),
        (elsewhere, foreign),  # Ann has no slot of h
    )
    assert [one.memory for one in made.uses] == [None, 5, 3, 0, 0]


def test_a_gpu_that_could_not_be_read_tells_nothing_of_its_slots() -> None:
    made = attribute(Processes((), frozenset({"g"})), {}, {"ann": [slot("g:0"), slot("h:0")]})
    assert made == Attribution((SlotUse("h:0", "ann", ()),), ())


def test_a_warning_once_then_the_end_of_the_largest() -> None:
    caps = {"g:0": 100}
    first = watch([use(60, 50)], caps, {}, NOW, GRACE)
    excess = Excess("g:0", "ann", 110, 100, NOW)
    assert first.actions == (Warn(excess, NOW + GRACE),)
    second = watch([use(90, 60)], caps, first.over, NOW + GRACE / 2, GRACE)
    assert second.actions == ()
    assert second.over == {"g:0": Excess("g:0", "ann", 150, 100, NOW)}
    for later in (GRACE, GRACE * 2):
        third = watch([use(90, 60)], caps, second.over, NOW + later, GRACE)
        assert third.actions == (End(Excess("g:0", "ann", 150, 100, NOW), 10),)


def test_who_goes_back_in_time_begins_anew() -> None:
    caps = {"g:0": 100}
    over = watch([use(101)], caps, {}, NOW, GRACE).over
    assert watch([use(100)], caps, over, NOW + GRACE, GRACE) == Watch()
    again = watch([use(101)], caps, {}, NOW + GRACE, GRACE)
    assert again.actions == (Warn(Excess("g:0", "ann", 101, 100, NOW + GRACE), NOW + 2 * GRACE),)


def test_the_next_holder_does_not_inherit_a_warning() -> None:
    caps = {"g:0": 100}
    over = watch([use(101)], caps, {}, NOW, GRACE).over
    (action,) = watch([use(101, container="bob")], caps, over, NOW + GRACE * 9, GRACE).actions
    assert isinstance(action, Warn)
    assert action.excess.container == "bob"


def test_what_was_not_seen_changes_nothing() -> None:
    caps = {"g:0": 100}
    over = watch([use(101)], caps, {}, NOW, GRACE).over
    for nothing in ([], [use(500, None)]):
        assert watch(nothing, caps, over, NOW + GRACE, GRACE).over == over
        assert watch(nothing, caps, over, NOW + GRACE, GRACE).actions == ()


def test_slots_that_something_else_bounds_are_let_be() -> None:
    over = watch([use(101)], {"g:0": 100}, {}, NOW, GRACE).over
    assert watch([use(500)], {}, over, NOW + GRACE, GRACE).actions == ()
    assert watch([use(500)], {}, over, NOW + GRACE, GRACE).over == {}


@given(readings=st.lists(st.tuples(st.integers(0, 200), st.integers(1, 90)), max_size=20))
def test_nobody_is_ended_without_a_warning_and_the_whole_grace_over_the_cap(readings: list[tuple[int, int]]) -> None:
    caps, now = {"g:0": 100}, NOW
    over: dict[str, Excess] = {}
    warned: datetime | None = None
    for memory, seconds in readings:
        now += timedelta(seconds=seconds)
        decided = watch([use(memory)], caps, over, now, GRACE)
        over = dict(decided.over)
        if memory <= 100:
            assert decided.actions == ()
            warned = None
            continue
        if warned is None:
            (action,) = decided.actions
            assert isinstance(action, Warn)
            warned = now
        elif now - warned >= GRACE:
            (action,) = decided.actions
            assert isinstance(action, End)
        else:
            assert decided.actions == ()
