from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spawner.errors import SettingsInvalid, UnknownName
from spawner.gpus.readings import GpuReading, Health, Inventory, MigInstance
from spawner.gpus.slots import Layout, Share, lay_out
from spawner.policy.gpus import Gpu, Isolation, Slot, SlotKind

GIB = 1 << 30
A = GpuReading("GPU-a", 0, "A100", 40 * GIB, "8.0", "left")
B = GpuReading("GPU-b", 1, "A100", 40 * GIB, "8.0", "left")
T = GpuReading("GPU-t", 2, "T4", 16 * GIB, "7.5")
HALVES = (MigInstance("MIG-1", "3g.20gb", 20 * GIB), MigInstance("MIG-2", "3g.20gb", 19 * GIB))
DIVIDED = GpuReading("GPU-d", 3, "A100", 40 * GIB, "8.0", mig_mode=True, mig=HALVES)


def laid_out(*gpus: GpuReading, sharing: Mapping[str, Share] | None = None, simulated: bool = False) -> Layout:
    return lay_out(Inventory(gpus, "550.54.15", "12.4", simulated=simulated), sharing or {})


def counts(layout: Layout) -> dict[str, int]:
    return {gpu.uuid: sum(slot.gpu == gpu.uuid for slot in layout.slots) for gpu in layout.gpus}


def test_a_whole_gpu_is_one_slot() -> None:
    layout = laid_out(A)
    assert layout.gpus == (Gpu("GPU-a", "local", 0, "A100", 40 * GIB, "left", "8.0", "550.54.15"),)
    assert layout.slots == (
        Slot("GPU-a", "GPU-a", "local", SlotKind.EXCLUSIVE, "A100", 40 * GIB, Isolation.HARDWARE, "GPU-a", "left"),
    )
    assert layout.notes == ()


def test_mig_instances_are_slots() -> None:
    assert laid_out(DIVIDED).slots == tuple(
        Slot(uuid, "GPU-d", "local", SlotKind.MIG, "A100", memory * GIB, Isolation.HARDWARE, uuid)
        for uuid, memory in (("MIG-1", 20), ("MIG-2", 19))
    )


def test_shares() -> None:
    layout = lay_out(
        Inventory((T,), "550", simulated=True),
        {"gpu2": Share(3)},
        node="here",
        enforced={"GPU-t": Isolation.MPS},
    )
    assert layout.slots == tuple(
        Slot(
            f"GPU-t:{number}",
            "GPU-t",
            "here",
            SlotKind.SHARED,
            "T4",
            16 * GIB // 3,
            Isolation.MPS,
            "GPU-t",
            simulated=True,
        )
        for number in range(3)
    )
    assert layout.gpus[0].name == "here-gpu2"


def test_shares_are_cooperative_where_nothing_else_is_known() -> None:
    assert {slot.isolation for slot in laid_out(A, sharing={"*": Share(2)}).slots} == {Isolation.COOPERATIVE}


def test_the_most_specific_entry_counts() -> None:
    sharing = {"*": Share(2), "A100": Share(3), "gpu1": Share(4), "GPU-t": Share(5)}
    assert counts(laid_out(A, B, T, sharing=sharing)) == {"GPU-a": 3, "GPU-b": 4, "GPU-t": 5}
    sharing |= {"gpu0": Share(1), "gpu2": Share(7)}
    assert counts(laid_out(A, B, T, sharing=sharing)) == {"GPU-a": 1, "GPU-b": 4, "GPU-t": 5}
    assert laid_out(A, sharing={"*": Share(2), "gpu0": Share(1)}).slots[0].kind is SlotKind.EXCLUSIVE


def test_both_names_of_a_gpu_in_a_cluster() -> None:
    inventory = Inventory((A, B))
    layout = lay_out(inventory, {"gpu0": Share(2), "node1-gpu1": Share(3)}, node="node1")
    assert counts(layout) == {"GPU-a": 2, "GPU-b": 3}


def test_the_memory_of_a_share_may_be_given() -> None:
    layout = laid_out(T, sharing={"T4": Share(4, 3 * GIB)})
    assert [slot.memory for slot in layout.slots] == [3 * GIB] * 4
    with pytest.raises(SettingsInvalid, match=r"T4: 4 shares of 5 GiB do not fit on gpu2, which has 16 GiB"):
        laid_out(T, sharing={"T4": Share(4, 5 * GIB)})


@pytest.mark.parametrize(("count", "memory"), [(0, None), (-1, None), (2, 0), (1, GIB)])
def test_shares_that_cannot_be(count: int, memory: int | None) -> None:
    with pytest.raises(ValueError, match="share"):
        Share(count, memory)


def test_unknown_names_are_refused_and_the_known_ones_told() -> None:
    with pytest.raises(UnknownName) as raised:
        laid_out(A, T, sharing={"gpu9": Share(2), "*": Share(2), "H100": Share(2)})
    assert str(raised.value) == (
        "gpu_shares: there is no GPU H100, gpu9 here; this host has gpu0, gpu2 (A100, T4). "
        "Give a name, a UUID, a model, or * for all."
    )
    with pytest.raises(UnknownName, match="this host has no GPUs"):
        laid_out(sharing={"gpu0": Share(2)})
    # One that was there and has vanished must not stop everything.
    assert lay_out(Inventory((A,)), {"gpu9": Share(2)}, known={"gpu9"}).slots[0].id == "GPU-a"


