from pathlib import Path

import certifi
import pytest

from spawner.engine.certificates import write_bundle
from spawner.errors import SettingsInvalid

COMPANY = "-----BEGIN CERTIFICATE-----\nY29tcGFueQ==\n-----END CERTIFICATE-----\n"
USUAL = "-----BEGIN CERTIFICATE-----\ndXN1YWw=\n-----END CERTIFICATE-----\n"


@pytest.fixture
def company(tmp_path: Path) -> Path:
    path = tmp_path / "company.pem"
    path.write_text(COMPANY)
    return path


def test_the_usual_authorities_and_the_extra_ones(tmp_path: Path, company: Path) -> None:
    usual = tmp_path / "usual.crt"
    usual.write_text(USUAL)
    target = tmp_path / "bundle.pem"
    assert write_bundle([company], target, [tmp_path / "none.crt", usual]) == target
    assert USUAL in target.read_text()
    assert COMPANY in target.read_text()
    assert target.stat().st_mode & 0o777 == 0o644
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle.pem", "company.pem", "usual.crt"]


def test_certifis_where_the_system_has_none(tmp_path: Path, company: Path) -> None:
    bundle = write_bundle([company], tmp_path / "bundle.pem", []).read_text()
    assert bundle.startswith(Path(certifi.where()).read_text())
    assert bundle.count("BEGIN CERTIFICATE") > 50


def test_an_older_bundle_is_replaced(tmp_path: Path, company: Path) -> None:
    target = tmp_path / "bundle.pem"
    target.write_text("old")
    write_bundle([company], target)
    assert "old" not in target.read_text().splitlines()


def test_a_file_without_an_end_of_line(tmp_path: Path) -> None:
    first, second = tmp_path / "a.pem", tmp_path / "b.pem"
    first.write_text(COMPANY.rstrip())
    second.write_text(USUAL.rstrip())
    assert "-----END CERTIFICATE----------BEGIN" not in write_bundle([first, second], tmp_path / "c.pem").read_text()


def test_a_file_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(SettingsInvalid, match=r"certificates: .*none\.pem cannot be read: No such file"):
        write_bundle([tmp_path / "none.pem"], tmp_path / "bundle.pem")


@pytest.mark.parametrize("content", [b"", b"-----BEGIN PRIVATE KEY-----\n", b"\x30\x82\xff\xfe"])
def test_a_file_that_holds_no_certificate(tmp_path: Path, content: bytes) -> None:
    wrong = tmp_path / "wrong.pem"
    wrong.write_bytes(content)
    with pytest.raises(SettingsInvalid, match=r"certificates: .*wrong\.pem holds no PEM certificate"):
        write_bundle([wrong], tmp_path / "bundle.pem")
    assert not (tmp_path / "bundle.pem").exists()
