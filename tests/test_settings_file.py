"""From the file and the environment to settings, and from mistakes to sentences."""

import os
from pathlib import Path

import pytest

from spawner.errors import SettingsInvalid
from spawner.settings import Settings
from spawner.settings_file import load_settings, settings_path

SECRET = "tr0ub4dor&3"


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("BERTH_"):
            monkeypatch.delenv(name)


def load(directory: Path, text: str) -> Settings:
    (directory / "berth.yaml").write_text(text)
    return load_settings(directory)


def refusal(directory: Path, text: str) -> str:
    with pytest.raises(SettingsInvalid) as refused:
        load(directory, text)
    return str(refused.value)


def test_without_a_file_the_defaults_hold(tmp_path: Path) -> None:
    assert settings_path(tmp_path) is None
    settings = load_settings(tmp_path)
    assert settings.port == 8000
    assert settings.state_dir == tmp_path / ".berth"


@pytest.mark.parametrize("text", ["", "# nothing yet\n", "---\n"])
def test_an_empty_file_is_one_of_defaults(tmp_path: Path, text: str) -> None:
    assert load(tmp_path, text).port == 8000


def test_the_file_counts(tmp_path: Path) -> None:
    settings = load(tmp_path, "port: 9000\nlimits:\n  groups:\n    lab: {memory: 64 GiB}\n")
    assert settings.port == 9000
    assert settings.limits.groups["lab"].memory == 64 << 30


def test_another_file_by_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "berth.yaml").write_text("port: 9000\n")
    elsewhere = tmp_path / "else" / "where.yaml"
    elsewhere.parent.mkdir()
    elsewhere.write_text(
        "port: 9001\nstate_dir: state\ncertificates: [ca.pem]\nshared_dir: ../data\n"
        "metrics: {certificate: tls/berth.pem, key: /etc/berth.key, job_mapping_dir: jobs}\n"
    )
    monkeypatch.setenv("BERTH_CONFIG", str(elsewhere))
    settings = load_settings(tmp_path)
    assert settings.port == 9001
    # Paths count from the file in which they stand.
    assert settings.state_dir == elsewhere.parent / "state"
    assert settings.certificates == (elsewhere.parent / "ca.pem",)
    assert settings.shared_dir == tmp_path / "data"
    assert settings.metrics.certificate == elsewhere.parent / "tls" / "berth.pem"
    assert settings.metrics.key == Path("/etc/berth.key")
    assert settings.metrics.job_mapping_dir == elsewhere.parent / "jobs"


def test_a_named_file_must_be_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BERTH_CONFIG", str(tmp_path / "none.yaml"))
    with pytest.raises(SettingsInvalid, match=r"BERTH_CONFIG names .*none\.yaml, which is not a file"):
        load_settings(tmp_path)


def test_the_environment_goes_before_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BERTH_PORT", "9100")
    monkeypatch.setenv("BERTH_STOP_GRACE", "3")
    settings = load(tmp_path, "port: 9000\nstart_timeout: 60\n")
    assert (settings.port, settings.stop_grace, settings.start_timeout) == (9100, 3, 60)


def test_nested_keys_by_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BERTH_NETWORK__FIREWALL", "external")
    monkeypatch.setenv("BERTH_LIMITS__DEFAULT__MEMORY", "3 GiB")
    settings = load(tmp_path, "network: {subnet: 10.213.0.0/20}\nlimits: {default: {cpu: 2}}\n")
    assert (settings.network.firewall, settings.network.subnet) == ("external", "10.213.0.0/20")
    assert (settings.limits.default.memory, settings.limits.default.cpu) == (3 << 30, 2)


def test_whole_values_by_environment_are_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BERTH_PROFILES", '[{"slug": "one", "name": "One", "memory": "1 GiB"}]')
    assert [profile.slug for profile in load(tmp_path, "").profiles] == ["one"]


@pytest.mark.parametrize("name", ["BERTH_PROT", "BERTH_NETWROK__SUBNET", "BERTH_"])
def test_an_unknown_variable_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, SECRET)
    message = refusal(tmp_path, "")
    assert message.startswith(f"environment: {name}: no such setting; there are: ")
    assert "BERTH_PORT" in message
    assert SECRET not in message


def test_an_unknown_nested_variable_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BERTH_NETWORK__SUBNETT", "10.0.0.0/8")
    message = refusal(tmp_path, "")
    assert "BERTH_NETWORK__SUBNETT" in message
    assert "no such key" in message


def test_a_variable_that_is_no_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BERTH_PROFILES", "cpu, gpu")
    message = refusal(tmp_path, "")
    assert message.startswith("environment: ")
    assert "profiles" in message


def test_a_bad_value_in_the_environment_names_the_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BERTH_PORT", "80000")
    assert refusal(tmp_path, "port: 9000\n") == (
        "environment variable BERTH_PORT: port: input should be less than or equal to 65535 (found: '80000')."
    )


