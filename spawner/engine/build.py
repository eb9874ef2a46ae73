"""Builds the user image from its recipe, with the classic builder that every Docker Engine has.

`ensure_image` is a no-op where the tag was built from the same recipe. See `.base` for the build's inputs.
"""

import contextlib
import hashlib
import io
import re
import tarfile
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import docker
from docker.errors import APIError, ImageNotFound

from ..errors import ImageBuildFailed
from .base import BuildInputs, Report, choose_base, host_certificates, host_mirror

__all__ = [
    "RECIPE_LABEL",
    "BuildInputs",
    "Flavour",
    "choose_base",
    "ensure_image",
    "host_certificates",
    "host_mirror",
    "recipe_hash",
]

Flavour = Literal["cpu", "gpu"]

RECIPE_LABEL = "berth.image.recipe"
TAG = "berth/tensorflow:2.9.3-{flavour}"

_IGNORED = {"__pycache__", ".ruff_cache", ".mypy_cache"}
_LAST_LINES = 25
_QUIET_SECONDS = 15.0
# Of a step's own output only what tells how far it is.
_TELLING = re.compile(r"^(Downloading \S+ \(|Resolved |Prepared |Installed \d|Bytecode compiled |[WE]: )")
_TLS = re.compile(r"certificate verify failed|invalid peer certificate|unknown ?issuer|self[- ]signed", re.IGNORECASE)


def ensure_image(
    api: docker.APIClient,
    flavour: Flavour,
    context: Path,
    inputs: BuildInputs,
    report: Report,
    tag: str | None = None,
    *,
    force: bool = False,
) -> str:
    """Build one flavour of the user image unless its tag was built from this very recipe.

    Parameters
    ----------
    api
        An engine's client.
    flavour
        ``cpu`` or ``gpu``: the Dockerfile's build target.
    context
        The directory with the Dockerfile.
    inputs
        What the build needs from its surroundings.
    report
        Called with one short line per step.
    tag
        Default ``berth/tensorflow:2.9.3-<flavour>``.
    force
        Build from scratch, without the engine's cache, for fresh Debian packages.

    Returns
    -------
    str
        The image's id.

    Raises
    ------
    ImageBuildFailed
        With the last lines of the step that failed.
    BaseImageUnavailable
        If there is nothing to build on.
    """
    tag = tag or TAG.format(flavour=flavour)
    recipe = recipe_hash(context, flavour, inputs)
    try:
        former = api.inspect_image(tag)
    except ImageNotFound:
        former = None
    if former and not force and (former["Config"].get("Labels") or {}).get(RECIPE_LABEL) == recipe:
        report(f"{tag} is up to date")
        return str(former["Id"])
    base = choose_base(api, report, inputs)
    started = time.monotonic()
    events = api.build(
        fileobj=_archive(context, inputs.certificates),
        custom_context=True,
        tag=tag,
        target=flavour,
        buildargs=_arguments(base, inputs),
        labels={RECIPE_LABEL: recipe, "org.opencontainers.image.base.name": base},
        nocache=force,
        rm=True,
        forcerm=True,
        decode=True,
    )
    try:
        _follow(events, report, inputs)
    except APIError as error:
        raise ImageBuildFailed(f"The engine refused to build {tag}: {error.explanation or error}") from error
    report(f"{tag} built in {time.monotonic() - started:.0f} s")
    built = str(api.inspect_image(tag)["Id"])
    if former and former["Id"] != built:
        # Several GB that nothing names any more; the engine refuses while a container uses them or a tag is left.
        with contextlib.suppress(APIError):
            api.remove_image(former["Id"])
    return built


def recipe_hash(context: Path, flavour: Flavour, inputs: BuildInputs) -> str:
    """A digest of all that shapes the image: its files and what is asked to stay in it.

    Mirrors, proxies and certificates that leave no trace do not count, nor does the base: a newer Debian or a machine
    which makes its own is no reason for everyone's next start to take minutes. `ensure_image(force=True)` is.
    """
    digest = hashlib.sha256(flavour.encode())
    for name, path in _files(context):
        mode = b"x" if path.stat().st_mode & 0o100 else b"-"
        content = path.read_bytes()
        digest.update(b"%b\0%b\0%d\0%b" % (name.encode(), mode, len(content), content))
    if inputs.keep_certificates:
        for path in inputs.certificates:
            digest.update(b"certificate\0" + path.read_bytes())
    return digest.hexdigest()


def _files(context: Path) -> list[tuple[str, Path]]:
    """The recipe's files by name; not the certificates, which are inputs."""
    found = [
        (path.relative_to(context).as_posix(), path)
        for path in context.rglob("*")
        if path.is_file() and not _IGNORED.intersection(path.parts)
    ]
    return sorted((name, path) for name, path in found if not re.match(r"certificates/.*\.crt$", name))


def _archive(context: Path, certificates: tuple[Path, ...]) -> io.BytesIO:
    """The build context: owned by root, with times that do not vary, so that the engine's cache holds everywhere."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        entries = [(name, path.read_bytes(), path.stat().st_mode) for name, path in _files(context)]
        entries += [
            (f"certificates/extra-{number}.crt", path.read_bytes().rstrip() + b"\n", 0o644)
            for number, path in enumerate(certificates)
        ]
        for name, content, mode in entries:
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            entry.mode = 0o755 if mode & 0o100 else 0o644
            archive.addfile(entry, io.BytesIO(content))
    buffer.seek(0)
    return buffer


def _arguments(base: str, inputs: BuildInputs) -> dict[str, str]:
    arguments = {"BASE": base, **inputs.proxies}
    if inputs.mirror:
        arguments["DEBIAN_MIRROR"] = inputs.mirror
    if inputs.pip_index_url:
        arguments["PIP_INDEX_URL"] = inputs.pip_index_url
    if inputs.keep_certificates:
        arguments["KEEP_CERTIFICATES"] = "1"
    return arguments


def _follow(events: Iterator[dict[str, Any]], report: Report, inputs: BuildInputs) -> None:
    """Report the builder's stream in short lines; raise when it tells of an error."""
    step, last, spoken = "", deque[str](maxlen=_LAST_LINES), time.monotonic()
    for event in events:
        if "error" in event:
            raise _failure(step, last, str(event["error"]), inputs)
        for line in str(event.get("stream", "")).splitlines():
            text = re.sub(r"\x1b\[[0-9;]*m", "", line).strip()
            if match := re.match(r"(Step \d+/\d+) : (.*)", text):
                step = f"{match[1].lower()}: {match[2]}"
                last.clear()
                if match[2].startswith(("FROM", "RUN", "COPY")):
                    report(step[:110])
                    spoken = time.monotonic()
            elif text and not text.startswith(("--->", "Removing intermediate")):
                last.append(text)
                if _TELLING.match(text) or time.monotonic() - spoken > _QUIET_SECONDS:
                    report(f"  {text[:108]}")
                    spoken = time.monotonic()


def _failure(step: str, last: deque[str], error: str, inputs: BuildInputs) -> ImageBuildFailed:
    lines = [f"The image's build failed at {step or 'its start'}", f"{error.strip()}."]
    told = "\n".join(last)
    if _TLS.search(told):
        known = "those given do not cover it" if inputs.certificates else "none are given"
        lines.append(
            "A package registry presented a certificate that the build does not trust: add your authority's PEM file"
            f" to the settings' certificates ({known})."
        )
    if last:
        lines += ["The step's last lines:", *(f"  {line}" for line in last)]
    return ImageBuildFailed("\n".join(lines))
