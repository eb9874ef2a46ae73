"""Whose processes are on which GPU."""

from spawner.engine.running import Running
from spawner.exporter.attribution import ForeignUse, LeaseUse, Owners, attribute_use, holdings, parents_of
from spawner.exporter.attribution import GpuUse as Said
from spawner.gpus.telemetry import MigUse, Telemetry

from .scenes import ANN, BOB, EVE, GIB, container, gpu, host, process, running


def look(telemetry: Telemetry, there: Running, owners: Owners) -> Said:
    held = holdings(there.containers.values(), parents_of(telemetry))
    return attribute_use(telemetry, there, held, owners)


def test_a_whole_gpu_is_used_as_the_driver_says() -> None:
    said = look(
        host(gpu(0, process(7, 2 * GIB, sm=0.1), process(8, GIB), sm=0.9)),
        running(container(ANN, "ann", "GPU-0", lease="L")),
        {7: (ANN,), 8: (ANN,)},
    )
    assert said.leases == (LeaseUse("GPU-0", "GPU-0", "L", 2, 3 * GIB, 0.9),)
    assert said.foreign == (ForeignUse("GPU-0", 0, 0),)
    assert {(row.pid, row.lease) for row in said.processes} == {(7, "L"), (8, "L")}


def test_a_leased_gpu_that_nobody_uses_has_a_zero_and_no_gap() -> None:
    said = look(host(gpu(0, sm=0.0)), running(container(ANN, "ann", "GPU-0", lease="L")), {})
    assert said.leases == (LeaseUse("GPU-0", "GPU-0", "L", 0, 0, 0.0),)


def test_shares_are_told_apart_by_their_processes() -> None:
    there = running(container(ANN, "ann", "GPU-0:0", lease="A"), container(BOB, "bob", "GPU-0:1", lease="B"))
    said = look(
        host(gpu(0, process(1, GIB, 0.5), process(2, 2 * GIB, 0.3), process(3, GIB, 0.2), sm=0.8)),
        there,
        {1: (ANN,), 2: (BOB,), 3: (BOB,)},
    )
    assert said.leases == (
        LeaseUse("GPU-0", "GPU-0:0", "A", 1, GIB, 0.5),
        LeaseUse("GPU-0", "GPU-0:1", "B", 2, 3 * GIB, 0.5),
    )


def test_a_share_whose_processes_the_driver_does_not_time_has_no_utilisation() -> None:
    there = running(container(ANN, "ann", "GPU-0:0", lease="A"), container(BOB, "bob", "GPU-0:1", lease="B"))
    said = look(host(gpu(0, process(1), process(2, sm=0.3), sm=0.8)), there, {1: (ANN,), 2: (BOB,)})
    assert [lease.sm for lease in said.leases] == [None, 0.3]


def test_two_shares_of_one_gpu_in_one_lease_are_counted_once() -> None:
    said = look(
        host(gpu(0, process(1, GIB, 0.5))), running(container(ANN, "ann", "GPU-0:0", "GPU-0:1", lease="A")), {1: (ANN,)}
    )
    assert said.leases == (LeaseUse("GPU-0", "GPU-0:0", "A", 1, GIB, 0.5),)


def test_a_mig_instance_is_one_leases_own() -> None:
    mig = [MigUse("MIG-1", "1g.5gb", sm=0.4), MigUse("MIG-2", "1g.5gb", sm=None)]
    there = running(container(ANN, "ann", "MIG-1", lease="A"), container(BOB, "bob", "MIG-2", lease="B"))
    telemetry = host(gpu(0, process(1, mig="MIG-1"), process(2, mig="MIG-2"), mig=mig))
    said = look(telemetry, there, {1: (ANN,), 2: (BOB,)})
    assert said.leases == (
        LeaseUse("GPU-0", "MIG-1", "A", 1, GIB, 0.4),
        LeaseUse("GPU-0", "MIG-2", "B", 1, GIB, None),
    )
    held = holdings(there.containers.values(), parents_of(telemetry))
    assert {(one.slot, one.gpu) for one in held} == {("MIG-1", "GPU-0"), ("MIG-2", "GPU-0")}
    # Before the driver was ever read, nobody can know which GPU an instance is of.
    assert {one.gpu for one in holdings(there.containers.values(), {})} == {""}


def test_foreign_are_those_on_the_host_in_other_containers_and_on_gpus_they_do_not_hold() -> None:
    there = running(container(ANN, "ann", "GPU-0", lease="A"), container(BOB, "bob"))
    said = look(
        host(gpu(0, process(1), process(2), process(3, 2 * GIB), sm=0.7), gpu(1, process(4), process(5, None))),
        there,
        {1: (ANN,), 2: (), 3: (EVE,), 4: (ANN,), 5: (BOB,)},
    )
    assert said.foreign == (ForeignUse("GPU-0", 2, 3 * GIB), ForeignUse("GPU-1", 2, None))
    rows = {row.pid: (row.container.user if row.container else "", row.lease) for row in said.processes}
    assert rows == {1: ("ann", "A"), 2: ("", ""), 3: ("", ""), 4: ("ann", ""), 5: ("bob", "")}
    # With others on it, what the GPU does is not what the lease does.
    assert said.leases[0].sm is None


def test_containers_within_a_users_container_are_the_users() -> None:
    said = look(host(gpu(0, process(1))), running(container(ANN, "ann", "GPU-0", lease="A")), {1: (ANN, EVE)})
    assert said.leases[0].processes == 1
    assert said.foreign[0].processes == 0


def test_while_the_engine_is_away_nobody_in_a_container_is_called_foreign() -> None:
    there = running(container(ANN, "ann", "GPU-0", lease="A"), fresh=False)
    said = look(host(gpu(0, process(1), process(2), process(3))), there, {1: (ANN,), 2: (EVE,), 3: ()})
    assert said.leases[0].processes == 1
    assert said.foreign == (ForeignUse("GPU-0", 1, GIB),)


def test_before_the_engine_was_heard_of_nobody_is_called_foreign_at_all() -> None:
    said = look(host(gpu(0, process(1), process(2))), running(known=False, fresh=False), {1: (ANN,), 2: ()})
    assert said.foreign == ()


def test_processes_that_have_ended_are_nobodys() -> None:
    said = look(host(gpu(0, process(1), process(2))), running(), {1: None, 2: None})
    assert said.foreign == (ForeignUse("GPU-0", 0, 0),)
    assert said.gone == 2
    assert said.processes == ()


def test_a_gpu_whose_processes_cannot_be_read_says_what_it_can() -> None:
    there = running(container(ANN, "ann", "GPU-0", lease="A"), container(BOB, "bob", "GPU-1:0", lease="B"))
    said = look(host(gpu(0, sm=0.6, unread=True), gpu(1, sm=0.6, unread=True)), there, {})
    assert said.leases == (LeaseUse("GPU-0", "GPU-0", "A", None, None, 0.6),)
    assert said.foreign == ()


def test_a_lost_gpu_says_nothing() -> None:
    said = look(host(gpu(0, unread=True, up=False)), running(container(ANN, "ann", "GPU-0", lease="A")), {})
    assert said == Said()
