from importlib.metadata import entry_points
from typing import Any

import pytest
from traitlets import TraitError
from traitlets.config import Config

from spawner.backends.docker import TensorFlowSpawner
from spawner.settings import ProfileSettings, SpawnerSettings

FIELDS = SpawnerSettings.model_fields
DERIVED = sorted(set(FIELDS) - {"environment"})


def test_it_is_found_by_its_name() -> None:
    (found,) = entry_points(group="jupyterhub.spawners", name="tensorflow")
    assert found.load() is TensorFlowSpawner


@pytest.mark.parametrize("name", DERIVED)
def test_each_setting_is_a_trait_with_its_default_and_help(name: str, spawner: Any) -> None:
    trait = TensorFlowSpawner.class_traits(config=True)[name]
    assert trait.help == FIELDS[name].description
    if name != "profiles":
        assert getattr(spawner, name) == FIELDS[name].get_default(call_default_factory=True)


def test_the_environment_is_jupyterhubs_own_trait() -> None:
    assert "environment" in FIELDS
    assert "environment" in TensorFlowSpawner.class_traits(config=True)


def test_our_own_traits_have_help_too() -> None:
    own = set(TensorFlowSpawner.class_own_traits(config=True))
    assert {"hub_id", "data_dir"} <= own
    assert all(TensorFlowSpawner.class_own_traits()[name].help for name in ("hub_id", "data_dir"))


def test_plain_dictionaries_in_a_hubs_configuration(make_user: Any) -> None:
    c = Config()
    c.TensorFlowSpawner.profiles = [{"slug": "small", "name": "Small", "memory": "1 GiB"}]
    c.TensorFlowSpawner.limits = {"groups": {"lab": {"gpus": 4}}}
    c.TensorFlowSpawner.network = {"firewall": "external"}
    c.TensorFlowSpawner.stop_grace = 3
    c.TensorFlowSpawner.ledger_url = "sqlite:////x"
    spawner = TensorFlowSpawner(config=c, user=make_user())
    assert spawner.profiles == (ProfileSettings(slug="small", name="Small", memory=1 << 30),)
    assert spawner.limits.groups["lab"].gpus == 4
    assert spawner.network.firewall == "external"
    assert (spawner.stop_grace, spawner.ledger_url) == (3, "sqlite:////x")
    # What was not set keeps the schema's defaults.
    assert spawner.limits.default.memory == 16 << 30
    assert spawner.network.blocked == ("169.254.0.0/16",)


def test_settings_go_in_as_they_are(make_user: Any) -> None:
    settings = SpawnerSettings(stop_grace=7)
    values = {name: getattr(settings, name) for name in DERIVED}
    spawner = TensorFlowSpawner(user=make_user(), **values)
    assert {name: getattr(spawner, name) for name in DERIVED} == values


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("stop_grace", -1, "TensorFlowSpawner.stop_grace: Input should be greater than or equal to 0"),
        ("pull", "often", "TensorFlowSpawner.pull: Input should be 'missing', 'always' or 'never'"),
        (
            "profiles",
            [{"slug": "a", "name": "A", "memory": "lots"}],
            'TensorFlowSpawner.profiles.0.memory: Value error, a size such as "2 GiB" or "512 MiB"',
        ),
        (
            "profiles",
            [{"slug": "a", "name": "A"}, {"slug": "a", "name": "B"}],
            "TensorFlowSpawner.profiles: Value error, one profile per slug; a appears twice",
        ),
        (
            "network",
            {"firewal": "managed"},
            "TensorFlowSpawner.network.firewal: Extra inputs are not permitted",
        ),
    ],
)
def test_a_bad_value_is_refused_with_its_place(name: str, value: object, message: str, make_user: Any) -> None:
    with pytest.raises(TraitError) as refused:
        TensorFlowSpawner(user=make_user(), **{name: value})
    assert message in str(refused.value)
    c = Config()
    c.TensorFlowSpawner[name] = value
    with pytest.raises(TraitError):
        getattr(TensorFlowSpawner(config=c, user=make_user()), name)


def test_several_mistakes_are_told_at_once(make_user: Any) -> None:
    with pytest.raises(TraitError) as refused:
        TensorFlowSpawner(user=make_user(), network={"firewall": "no", "subnet": "x"})
    assert "network.firewall" in str(refused.value)
    assert "network.subnet" in str(refused.value)


def test_defaults_that_hold_together(spawner: Any) -> None:
    assert spawner.remove
    assert spawner.use_internal_ip
    assert spawner.http_timeout == 300
    assert spawner.poll_interval == 30
    assert spawner.container_name == spawner.object_name
    assert len(TensorFlowSpawner().hub_id) == 8