def test_each_mistake_has_a_line_with_file_key_expectation_and_find(tmp_path: Path) -> None:
    path = tmp_path / "berth.yaml"
    message = refusal(
        tmp_path,
        "port: eighty\nlimits:\n  default: {memory: lots}\nnetwork: {firewall: none}\nmounts: [{target: /data}]\n",
    )
    lines = message.splitlines()
    assert len(lines) == 4
    assert all(line.startswith(f"{path}: ") and line.endswith(".") for line in lines)
    assert any("port: input should be a valid integer" in line and "(found: 'eighty')" in line for line in lines)
    assert f'{path}: limits.default.memory: a size such as "2 GiB" or "512 MiB" (found: \'lots\').' in lines
    assert f"{path}: network.firewall: input should be 'managed' or 'external' (found: 'none')." in lines
    assert f"{path}: mounts.0.source: field required." in lines


def test_unknown_keys_are_errors_with_what_there_is(tmp_path: Path) -> None:
    message = refusal(tmp_path, "prot: 9000\nprofles: []\n")
    first, second = message.splitlines()
    assert first.startswith(f"{tmp_path / 'berth.yaml'}: profles: no such key; there are: ")
    assert second.startswith(f"{tmp_path / 'berth.yaml'}: prot: no such key; there are: ")
    assert "port, " in first


def test_unknown_keys_further_down_too(tmp_path: Path) -> None:
    assert refusal(tmp_path, "network: {subnett: 10.0.0.0/8}\n") == (
        f"{tmp_path / 'berth.yaml'}: network.subnett: no such key."
    )


@pytest.mark.parametrize(
    ("text", "key", "line"),
    [
        ("port: 1\nport: 2\n", "port", 1),
        ("limits:\n  users:\n    ann: {gpus: 1}\n    ann: {gpus: 8}\n", "ann", 3),
        ("profiles:\n- slug: a\n  name: A\n  slug: b\n", "slug", 2),
    ],
)
def test_a_key_that_stands_twice_is_an_error(tmp_path: Path, text: str, key: str, line: int) -> None:
    message = refusal(tmp_path, text)
    assert message.startswith(f"{tmp_path / 'berth.yaml'}: not YAML: the key {key} stands there twice")
    assert f"line {line}" in message


@pytest.mark.parametrize("text", ["port: [", "\tport: 1", "a: b: c", "? {a: b}\n: c\n", "x: !!python/name:os.system\n"])
def test_what_is_no_yaml(tmp_path: Path, text: str) -> None:
    assert refusal(tmp_path, text).startswith(f"{tmp_path / 'berth.yaml'}: not YAML: ")


def test_what_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "berth.yaml").write_bytes(b"port: \xff\xfe\n")
    with pytest.raises(SettingsInvalid, match="not YAML"):
        load_settings(tmp_path)


@pytest.mark.parametrize("text", ["- port\n", "just words\n", "8000: port\n", "5\n"])
def test_what_has_no_keys(tmp_path: Path, text: str) -> None:
    assert refusal(tmp_path, text) == (f"{tmp_path / 'berth.yaml'}: expected keys with values, such as `port: 8000`.")


def test_the_demo_and_another_address(tmp_path: Path) -> None:
    message = refusal(tmp_path, "bind_address: 0.0.0.0\n")
    assert message.startswith(f"{tmp_path / 'berth.yaml'}: ")
    assert "bind_address must be 127.0.0.1 with the demo sign-in" in message


@pytest.mark.parametrize(
    "text",
    [
        f"api_token: {SECRET}\n",  # too short
        f"api_token: [{SECRET}]\n",
        f"api_tokne: {SECRET}\n",
        f"sign_in: {{method: github, client_id: x, client_secret: [{SECRET}]}}\n",
        f"sign_in: {{method: github, client_id: x, client_secrte: {SECRET}}}\n",
        f"sign_in: {{method: githbu, client_id: x, client_secret: {SECRET}}}\n",
        f"sign_in: {{client_id: x, client_secret: {SECRET}}}\n",
        pytest.param(
            f"sign_in: {SECRET}\n",
        ),
        f"bind_address: 0.0.0.0\napi_token: {SECRET}-and-more\n",
        f"environment: {{A B: x, PASSWORD: {SECRET}}}\n",
        pytest.param(
            f"environment: {{PASSWORD: [{SECRET}]}}\n",
        ),
    ],
)
def test_no_message_tells_a_secret(tmp_path: Path, text: str) -> None:
    assert SECRET not in refusal(tmp_path, text)


def test_no_message_tells_a_secret_of_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BERTH_API_TOKEN", SECRET)
    message = refusal(tmp_path, "")
    assert "BERTH_API_TOKEN" in message
    assert SECRET not in message


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("sqlite:///ledger.db", "sqlite:///{base}/ledger.db"),
        ("sqlite:////srv/ledger.db", "sqlite:////srv/ledger.db"),
        ("postgresql://u:p@db/berth", "postgresql://u:p@db/berth"),
    ],
)
def test_a_ledger_is_the_same_file_wherever_one_stands(tmp_path: Path, written: str, read: str) -> None:
    url = load(tmp_path, f"database_url: {written}\n").database_url
    assert url is not None
    assert url.get_secret_value() == read.format(base=tmp_path)


def test_a_database_that_is_no_text_is_not_told(tmp_path: Path) -> None:
    assert SECRET not in refusal(tmp_path, f'database_url: ["postgresql://u:{SECRET}@db/berth"]\n')
