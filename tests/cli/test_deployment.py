from pathlib import Path

import pytest

from spawner.cli import deployment as module
from spawner.cli.deployment import GPU_IMAGE, Deployment
from spawner.settings import DEFAULT_IMAGE, Settings
from spawner.state import StateDirectory


def deployment(tmp_path: Path, **values: object) -> Deployment:
    StateDirectory(tmp_path / "state").create()
    return Deployment(tmp_path, Settings.model_validate({"state_dir": tmp_path / "state", **values}))


@pytest.fixture
def gpu_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with an NVIDIA driver; its toolkit is up to the test."""
    driver, tools = tmp_path / "version", tmp_path / "bin"
    driver.write_text("NVRM version")
    tools.mkdir()
    monkeypatch.setattr(module, "_NVIDIA_DRIVER", driver)
    monkeypatch.setenv("PATH", str(tools))
    return tools


def test_a_driver_without_the_toolkit_brings_no_gpu_into_a_container(tmp_path: Path, gpu_host: Path) -> None:
    assert deployment(tmp_path).image == DEFAULT_IMAGE


def test_the_default_image_suits_the_machine(tmp_path: Path, gpu_host: Path) -> None:
    tool = gpu_host / "nvidia-container-runtime-hook"
    tool.write_text("#!/bin/sh\n")
    tool.chmod(0o755)
    assert deployment(tmp_path).image == GPU_IMAGE
    assert deployment(tmp_path, image="registry.example.org/own:1").image == "registry.example.org/own:1"


def test_the_images_of_all_profiles_are_needed(tmp_path: Path) -> None:
    own = {"slug": "own", "name": "Own", "image": "own:1"}
    plain = {"slug": "plain", "name": "Plain"}
    assert deployment(tmp_path, profiles=[own, plain, {**own, "slug": "too"}]).all_images == ("own:1", DEFAULT_IMAGE)


def test_a_fingerprint_tells_settings_apart_by_secrets_too(tmp_path: Path) -> None:
    token = "a-token-of-thirty-two-characters"
    plain, one, other = (
        deployment(tmp_path, **values).fingerprint()
        for values in ({}, {"api_token": token}, {"api_token": token[::-1]})
    )
    assert len({plain, one, other}) == 3
    assert deployment(tmp_path, api_token=token).fingerprint() == one


@pytest.mark.parametrize(
    ("values", "url"),
    [
        ({}, "http://127.0.0.1:8000"),
        ({"bind_address": "::1", "port": 9000}, "http://[::1]:9000"),
        ({"public_url": "https://berth.example.org"}, "https://berth.example.org"),
    ],
)
def test_the_address_for_people(tmp_path: Path, values: dict[str, object], url: str) -> None:
    assert deployment(tmp_path, **values).url == url