def test_a_mig_gpu_without_instances_says_so() -> None:
    layout = laid_out(GpuReading("GPU-d", 3, "A100", 40 * GIB, mig_mode=True))
    assert layout.slots == ()
    (note,) = layout.notes
    assert note.startswith("gpu3 is in MIG mode and has no instances")


def test_shares_of_a_mig_gpu_have_no_effect_and_it_says_so() -> None:
    layout = laid_out(DIVIDED, sharing={"gpu3": Share(4)})
    assert [slot.kind for slot in layout.slots] == [SlotKind.MIG] * 2
    assert layout.notes == ("gpu3 is in MIG mode: its instances are leased, and not the shares set for gpu3.",)
    assert laid_out(DIVIDED, sharing={"*": Share(4)}).notes == ()


def test_a_failing_gpu_keeps_its_slots_but_they_are_not_usable() -> None:
    ill = GpuReading("GPU-a", 0, "A100", 40 * GIB, health=Health(lost=True, problem="It is gone."))
    layout = laid_out(ill, B)
    assert [(slot.id, slot.usable) for slot in layout.slots] == [("GPU-a", False), ("GPU-b", True)]
    assert [(gpu.healthy, gpu.problem) for gpu in layout.gpus] == [(False, "It is gone."), (True, "")]


def test_what_could_not_be_read_has_no_slots() -> None:
    blank = GpuReading("GPU-x", 4, "unknown", 0, health=Health(problem="No answer."))
    layout = lay_out(Inventory((blank,), unidentified=("GPU 7 of this host: No answer.",)), {"*": Share(2)})
    assert layout.slots == ()
    assert layout.notes == (
        "GPU 7 of this host: No answer. It has no slots.",
        "gpu4 could never be read, so its memory is unknown and it has no slots.",
    )


# --- properties ---------------------------------------------------------------------------------------------------

MEMORIES = st.integers(16, 200 * GIB)


@st.composite
def inventories(draw: st.DrawFn) -> Inventory:
    gpus = []
    for index in range(draw(st.integers(0, 6))):
        memory = draw(MEMORIES)
        mode = draw(st.booleans())
        parts = draw(st.integers(0, 4)) if mode else 0
        gpus.append(
            GpuReading(
                f"GPU-{index}",
                index,
                draw(st.sampled_from(["A100", "T4"])),
                memory,
                mig_mode=mode,
                mig=tuple(MigInstance(f"MIG-{index}-{part}", "1g", memory // 4) for part in range(parts)),
                health=Health(problem=draw(st.sampled_from(["", "bad"]))),
            )
        )
    return Inventory(tuple(gpus))


@given(inventory=inventories(), every=st.integers(1, 9), model=st.integers(1, 9))
def test_slots_are_unique_stable_and_never_more_than_the_gpu(inventory: Inventory, every: int, model: int) -> None:
    sharing = {"*": Share(every)}
    if any(gpu.model == "T4" for gpu in inventory.gpus):
        sharing["T4"] = Share(model)
    layout = lay_out(inventory, sharing)
    ids = [slot.id for slot in layout.slots]
    assert len(set(ids)) == len(ids)
    backwards = Inventory(tuple(reversed(inventory.gpus)))
    assert set(lay_out(backwards, sharing).slots) == set(layout.slots)
    for reading, gpu in zip(inventory.gpus, layout.gpus, strict=True):
        slots = [slot for slot in layout.slots if slot.gpu == gpu.uuid]
        assert sum(slot.memory for slot in slots) <= gpu.memory
        assert all(slot.memory > 0 for slot in slots)
        assert {slot.usable for slot in slots} <= {not reading.health.problem}
        if reading.mig_mode:
            assert [slot.device for slot in slots] == [instance.uuid for instance in reading.mig]
            assert {slot.kind for slot in slots} <= {SlotKind.MIG}
            continue
        shares = model if reading.model == "T4" else every
        assert len(slots) == shares
        assert {slot.kind for slot in slots} == {SlotKind.SHARED if shares > 1 else SlotKind.EXCLUSIVE}
        assert {slot.device for slot in slots} == {gpu.uuid}
        hard = {SlotKind.EXCLUSIVE: Isolation.HARDWARE, SlotKind.SHARED: Isolation.COOPERATIVE}
        assert all(slot.isolation is hard[slot.kind] for slot in slots)


@given(inventory=inventories(), before=st.integers(2, 9), after=st.integers(2, 9))
def test_another_number_of_shares_keeps_the_ids_of_those_that_stay(
    inventory: Inventory, before: int, after: int
) -> None:
    old, new = ({slot.id for slot in lay_out(inventory, {"*": Share(count)}).slots} for count in (before, after))
    assert old <= new if before <= after else new <= old
