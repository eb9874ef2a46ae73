import re
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from spawner.policy.admission import admit, admit_seat, format_bytes, may_use, profiles_for
from spawner.policy.limits import limits_of
from spawner.policy.model import (
    DIMENSIONS,
    Deny,
    Grant,
    IfBusy,
    LimitRule,
    LimitRules,
    Limits,
    Person,
    Profile,
    SpawnRequest,
)
from spawner.policy.quota import ALL, Quota, QuotaRule

from .strategies import PEOPLE, PROFILES, REQUESTS, RULES

DEFAULT = Limits(cpu=4, memory=16 << 30, processes=4096, shm=4 << 30, open_files=16384, gpus=1)
RULES_ = LimitRules(DEFAULT)
CPU = Profile("cpu", "CPU", "", LimitRule(cpu=1, memory=2 << 30, gpus=0))
GPU = Profile("gpu", "GPU", "", LimitRule(cpu=2, memory=6 << 30, gpus=1))
ANN = Person("ann", frozenset({"students"}))


@given(REQUESTS, PEOPLE, PROFILES, RULES)
def test_a_grant_stays_within_every_limit(
    request: SpawnRequest, person: Person, profiles: list[Profile], rules: LimitRules
) -> None:
    decision = admit(request, person, profiles, rules)
    if isinstance(decision, Deny):
        assert decision.code in {"unknown_profile", "over_limit"}
        assert decision.reason.endswith(".")
        return
    limits, most = decision.limits, limits_of(rules, person)
    assert all(getattr(limits, dimension) <= getattr(most, dimension) for dimension in DIMENSIONS)
    assert decision.profile in profiles_for(profiles, person, rules)
    assert decision.profile.slug == request.profile
    for dimension in DIMENSIONS:
        # What the profile says is given exactly, never cut down.
        said = getattr(decision.profile.size, dimension)
        if said is not None and dimension != "gpus":
            assert getattr(limits, dimension) == said
    if decision.profile.size.shm is None:
        assert limits.shm <= limits.memory // 2
    wanted = request.gpus if request.gpus is not None else decision.profile.size.gpus or 0
    assert limits.gpus == wanted


@given(REQUESTS, PEOPLE, PROFILES, RULES, st.integers(0, 4))
def test_a_profile_for_others_looks_like_one_that_does_not_exist(
    request: SpawnRequest, person: Person, profiles: list[Profile], rules: LimitRules, at: int
) -> None:
    person = replace(person, admin=False)
    for_others = Profile("no-such", "Secret", "", LimitRule(), users=frozenset({"somebody"}))
    with_it = [*profiles[:at], for_others, *profiles[at:]]
    for asked in (request, replace(request, profile="no-such")):
        assert admit(asked, person, with_it, rules) == admit(asked, person, profiles, rules)


@given(PEOPLE, PROFILES)
def test_who_may_use_a_profile(person: Person, profiles: list[Profile]) -> None:
    for profile in profiles:
        allowed = (
            person.admin
            or not (profile.users or profile.groups)
            or person.name in profile.users
            or not profile.groups.isdisjoint(person.groups)
        )
        assert may_use(profile, person) == allowed
    assert profiles_for(profiles, person, RULES_) == [profile for profile in profiles if may_use(profile, person)]


def test_a_quota_may_leave_out_profiles() -> None:
    quota = Quota(**{dimension: getattr(DEFAULT, dimension) for dimension in DIMENSIONS}, profiles=frozenset({"cpu"}))
    rules = LimitRules(quota, {"lab": QuotaRule(profiles=frozenset({"gpu"}))}, {"eve": QuotaRule(profiles=ALL)})
    assert profiles_for([CPU, GPU], ANN, rules) == [CPU]
    assert profiles_for([CPU, GPU], Person("bob", frozenset({"lab"})), rules) == [GPU]
    assert profiles_for([CPU, GPU], Person("eve"), rules) == [CPU, GPU]
    assert isinstance(admit(SpawnRequest("gpu"), ANN, [CPU, GPU], rules), Deny)
    assert isinstance(admit(SpawnRequest("gpu"), replace(ANN, admin=True), [CPU, GPU], rules), Grant)


def test_a_refusal_lists_ones_own_profiles_only() -> None:
    staff = Profile("staff", "Staff", "", LimitRule(), groups=frozenset({"staff"}))
    assert admit(SpawnRequest("staff"), ANN, [CPU, staff, GPU], RULES_) == Deny(
        "unknown_profile", "There is no profile 'staff' for you. Yours are: cpu, gpu."
    )
    assert admit(SpawnRequest("staff"), ANN, [staff], RULES_) == Deny(
        "unknown_profile", "There is no profile 'staff' for you. Yours are: none; ask an admin."
    )
    assert isinstance(admit(SpawnRequest("staff"), replace(ANN, admin=True), [staff], RULES_), Grant)


