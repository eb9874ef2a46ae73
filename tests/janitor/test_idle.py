"""GPUs that do nothing, and those that only seem so."""

from datetime import timedelta

import pytest

from spawner.gpus.loads import Constant, Leased, Ramp
from spawner.gpus.scenario import Event, GpuSpec, MigSpec
from spawner.janitor.loops import Loop, Runner
from spawner.janitor.tasks import expiry_steps, idle_steps
from spawner.operations import leases
from spawner.policy.ends import notices
from spawner.policy.leases import Lease

from ..support.api_hub import ApiHub
from ..support.office import MINUTE, NOW
from .conftest import Watch

IDLE = Constant(pattern="constant", value=0.01)
BUSY = Constant(pattern="constant", value=0.7)
LIMIT = timedelta(minutes=60)  # the default


def turn(watch: Watch) -> None:
    """Let the janitor's loop take its turn, which it also notes."""
    assert Runner(watch.post, Loop("idle", idle_steps, 30.0), "janitor").turn()


def through(watch: Watch, length: timedelta) -> None:
    """Let time pass, with turns as the janitor takes them."""
    for _ in range(length // MINUTE):
        watch.office.wait(MINUTE)
        turn(watch)


def ends(watch: Watch) -> list[str]:
    return [step.text.split(":")[0] for step in watch.look(expiry_steps)]


def running(watch: Watch, **more: object) -> Lease:
    turn(watch)
    return watch.office.running("ann", 1, 24, **more)


def test_idle_for_an_hour_after_a_warning(watch: Watch) -> None:
    watch.see(GpuSpec(load=IDLE))
    lease = running(watch)
    assert [step.text for step in watch.look(idle_steps)] == ["note that ann is idle since 12:00:00 UTC"]
    turn(watch)
    assert watch.office.lease(lease.id).idle_since == NOW
    assert watch.look(idle_steps) == []
    through(watch, LIMIT - 11 * MINUTE)
    assert told(watch, lease) == []
    through(watch, MINUTE)
    assert told(watch, lease) == [
        "The GPU has done nothing for 50 minutes and goes back in 10 minutes, unless it is used."
    ]
    through(watch, 9 * MINUTE)
    assert ends(watch) == []
    through(watch, MINUTE)
    assert ends(watch) == [f"end the lease {lease.id} (idle)"]


def told(watch: Watch, lease: Lease) -> list[str]:
    found = notices(watch.office.lease(lease.id), (30, 10, 2), LIMIT, 10 * MINUTE, watch.office.clock.now)
    return [notice.text for notice in found]


def test_a_long_training_that_nobody_watches_is_not_idle(watch: Watch) -> None:
    watch.see(GpuSpec(load=BUSY))
    lease = running(watch)
    through(watch, 3 * LIMIT)
    assert watch.office.lease(lease.id).idle_since is None
    assert ends(watch) == []


def test_nor_is_one_whose_kernels_prepare_the_data(watch: Watch) -> None:
    watch.see(GpuSpec(load=IDLE))
    lease = running(watch)
    for _ in range(130):
        leases.report(watch.office.desk, lease.id, busy=True, problem="")
        through(watch, MINUTE)
    assert watch.office.lease(lease.id).idle_since is None
    # Then its kernels rest; a word of them counts for two minutes.
    through(watch, LIMIT)
    assert ends(watch) == []
    through(watch, 2 * MINUTE)
    assert len(ends(watch)) == 1


def test_work_begins_the_time_anew(watch: Watch) -> None:
    watch.see(GpuSpec(load=Ramp(pattern="ramp", begin=0.0, end=1.0, over=3600)))
    lease = running(watch)
    turn(watch)
    assert watch.office.lease(lease.id).idle_since == NOW
    through(watch, 2 * MINUTE)  # over the threshold of 2 % by now
    found = watch.office.lease(lease.id)
    assert (found.idle_since, found.idle_ms) == (None, 120_000)


@pytest.mark.parametrize(("threshold", "idle"), [(0.009, False), (0.01, True), (0.5, True)])
def test_the_threshold(watch: Watch, threshold: float, idle: bool) -> None:
    watch.see(GpuSpec(load=IDLE), leases={"idle_utilisation": threshold})
    lease = running(watch)
    turn(watch)
    assert (watch.office.lease(lease.id).idle_since is not None) == idle


def test_what_cannot_be_read_is_not_idle(watch: Watch) -> None:
    watch.see(GpuSpec(load=IDLE, events=(Event(at=60, what="lost"),)))
    lease = running(watch)
    turn(watch)
    assert watch.office.lease(lease.id).idle_since == NOW
    through(watch, MINUTE)
    assert watch.office.lease(lease.id).idle_since is None
    through(watch, 2 * LIMIT)
    assert ends(watch) == []


def test_nor_is_what_is_there_no_more(watch: Watch) -> None:
    """A GPU that was divided anew while somebody had a part of it; all others are looked after as ever."""
    part = MigSpec(profile="1g.5gb", load=IDLE)
    watch.see(GpuSpec(name="cut", memory=10 << 30, mig=(part, part)), GpuSpec(name="whole", load=IDLE))
    turn(watch)
    first = watch.office.running("ann", 1, 24, memory=1)
    other = watch.office.running("bob", 1, 24, memory=16 << 30)
    watch.see(GpuSpec(name="cut", memory=10 << 30, mig=()), GpuSpec(name="whole", load=IDLE))
    turn(watch)
    assert watch.office.lease(first.id).idle_since is None
    assert watch.office.lease(other.id).idle_since == watch.office.clock.now


def test_all_gpus_of_a_lease_must_do_nothing(watch: Watch) -> None:
    watch.see(GpuSpec(load=IDLE), GpuSpec(load=BUSY))
    turn(watch)
    lease = watch.office.running("ann", 2, 24)
    turn(watch)
    assert watch.office.lease(lease.id).idle_since is None


@pytest.mark.parametrize(
    ("settings", "groups", "minutes"),
    [
        ({}, frozenset(), 60),
        ({"idle_minutes": 20}, frozenset(), 20),
        ({"idle_minutes": 0}, frozenset(), None),
        ({"idle_groups": {"lab": 30}}, frozenset({"lab", "staff"}), 30),
        ({"idle_groups": {"lab": 30, "staff": 90}}, frozenset({"lab", "staff"}), 90),
        ({"idle_groups": {"lab": 30, "staff": 0}}, frozenset({"lab", "staff"}), None),
    ],
)
def test_limits_of_groups(
    watch: Watch, settings: dict[str, object], groups: frozenset[str], minutes: int | None
) -> None:
    watch.see(GpuSpec(load=IDLE), leases=settings)
    running(watch, groups=groups)
    turn(watch)
    through(watch, timedelta(minutes=(minutes or 200) - 1))
    assert ends(watch) == []
    through(watch, MINUTE)
    assert len(ends(watch)) == (minutes is not None)


@pytest.mark.parametrize(("idle", "ended"), [(15, True), (0, False)])
def test_limits_of_profiles(watch: Watch, idle: int, ended: bool) -> None:
    profile = {"slug": "gpu", "name": "GPU", "gpus": 1, "idle_minutes": idle}
    watch.see(GpuSpec(load=IDLE), profiles=[profile], leases={"idle_groups": {"lab": 30}})
    running(watch, groups=frozenset({"lab"}))
    turn(watch)
    through(watch, 40 * MINUTE)
    assert (len(ends(watch)) == 1) == ended


def test_a_time_in_which_nobody_looked_does_not_count(watch: Watch) -> None:
    """A janitor that comes back after two hours knows nothing of them."""
    watch.see(GpuSpec(load=IDLE))
    lease = running(watch)
    turn(watch)
    watch.office.wait(2 * LIMIT)
    assert ends(watch) == []
    turn(watch)
    found = watch.office.lease(lease.id)
    assert (found.idle_since, found.idle_ms) == (watch.office.clock.now, 0)
    assert ends(watch) == []
    through(watch, LIMIT)
    assert len(ends(watch)) == 1


def test_what_is_used_since_the_look_goes_on(watch: Watch, hub: ApiHub) -> None:
    watch.see(GpuSpec(load=Leased(pattern="leased", busy=0.0)))
    lease = running(watch)
    turn(watch)
    through(watch, LIMIT)
    [step] = watch.look(expiry_steps)
    leases.report(watch.office.desk, lease.id, busy=True, problem="")
    turn(watch)
    assert not step.carry_out()
    assert hub.asked == []
