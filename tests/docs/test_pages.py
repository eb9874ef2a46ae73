"""What the documentation says that can be compared with what is there."""

import json
import re
from pathlib import Path
from typing import get_type_hints

import pytest

from spawner import errors
from spawner.policy.request import OPTIONS

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
# Raised before there is a server to ask for: by `berth`, or when the hub starts.
_NOT_A_START = {
    "archive_failed",
    "base_image_unavailable",
    "cache_not_warmed",
    "gpu_probe_failed",
    "quota_changed",
    "quota_invalid",
    "unknown_name",
    "disk_nearly_full",
    "error",
    "hub_not_ready",
    "hub_refused",
    "image_build_failed",
    "not_root",
    "port_taken",
    "settings_invalid",
    "sign_in_misconfigured",
    "state_directory_busy",
}


def _prose(page: Path) -> str:
    """A page without its code blocks."""
    return re.sub(r"^ *```.*?^ *```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


def _anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ +(.*)$", _prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", _prose(page)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        led = page.parent / path if path else page
        assert led.exists(), target
        if anchor:
            assert anchor in _anchors(led), target


def test_every_picture_is_shown() -> None:
    shown = {
        (page.parent / target).resolve() for page in PAGES for target in re.findall(r"\]\(([^)\s#]+)", _prose(page))
    }
    assert set((ROOT / "docs/images").glob("*.png")) <= shown


def test_every_page_is_listed() -> None:
    index = ROOT / "docs/index.md"
    linked = {(index.parent / target).resolve() for target in re.findall(r"\]\(([^)#\s]+)", _prose(index))}
    assert {page for page in PAGES if page.is_relative_to(ROOT / "docs")} - {index} <= linked


def test_refusal_codes_are_those_there_are() -> None:
    text = (ROOT / "docs/reference/asking-for-a-server.md").read_text(encoding="utf-8")
    told = dict(re.findall(r"^\| `(\w+)` \| (\d+) \|", text, re.MULTILINE))
    raised = {error.code for error in vars(errors).values() if isinstance(error, type) and hasattr(error, "code")}
    assert {code for code, status in told.items() if status == "500"} == raised - _NOT_A_START
    sources = [path for room in ("policy", "operations", "backends") for path in (ROOT / "spawner" / room).glob("*.py")]
    denied = {code for path in sources for code in re.findall(r'Deny\(\s*"(\w+)"', path.read_text(encoding="utf-8"))}
    # Of extensions, reservations and homes, which are told in a sentence.
    others = {"lease_over", "no_capacity", "others_wait", "reserved"}
    others |= {"home_at_rest", "home_in_use", "home_state", "too_late"}
    classes = (ROOT / "docs/reference/classes.md").read_text(encoding="utf-8")
    of_classes = set(re.findall(r"^\| `(\w+)` \|", classes.partition("## Refusals")[2], re.MULTILINE))
    assert not of_classes & told.keys()
    assert {code for code, status in told.items() if status != "500"} | of_classes == denied - others
    assert all(f"`{code}`" in text for code in others)


def test_options_are_those_there_are() -> None:
    text = (ROOT / "docs/reference/asking-for-a-server.md").read_text(encoding="utf-8")
    options = re.search(r"## Options\n(.*?)\n## ", text, re.DOTALL)
    assert options is not None
    assert tuple(re.findall(r"^\| `(\w+)`", options[1], re.MULTILINE)) == OPTIONS


def _locked(name: str) -> dict[str, str]:
    text = (ROOT / "requirements" / name).read_text(encoding="utf-8")
    return dict(re.findall(r"^([a-z0-9._-]+)==([^\s;]+)", text, re.MULTILINE))


def test_versions_are_the_locked_ones() -> None:
    packages: dict[str, dict[str, str]] = {}
    for place in (".", "tests/support/axe"):
        packages |= json.loads((ROOT / place / "package-lock.json").read_text(encoding="utf-8"))["packages"]
    locked = {
        **_locked("dev.txt"),
        **_locked("hub.txt"),
        **_locked("node.txt"),
        **{path.removeprefix("node_modules/"): package.get("version", "") for path, package in packages.items()},
    }
    text = (ROOT / "docs/explanation/dependencies.md").read_text(encoding="utf-8")
    told = dict(re.findall(r"^\| ([a-z0-9._-]+) \| (\d[^ ]*) \|", text, re.MULTILINE))
    assert told == {name: locked[name] for name in told}


def test_every_dependency_has_its_line() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    text = (ROOT / "docs/explanation/dependencies.md").read_text(encoding="utf-8")
    named = set(re.findall(r"^\| ([a-z0-9._-]+) \|", text, re.MULTILINE))
    assert {re.match(r"[A-Za-z0-9._-]+", entry)[0].lower() for entry in wanted} - {"jupyterhub-berth"} <= named  # type: ignore[index]


def test_traits_are_named() -> None:
    from spawner.settings import SpawnerSettings

    text = (ROOT / "docs/how-to/use-the-spawner-in-your-hub.md").read_text(encoding="utf-8")
    assert {name for name in get_type_hints(SpawnerSettings) if name in SpawnerSettings.model_fields} <= set(
        re.findall(r"`(\w+)`", text)
    )


def test_make_targets_are_described() -> None:
    targets = re.findall(r"^([a-z]+):.*## ", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    text = (ROOT / "docs/reference/commands.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `make (\w+)`", text, re.MULTILINE)) == set(targets)