def test_a_size_is_completed_from_the_limits() -> None:
    decision = admit(SpawnRequest("cpu"), ANN, [CPU], RULES_)
    assert decision == Grant(CPU, Limits(1, 2 << 30, 4096, 1 << 30, 16384, 0))


def test_too_large_a_profile_is_refused_with_every_excess_and_its_origin() -> None:
    rules = LimitRules(DEFAULT, {"students": LimitRule(memory=1 << 30)}, {"ann": LimitRule(cpu=0.5)})
    assert admit(SpawnRequest("cpu"), ANN, [CPU], rules) == Deny(
        "over_limit",
        "Profile cpu is too large for you: cpu 1, your limit is 0.5 (from: user ann); "
        "memory 2 GiB, your limit is 1 GiB (from: group students).",
    )


def test_gpus() -> None:
    two = SpawnRequest("gpu", gpus=2)
    assert admit(SpawnRequest("gpu"), ANN, [GPU], RULES_) == Grant(GPU, Limits(2, 6 << 30, 4096, 3 << 30, 16384, 1))
    assert admit(two, ANN, [GPU], RULES_) == Deny("over_limit", "2 GPUs asked for; your limit is 1 (from: default).")
    explicit = admit(SpawnRequest("gpu", gpus=0), ANN, [GPU], RULES_)
    assert isinstance(explicit, Grant)
    assert explicit.limits.gpus == 0


def test_if_busy_cpu_is_no_way_around_a_limit() -> None:
    asked = SpawnRequest("gpu", gpus=2, if_busy=IfBusy.CPU)
    assert isinstance(admit(asked, ANN, [GPU], RULES_), Deny)


@given(st.integers(0, 1 << 60))
def test_bytes_for_people_are_short_and_close(count: int) -> None:
    text = format_bytes(count)
    match = re.fullmatch(r"(\d+(?:\.\d+)?) (B|KiB|MiB|GiB|TiB)", text)
    assert match, text
    value = float(match[1]) * 1024 ** ["B", "KiB", "MiB", "GiB", "TiB"].index(match[2])
    assert abs(value - count) <= count * 0.005


def test_bytes_for_people() -> None:
    assert [format_bytes(n) for n in (0, 1023, 1024, 1536, 2 << 30, (1 << 20) - 1, 999 * 1024 + 900, 1 << 40)] == [
        "0 B",
        "1023 B",
        "1 KiB",
        "1.5 KiB",
        "2 GiB",
        "1024 KiB",
        "1000 KiB",
        "1 TiB",
    ]


# --- seats in courses -------------------------------------------------------------------------------------------------


@given(PEOPLE, PROFILES, RULES, st.integers(0, 4))
def test_a_seat_has_its_profiles_size_whoever_sits_there(
    person: Person, profiles: list[Profile], rules: LimitRules, gpus: int
) -> None:
    for profile in profiles:
        decision = admit_seat(profile.slug, gpus, 0, person, profiles, rules)
        assert isinstance(decision, Grant)
        assert decision.limits.gpus == gpus
        for dimension in DIMENSIONS:
            said = getattr(decision.profile.size, dimension)
            if said is not None and dimension != "gpus":
                assert getattr(decision.limits, dimension) == said


def test_a_seat_that_was_given_memory() -> None:
    closed = replace(GPU, groups=frozenset({"staff"}))
    small = LimitRules(replace(DEFAULT, memory=1 << 30, gpus=0))
    decision = admit_seat("gpu", 2, 32 << 30, ANN, [CPU, closed], small)
    assert isinstance(decision, Grant)
    assert (decision.limits.memory, decision.limits.gpus, decision.limits.cpu) == (32 << 30, 2, 2)
    less = admit_seat("gpu", 0, 1 << 30, ANN, [replace(closed, size=LimitRule(shm=2 << 30))], small)
    assert isinstance(less, Grant)
    assert (less.limits.memory, less.limits.shm) == (1 << 30, 1 << 30), "which counts in the memory"


def test_a_seat_whose_profile_is_gone() -> None:
    decision = admit_seat("gpu", 1, 0, ANN, [CPU], RULES_)
    assert isinstance(decision, Deny)
    assert decision.code == "unknown_profile"
