"""What the user image is built on and with: the build's inputs, and Debian 12 from a registry or made here."""

import os
import queue
import re
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import docker
import requests
from docker.errors import APIError, DockerException, ImageNotFound

from ..errors import BaseImageUnavailable

Report = Callable[[str], None]

REGISTRY_BASE = "debian:bookworm-slim"
LOCAL_BASE = "berth/base:bookworm"
SUITE = "bookworm"

_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY")
_BUNDLES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "PIP_CERT", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS")
_INSTALLED_CERTIFICATES = Path("/usr/local/share/ca-certificates")

# A registry that is there answers a pull within a second or two; one behind a firewall never does.
_PULL_ANSWERS = 15.0
_PULL_STALLS = 60.0


@dataclass(frozen=True)
class BuildInputs:
    """What a build needs from its surroundings; none of it stays in the image but what is asked to stay.

    Attributes
    ----------
    certificates
        PEM files with extra certificate authorities, for package registries behind a private one.
    keep_certificates
        Leave them in the image, for everything that runs in it.
    pip_index_url
        Python package index in place of the usual one.
    debian_mirror
        Address of a Debian archive, up to and without ``/dists``; default: what this machine's own apt uses, if
        that is Debian's archive, else what the base image names.
    environment
        The build's proxy variables (``HTTP_PROXY`` and the like, in either case); others are ignored.
    """

    certificates: tuple[Path, ...] = ()
    keep_certificates: bool = False
    pip_index_url: str | None = None
    debian_mirror: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def proxies(self) -> dict[str, str]:
        return {name: value for name, value in self.environment.items() if name.upper() in _PROXIES and value}

    @property
    def mirror(self) -> str | None:
        return self.debian_mirror or host_mirror()


def host_certificates(
    environment: Mapping[str, str] | None = None, installed: Path = _INSTALLED_CERTIFICATES
) -> tuple[Path, ...]:
    """The extra certificate authorities which this machine trusts: named by its environment, or installed.

    Each file is there and holds a certificate; the distribution's own ones may be among them.
    """
    env = os.environ if environment is None else environment
    candidates = [Path(env[name]) for name in _BUNDLES if env.get(name)]
    candidates += sorted(installed.rglob("*.crt")) if installed.is_dir() else []
    found: dict[Path, None] = {}
    for path in candidates:
        try:
            resolved = path.resolve(strict=True)
            if resolved not in found and b"-----BEGIN CERTIFICATE-----" in resolved.read_bytes():
                found[resolved] = None
        except OSError:
            continue  # a stale variable is the machine's affair, and the build says if it misses something
    return tuple(found)


def host_mirror(etc: Path = Path("/etc")) -> str | None:
    """The Debian archive that this machine's apt uses; None on another distribution or with local sources only."""
    release = _release(etc)
    if release.get("ID") != "debian":
        return None
    codename = release.get("VERSION_CODENAME", "")
    found = [
        address.rstrip("/")
        for address, suites, components in _apt_sources(etc / "apt")
        if address.startswith(("http://", "https://"))
        and not re.match(r"https?://(localhost|127\.|\[::1\])", address)
        and codename in suites
        and "main" in components
    ]
    # Vendors' archives name their suites after Debian's now and then; Debian's own mirrors end so by custom.
    return next((address for address in found if address.endswith("/debian")), found[0] if found else None)


def _release(etc: Path) -> dict[str, str]:
    try:
        lines = (etc / "os-release").read_text().splitlines()
    except OSError:
        return {}
    return {key: value.strip("\"'") for key, _, value in (line.partition("=") for line in lines) if value}


def _apt_sources(apt: Path) -> Iterator[tuple[str, list[str], list[str]]]:
    """Address, suites and components of each binary source, in both of apt's notations."""
    folder = apt / "sources.list.d"
    for path in [apt / "sources.list", *sorted(folder.glob("*.list")), *sorted(folder.glob("*.sources"))]:
        try:
            text = path.read_text()
        except OSError:
            continue
        if path.suffix == ".sources":
            for stanza in re.split(r"\n\s*\n", text):
                fields = dict(re.findall(r"^([A-Za-z-]+):[ \t]*(.*)$", stanza, re.MULTILINE))
                if "deb" in fields.get("Types", "").split() and fields.get("Enabled", "yes") != "no":
                    for address in fields.get("URIs", "").split():
                        yield address, fields.get("Suites", "").split(), fields.get("Components", "").split()
        else:
            for line in text.splitlines():
                if match := re.match(r"deb\s+(?:\[[^\]]*\]\s+)?(\S+)\s+(\S+)\s+([^#]*)", line):
                    yield match[1], [match[2]], match[3].split()


def choose_base(api: docker.APIClient, report: Report, inputs: BuildInputs) -> str:
    """Find or make the image's base and say which it is.

    What lies on the engine already comes first, then the registry, then debootstrap.

    Raises
    ------
    BaseImageUnavailable
        If neither a registry nor a Debian archive can be reached; says what was tried.
    """
    for name in (REGISTRY_BASE, LOCAL_BASE):
        if _exists(api, name):
            report(f"base: {name}, which is on this machine already")
            return name
    refusal = _pull(api, REGISTRY_BASE)
    if refusal is None:
        report(f"base: {REGISTRY_BASE}, from the registry")
        return REGISTRY_BASE
    report(f"base: no {REGISTRY_BASE} from a registry ({refusal}); making one with debootstrap")
    return _bootstrap(api, report, inputs, refusal)


