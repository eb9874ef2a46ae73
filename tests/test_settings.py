"""The schema: what it refuses, and that it explains itself."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel, ValidationError

from spawner.policy.model import DIMENSIONS, LimitRule
from spawner.policy.quota import QUOTA_DIMENSIONS, Quota, QuotaRule
from spawner.settings import (
    DefaultLimits,
    ProfileSettings,
    QuotaSettings,
    Settings,
    SizeSettings,
    SpawnerSettings,
)

SECRET = "correct horse battery staple"


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("BERTH_"):
            monkeypatch.delenv(name)


def _models(model: type[BaseModel], seen: set[type[BaseModel]]) -> Iterator[type[BaseModel]]:
    if model in seen:
        return
    seen.add(model)
    yield model
    for field in model.model_fields.values():
        pending = [field.annotation]
        while pending:
            annotation: Any = pending.pop()
            pending.extend(get_args(annotation))
            if isinstance(annotation, type) and issubclass(annotation, BaseModel):
                yield from _models(annotation, seen)


ALL_MODELS = list(_models(Settings, set()))


def test_the_models_are_found() -> None:
    assert {"Settings", "SignIn", "ProfileSettings", "MountSettings", "DefaultLimits"} <= {
        model.__name__ for model in ALL_MODELS
    }


@pytest.mark.parametrize("model", ALL_MODELS, ids=lambda model: model.__name__)
def test_every_field_is_described(model: type[BaseModel]) -> None:
    silent = [name for name, field in model.model_fields.items() if not (field.description or "").strip()]
    assert silent == []


@pytest.mark.parametrize("model", ALL_MODELS, ids=lambda model: model.__name__)
def test_unknown_keys_are_errors_everywhere(model: type[BaseModel]) -> None:
    assert model.model_config.get("extra") == "forbid" or model is SpawnerSettings


def test_defaults_are_the_ones_tools_rely_on() -> None:
    settings = Settings()
    assert [(p.slug, p.cpu, p.memory, p.gpus) for p in settings.profiles] == [
        ("cpu", 1, 2 << 30, 0),
        ("gpu", 2, 6 << 30, 1),
    ]
    assert (settings.bind_address, settings.port, settings.sign_in.method) == ("127.0.0.1", 8000, "demo")


def test_limits_and_sizes_have_the_policys_dimensions() -> None:
    assert tuple(DefaultLimits.model_fields) == QUOTA_DIMENSIONS
    assert tuple(QuotaSettings.model_fields) == QUOTA_DIMENSIONS
    assert tuple(SizeSettings.model_fields) == DIMENSIONS


def test_limits_become_the_policys_rules() -> None:
    settings = Settings(limits={"groups": {"lab": {"gpus": 4}}, "users": {"ann": {"memory": "1 GiB"}}})
    rules = settings.limits.rules()
    assert rules.default == Quota(4, 16 << 30, 4096, 4 << 30, 16384, 1)
    assert rules.groups == {"lab": QuotaRule(gpus=4)}
    assert rules.users == {"ann": QuotaRule(memory=1 << 30)}


def test_settings_do_not_change() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Settings().port = 9000  # type: ignore[misc]


@pytest.mark.parametrize(
    ("values", "key"),
    [
        ({"port": 0}, "port"),
        ({"port": "eight"}, "port"),
        ({"profiles": []}, "profiles"),
        ({"profiles": [{"slug": "a", "name": "A"}, {"slug": "a", "name": "B"}]}, "profiles"),
        ({"profiles": [{"slug": "No Slug", "name": "A"}]}, "profiles.0.slug"),
        ({"profiles": [{"slug": "a", "name": "A", "memory": "1 KiB"}]}, "profiles.0.memory"),
        ({"profiles": [{"slug": "a", "name": "A", "memory": "lots"}]}, "profiles.0.memory"),
        ({"profiles": [{"slug": "a", "name": "A", "cpu": 0}]}, "profiles.0.cpu"),
        ({"profiles": [{"slug": "a", "name": "A", "gpu": 1}]}, "profiles.0.gpu"),
        ({"limits": {"users": {"ann": {"gpus": -1}}}}, "limits.users.ann.gpus"),
        ({"pull": "sometimes"}, "pull"),
        ({"network": {"subnet": "10.0.0.1/8"}}, "network.subnet"),
        ({"network": {"blocked": ["::1/128"]}}, "network.blocked.0"),
        ({"mounts": [{"source": "/var/run/docker.sock", "target": "/d"}]}, "mounts.0.source"),
        ({"mounts": [{"source": "/run/docker.sock/", "target": "/d"}]}, "mounts.0.source"),
        ({"mounts": [{"source": "data", "target": "data"}]}, "mounts.0.target"),
        ({"mounts": [{"source": "data", "target": "/home/jovyan/"}]}, "mounts.0.target"),
        ({"mounts": [{"source": "data", "target": "/"}]}, "mounts.0.target"),
        ({"mounts": [{"source": "data", "target": "//etc"}]}, "mounts.0.target"),
        ({"mounts": [{"source": "data", "target": "/srv/../etc"}]}, "mounts.0.target"),
        ({"mounts": [{"source": "../data", "target": "/data"}]}, "mounts.0.source"),
        ({"environment": {"A B": "x"}}, "environment"),
        ({"environment": {"JUPYTERHUB_API_TOKEN": "x"}}, "environment"),
        ({"environment": {"NVIDIA_VISIBLE_DEVICES": "all"}}, "environment"),
        ({"bind_address": "localhost"}, "bind_address"),
        ({"public_url": "berth.example.org"}, "public_url"),
        ({"api_token": "short"}, "api_token"),
        ({"start_timeout": 0}, "start_timeout"),
        ({"no_such_key": 1}, "no_such_key"),
    ],
)
def test_bad_values_are_refused_at_their_key(values: dict[str, Any], key: str) -> None:
    with pytest.raises(ValidationError) as refused:
        Settings(**values)
    assert ".".join(map(str, refused.value.errors()[0]["loc"])) == key


def test_a_mistake_is_reported_once() -> None:
    with pytest.raises(ValidationError) as refused:
        Settings(profiles=[{"slug": "No Slug", "name": "A"}])
    assert refused.value.error_count() == 1


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "192.0.2.1", "10.0.0.1"])
def test_the_demo_does_not_listen_elsewhere(address: str) -> None:
    with pytest.raises(ValidationError, match=r"bind_address must be 127\.0\.0\.1 with the demo sign-in"):
        Settings(bind_address=address)


@pytest.mark.parametrize("address", ["127.0.0.1", "127.1.2.3", "::1"])
def test_the_demo_listens_on_this_machine(address: str) -> None:
    assert Settings(bind_address=address).bind_address == address


def test_other_methods_listen_anywhere() -> None:
    settings = Settings(bind_address="0.0.0.0", sign_in={"method": "native", "admins": ["ann"]})
    assert settings.bind_address == "0.0.0.0"


def test_secrets_do_not_print_themselves() -> None:
    settings = Settings(
        api_token=SECRET,
        sign_in={
            "method": "github",
            "client_id": "id",
            "client_secret": SECRET,
            "allowed_users": ["ann"],
        },
    )
    assert settings.api_token is not None
    assert settings.api_token.get_secret_value() == SECRET
    for shown in (repr(settings), str(settings), settings.model_dump_json(), repr(settings.model_dump())):
        assert SECRET not in shown


def test_a_profile_becomes_the_policys() -> None:
    profile = ProfileSettings(slug="a", name="A", memory="1 GiB", groups=frozenset({"lab"})).profile()
    assert (profile.slug, profile.size, profile.groups) == ("a", LimitRule(memory=1 << 30), frozenset({"lab"}))


def test_paths_may_be_texts() -> None:
    assert Settings(state_dir="/srv/berth").state_dir == Path("/srv/berth")
