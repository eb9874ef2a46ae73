"""What the policy may meet: people, limits, profiles, requests."""

from hypothesis import strategies as st

from spawner.policy.model import IfBusy, LimitRule, LimitRules, Limits, Person, Profile, SpawnRequest

# Few names and small numbers, so that rules, people and profiles meet.
USERS = st.sampled_from(["ann", "bob", "eve"])
GROUPS = st.frozensets(st.sampled_from(["students", "staff", "lab"]))
SLUGS = st.sampled_from(["cpu", "gpu", "big", "secret"])

_cpu = st.integers(1, 16).map(lambda quarters: quarters / 4)
_memory = st.integers(64 << 20, 1 << 40)
_shm = st.integers(1 << 20, 1 << 40)
_count = st.integers(1, 1 << 20)
_gpus = st.integers(0, 8)

LIMITS = st.builds(Limits, cpu=_cpu, memory=_memory, processes=_count, shm=_shm, open_files=_count, gpus=_gpus)
LIMIT_RULE = st.builds(
    LimitRule,
    cpu=st.none() | _cpu,
    memory=st.none() | _memory,
    processes=st.none() | _count,
    shm=st.none() | _shm,
    open_files=st.none() | _count,
    gpus=st.none() | _gpus,
)
RULES = st.builds(
    LimitRules,
    LIMITS,
    st.dictionaries(st.sampled_from(["students", "staff", "lab"]), LIMIT_RULE),
    st.dictionaries(USERS, LIMIT_RULE),
)
PEOPLE = st.builds(Person, USERS, GROUPS, st.booleans())
PROFILES = st.lists(
    st.builds(
        Profile,
        slug=SLUGS,
        name=st.just("A profile"),
        description=st.just(""),
        size=LIMIT_RULE,
        users=st.frozensets(USERS),
        groups=GROUPS,
    ),
    max_size=4,
    unique_by=lambda profile: profile.slug,
)
REQUESTS = st.builds(
    SpawnRequest,
    SLUGS | st.just("no-such"),
    st.none() | st.integers(0, 20),
    st.none() | st.floats(0.1, 48),
    st.sampled_from(IfBusy),
)