def _exists(api: docker.APIClient, name: str) -> bool:
    try:
        api.inspect_image(name)
    except ImageNotFound:
        return False
    return True


def _pull(api: docker.APIClient, name: str) -> str | None:
    """Pull, or say in a few words why not. A registry that does not answer is given up after some seconds."""
    events: queue.Queue[dict[str, Any] | None] = queue.Queue()

    def work() -> None:
        repository, _, tag = name.partition(":")
        try:
            for event in api.pull(repository, tag=tag, stream=True, decode=True):
                events.put(event)
        except (DockerException, requests.RequestException) as error:
            cause = error.explanation if isinstance(error, APIError) else None
            events.put({"error": cause or str(error)})
        events.put(None)

    # A daemon thread: where the registry never answers, the call cannot be ended from here.
    threading.Thread(target=work, name="pull-base", daemon=True).start()
    patience = _PULL_ANSWERS
    while True:
        try:
            event = events.get(timeout=patience)
        except queue.Empty:
            return "no answer"
        if event is None:
            return None
        if "error" in event:
            return str(event["error"]).rsplit(": ", 1)[-1][:120]
        patience = _PULL_STALLS


def _bootstrap(api: docker.APIClient, report: Report, inputs: BuildInputs, refusal: str) -> str:
    program = _debootstrap(report)
    if program is None:
        raise BaseImageUnavailable(
            f"The user image's base {REGISTRY_BASE} could not be pulled ({refusal}), and debootstrap, which would make"
            " one, is not installed or needs root. Install the package debootstrap and run this as root, or load the"
            f" image: docker load, tagged {REGISTRY_BASE}."
        )
    default = _default_mirror(program)
    mirrors = list(dict.fromkeys(mirror for mirror in (inputs.debian_mirror, host_mirror(), default) if mirror))
    failures = []
    for mirror in mirrors:
        report(f"base: debootstrap of Debian 12 from {mirror}")
        with tempfile.TemporaryDirectory(prefix="berth-base-") as folder:
            failure = _run_debootstrap(program, mirror, Path(folder) / "root", inputs)
            if failure is None:
                _finish(Path(folder) / "root", default or mirror)
                _import(api, Path(folder) / "root")
                report(f"base: {LOCAL_BASE}, made by debootstrap")
                return LOCAL_BASE
        failures.append(f"{mirror}: {failure}")
    raise BaseImageUnavailable(
        f"The user image's base could not be had. The registry gave no {REGISTRY_BASE} ({refusal}); debootstrap"
        f" failed with each Debian archive tried ({'; '.join(failures)}). Name an archive that this machine reaches in"
        " the settings (debian_mirror), a proxy in the environment, or load the image by docker load."
    )


def _debootstrap(report: Report) -> str | None:
    if os.geteuid() != 0:
        return None
    program = shutil.which("debootstrap", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None and shutil.which("apt-get"):
        report("base: installing debootstrap")
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        install = ["apt-get", "install", "-qq", "-y", "debootstrap", "debian-archive-keyring"]
        for command in (["apt-get", "update", "-qq"], install):
            subprocess.run(command, env=environment, capture_output=True, check=False)
        program = shutil.which("debootstrap", path="/usr/sbin:/usr/bin")
    return program


def _default_mirror(program: str) -> str | None:
    """Debian's own address, as debootstrap knows it: what the base's package sources will name."""
    match = re.search(r'^DEF_MIRROR="([^"]+)"', Path(program).read_text(errors="replace"), re.MULTILINE)
    return match[1].rstrip("/") if match else None


def _run_debootstrap(program: str, mirror: str, root: Path, inputs: BuildInputs) -> str | None:
    """Make a minimal Debian under `root`; give the last words of a failure."""
    environment = {**os.environ, **{name.lower(): value for name, value in inputs.proxies.items()}}
    command = [program, "--variant=minbase", "--include=ca-certificates", SUITE, str(root), mirror]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return None
    lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    return lines[-1].removeprefix("E: ")[:200] if lines else f"exit status {done.returncode}"


def _finish(root: Path, mirror: str) -> None:
    """Leave the base as the registry's is: security updates among its sources, nothing of this machine in it."""
    security = f"{mirror.rsplit('/', 1)[0]}/debian-security"
    (root / "etc/apt/sources.list").write_text(
        f"deb {mirror} {SUITE} main\ndeb {mirror} {SUITE}-updates main\ndeb {security} {SUITE}-security main\n"
    )
    for path in ("etc/resolv.conf", "etc/hostname", "etc/machine-id", "var/log/bootstrap.log"):
        (root / path).unlink(missing_ok=True)
    for folder in ("var/cache/apt", "var/lib/apt/lists"):
        shutil.rmtree(root / folder, ignore_errors=True)
        (root / folder).mkdir(parents=True)


def _import(api: docker.APIClient, root: Path) -> None:
    repository, tag = LOCAL_BASE.split(":")
    with subprocess.Popen(["tar", "-C", str(root), "--numeric-owner", "-c", "."], stdout=subprocess.PIPE) as packing:
        if packing.stdout is None:  # cannot be: it was asked for
            raise AssertionError
        api.import_image_from_stream(packing.stdout, repository=repository, tag=tag, changes=['CMD ["bash"]'])
    if packing.returncode:
        api.remove_image(LOCAL_BASE)
        raise BaseImageUnavailable(f"tar failed while {LOCAL_BASE} was imported; is the disk full?")
