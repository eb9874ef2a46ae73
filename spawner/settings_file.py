"""Reading the settings, and saying what is wrong with them."""

import os
from pathlib import Path
from typing import Any

import yaml
from pydantic import SecretStr, ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import SettingsError

from .errors import SettingsInvalid
from .metrics.settings import MetricsSettings
from .settings import Settings
from .strict_yaml import StrictLoader

PREFIX = "BERTH_"
FILE_VARIABLE = "BERTH_CONFIG"


def settings_path(root: Path) -> Path | None:
    """Find the settings file: ``$BERTH_CONFIG``, else ``berth.yaml`` in `root`, else none.

    Raises
    ------
    SettingsInvalid
        If ``$BERTH_CONFIG`` names no file.
    """
    named = os.environ.get(FILE_VARIABLE)
    if named:
        path = Path(named)
        if not path.is_file():
            raise SettingsInvalid(f"{FILE_VARIABLE} names {named}, which is not a file.")
        return path.absolute()
    path = root / "berth.yaml"
    return path if path.is_file() else None


def load_settings(root: Path) -> Settings:
    """Read the settings file and the environment, which goes before the file.

    Relative paths count from the settings file's directory, or from `root` where there is no file.

    Raises
    ------
    SettingsInvalid
        Names every mistake, a line each: where it stands, the key, what was expected and what was found.
    """
    path = settings_path(root)
    _refuse_unknown_variables()
    values = _read(path) if path else {}
    try:
        settings = Settings(**values)
    except ValidationError as error:
        lines = [_explain(detail, path) for detail in error.errors()]
        raise SettingsInvalid("\n".join(lines)) from None
    except SettingsError as error:
        raise SettingsInvalid(f"environment: {error}: {error.__cause__}") from None
    return _resolved(settings, path.parent if path else root)


def _resolved(settings: Settings, base: Path) -> Settings:
    """Make the paths absolute."""
    return settings.model_copy(
        update={
            "state_dir": _absolute(settings.state_dir, base),
            "sign_in": settings.sign_in.resolved(base),
            "shared_dir": settings.shared_dir and _absolute(settings.shared_dir, base),
            "certificates": tuple(_absolute(path, base) for path in settings.certificates),
            "metrics": _absolute_metrics(settings.metrics, base),
            "homes": settings.homes.model_copy(
                update={"archive_dir": settings.homes.archive_dir and _absolute(settings.homes.archive_dir, base)}
            ),
            "database_url": settings.database_url and _absolute_database(settings.database_url, base),
        }
    )


def _absolute(path: Path, base: Path) -> Path:
    return (base / path.expanduser()).resolve()


def _absolute_metrics(metrics: MetricsSettings, base: Path) -> MetricsSettings:
    names = "certificate", "key", "job_mapping_dir"
    paths = {name: path for name in names if (path := getattr(metrics, name)) is not None}
    exporters = tuple(
        one.model_copy(update={"certificate_authority": _absolute(one.certificate_authority, base)})
        if one.certificate_authority
        else one
        for one in metrics.exporters
    )
    return metrics.model_copy(
        update={"exporters": exporters, **{name: _absolute(path, base) for name, path in paths.items()}}
    )


def _absolute_database(url: SecretStr, base: Path) -> SecretStr:
    """Let an SQLite file be the same one for the hub and for commands, wherever they are called."""
    scheme, _, path = url.get_secret_value().partition(":///")
    if scheme != "sqlite" or not path or path.startswith((":", "file:")):  # which the ledger refuses
        return url
    return SecretStr(f"{scheme}:///{_absolute(Path(path), base)}")


def _read(path: Path) -> dict[str, Any]:
    try:
        values = yaml.load(path.read_text(encoding="utf-8"), Loader=StrictLoader)  # noqa: S506  a SafeLoader
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SettingsInvalid(f"{path}: not YAML: {error}") from None
    if values is None:
        return {}
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise SettingsInvalid(f"{path}: expected keys with values, such as `port: 8000`.")
    unknown = sorted(set(values) - set(Settings.model_fields))
    if unknown:
        known = ", ".join(sorted(Settings.model_fields))
        raise SettingsInvalid("\n".join(f"{path}: {key}: no such key; there are: {known}." for key in unknown))
    return values


def _refuse_unknown_variables() -> None:
    for name in sorted(os.environ):
        field = name.removeprefix(PREFIX).split("__")[0].lower()
        if name.startswith(PREFIX) and name != FILE_VARIABLE and field not in Settings.model_fields:
            known = ", ".join(f"{PREFIX}{field.upper()}" for field in sorted(Settings.model_fields))
            raise SettingsInvalid(f"environment: {name}: no such setting; there are: {known}.")


def _explain(detail: ErrorDetails, path: Path | None) -> str:
    location = [str(part) for part in detail["loc"]]
    key = ".".join(location) or "the settings as a whole"
    variables = ["__".join(location[:depth]).upper() for depth in range(1, len(location) + 1)]
    set_by = next((PREFIX + name for name in variables if PREFIX + name in os.environ), None)
    where = f"environment variable {set_by}" if set_by else str(path or "defaults")
    if detail["type"] == "extra_forbidden":
        return f"{where}: {key}: no such key."
    expected = detail["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
    found = detail["input"]
    # A whole section, or a value that is missing, tells nothing; what may be a secret must not be told.
    hidden = (
        isinstance(found, dict)
        or "secret" in key
        or "token" in key
        or key in {"sign_in", "database_url"}
        or location[:1] == ["environment"]
    )
    shown = "" if hidden else f" (found: {found!r})"
    return f"{where}: {key}: {expected[0].lower() + expected[1:]}{shown}."
