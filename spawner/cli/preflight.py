"""What ``berth doctor`` looks at on this machine; each check gives findings and changes nothing."""

import ctypes
import gzip
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import docker
from docker.errors import ImageNotFound

from ..engine import versions
from ..engine.devices import find_way
from ..engine.observe import parse_time
from ..engine.versions import Finding, Level, Package
from ..errors import BerthError, PortTaken, SettingsInvalid
from ..policy.admission import format_bytes
from ..policy.names import network_name
from ..processes import listener
from ..settings import HUB_PORT
from .checks import ENGINE_SPACE, STATE_SPACE, require_port
from .deployment import Deployment
from .hub import orphaned_proxy, running_hub

_DRIVER = Path("/proc/driver/nvidia/version")
_CGROUPS = Path("/sys/fs/cgroup")
_BRIDGE_FILTER = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")
_CHANGES = Path("/usr/share/doc")
_PACKAGES = (
    "containerd",
    "containerd-app",
    "containerd.io",
    "docker-ce",
    "docker.io",
    "moby-engine",
    "runc",
    "runc-app",
)
_COMFORTABLE = 10 << 30  # below it an image build or a few large environments fill the engine's disk
_UNSYNCHRONISED = 0x40  # STA_UNSYNC, see adjtimex(2)
_SKEW_WARNING, _SKEW_ERROR = 2.0, 60.0  # seconds


@dataclass(frozen=True)
class Scene:
    """What the checks look at.

    Attributes
    ----------
    client
        None where no engine answers; `info` and `version` are empty then.
    here
        Whether the engine is this machine's own.
    skew
        Seconds by which the engine's clock is ahead of ours.
    """

    deployment: Deployment
    client: docker.APIClient | None = None
    info: Mapping[str, Any] = field(default_factory=dict)
    version: Mapping[str, Any] = field(default_factory=dict)
    here: bool = False
    skew: float = 0.0

    @classmethod
    def of(cls, deployment: Deployment, client: docker.APIClient) -> "Scene":
        before = datetime.now(UTC)
        info = client.info()
        after = datetime.now(UTC)
        told = parse_time(str(info.get("SystemTime", "")))
        skew = (told - (before + (after - before) / 2)).total_seconds() if told else 0.0
        here = client.base_url == "http+docker://localhost"  # docker-py's word for a Unix socket
        return cls(deployment, client, info, client.version(api_version=False), here, skew)


def engine(scene: Scene) -> Iterator[Finding]:
    if scene.client is None:
        return
    packages = {package.name: package for package in _packages()} if scene.here else {}
    yield from versions.engine_findings(scene.version, scene.info, packages)
    yield from versions.limit_findings(scene.info)


def _packages() -> Iterator[Package]:
    """List those of this machine's packages that brought an engine, with their changes."""
    if shutil.which("dpkg-query"):
        listed = _output("dpkg-query", "-W", "-f", "${Package} ${Version} ${db:Status-Abbrev}\n", *_PACKAGES)
        for name, version in (line.split()[:2] for line in (listed or "").splitlines() if line.split()[2:] == ["ii"]):
            yield Package(name, version, _debian_changes(name))
    elif shutil.which("rpm"):
        for name in _PACKAGES:
            told = _output("rpm", "-q", "--qf", "%{VERSION}-%{RELEASE}", name)
            if told and "not installed" not in told:
                yield Package(name, told, _output("rpm", "-q", "--changelog", name) or "")


def _debian_changes(name: str) -> str:
    try:
        with gzip.open(_CHANGES / name / "changelog.Debian.gz", "rt", encoding="utf-8", errors="replace") as file:
            return file.read()
    except (OSError, EOFError):  # left out of small systems
        return ""


def _output(*command: str) -> str | None:
    """Give what a command printed; None where there is none. Its exit status says nothing here."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout


def gpus(scene: Scene) -> Iterator[Finding]:
    driver = _DRIVER.read_text(encoding="utf-8", errors="replace") if _DRIVER.exists() else None
    yield versions.driver_finding(driver)
    toolkit = _output("nvidia-ctk", "--version") or _output("nvidia-container-cli", "--version")
    yield from versions.toolkit_findings(toolkit, driver=driver is not None)
    yield versions.dmem_finding(_text(_CGROUPS / "cgroup.controllers"), _text(_CGROUPS / "dmem.capacity"))
    if driver is None or scene.client is None:
        return
    image = scene.deployment.image
    try:
        way = find_way(scene.client, [], image)
    except ImageNotFound:
        told = f"not tried, for want of the image {image}"
        yield Finding("gpus in containers", Level.WARNING, told, "make images, then again")
    except BerthError as error:
        yield from_error("gpus in containers", error)
    else:
        yield Finding("gpus in containers", Level.OK, f"by way of: {way}")


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return None


def disk(scene: Scene) -> Iterator[Finding]:
    yield space("state directory", scene.deployment.state.path, STATE_SPACE, STATE_SPACE)
    if scene.here:
        yield space("engine's directory", Path(scene.info["DockerRootDir"]), ENGINE_SPACE, _COMFORTABLE)


def space(check: str, path: Path, needed: int, comfortable: int) -> Finding:
    """Judge the space that is left for a directory, which need not exist yet."""
    there = path.absolute()
    while not there.exists():
        there = there.parent
    usage = shutil.disk_usage(there)
    told = f"{format_bytes(usage.free)} of {format_bytes(usage.total)} free at {path}"
    cure = "Free some space: old images (docker image prune), homes of users who left; or take a larger disk"
    if usage.free < needed:
        return Finding(check, Level.ERROR, f"{told}; {format_bytes(needed)} are needed", cure)
    if usage.free < comfortable:
        return Finding(check, Level.WARNING, told, cure)
    return Finding(check, Level.OK, told)


def ports(scene: Scene) -> Iterator[Finding]:
    settings, state = scene.deployment.settings, scene.deployment.state
    told = f"{settings.bind_address}:{settings.port}"
    if running_hub(state):
        yield Finding("port", Level.OK, f"{told} is this hub's, which runs")
        return
    orphan = orphaned_proxy(state)
    if orphan and listener(settings.port) == orphan:
        yield Finding("port", Level.OK, f"{told} is held by the proxy of a hub that was killed; make up replaces it")
        return
    try:
        require_port(settings.bind_address, settings.port)
    except BerthError as error:
        yield from_error("port", error)
    else:
        yield Finding("port", Level.OK, f"{told} is free")
    hub_id = state.known_hub_id()
    if scene.client is not None and scene.here and hub_id:
        networks = scene.client.networks(names=[network_name(hub_id)])
        gateways = [part["Gateway"] for network in networks for part in network["IPAM"]["Config"]]
        yield from (_hub_port(gateway) for gateway in gateways)


def _hub_port(gateway: str) -> Finding:
    """Judge the port at which users' containers reach the hub."""
    told = f"{gateway}:{HUB_PORT}, for users' containers"
    try:
        require_port(gateway, HUB_PORT)
    except PortTaken:
        by = listener(HUB_PORT)
        whose = f"pid {by.pid} ({by.command[:80]})" if by else "a process that this user may not see"
        return Finding("hub's port", Level.ERROR, f"{told}, is taken by {whose}", "Stop it; this port cannot be set")
    except SettingsInvalid:
        return Finding("hub's port", Level.OK, f"{told}: their network is down, as before a first start")
    return Finding("hub's port", Level.OK, f"{told}, is free")


class _Timex(ctypes.Structure):
    """``struct timex``, see adjtimex(2); the fields after `status` are not looked at."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_byte * 256),
    )


def clock(scene: Scene) -> Iterator[Finding]:
    timex = _Timex()  # modes 0: only reads
    if ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.byref(timex)) < 0:
        told = f"the kernel does not tell whether it is right: {os.strerror(ctypes.get_errno())}"
        yield Finding("clock", Level.WARNING, told, "See that a time service runs: timedatectl")
    else:
        yield synchronised(timex.status, timex.maxerror)
    if scene.client is not None:
        yield engine_clock(scene.skew)


def synchronised(status: int, maximum_error: int) -> Finding:
    """Judge the clock by the kernel's word; `maximum_error` in microseconds."""
    if status & _UNSYNCHRONISED:
        told = "not synchronised: leases, budgets and signing in go by it"
        return Finding("clock", Level.WARNING, told, "apt-get install systemd-timesyncd, or chrony with rtcsync")
    return Finding("clock", Level.OK, f"synchronised, to within {maximum_error / 1000:.0f} ms")


def engine_clock(skew: float) -> Finding:
    """Judge how far the engine's clock is from ours: GPU time is booked by the engine's."""
    if abs(skew) < _SKEW_WARNING:
        return Finding("engine's clock", Level.OK, "goes with this machine's")
    level = Level.ERROR if abs(skew) >= _SKEW_ERROR else Level.WARNING
    told = f"{abs(skew):.1f} s {'ahead of' if skew > 0 else 'behind'} this machine's; GPU time is booked by it"
    return Finding("engine's clock", level, told, "Synchronise both by the same time service")


def firewall(scene: Scene) -> Iterator[Finding]:
    if scene.deployment.settings.network.firewall == "external":
        yield Finding("firewall", Level.OK, "external: you set the rules that berth firewall prints")
        return
    if not scene.here:
        return
    seen = _text(_BRIDGE_FILTER)
    if (seen or "").strip() == "1":
        yield Finding("bridge filter", Level.OK, "iptables sees traffic between containers")
    else:
        told = "not loaded" if seen is None else "switched off"
        cure = (
            "As root: modprobe br_netfilter && sysctl net.bridge.bridge-nf-call-iptables=1, and for the next boot too"
        )
        yield Finding("bridge filter", Level.ERROR, f"br_netfilter is {told}: containers reach each other", cure)
    yield _iptables()


def _iptables() -> Finding:
    missing = [program for program in ("iptables", "iptables-restore", "iptables-save") if not shutil.which(program)]
    external = "or set network.firewall to external and the rules by hand"
    if missing:
        return Finding(
            "iptables", Level.ERROR, f"without {', '.join(missing)}", f"apt-get install iptables, {external}"
        )
    if os.geteuid() != 0:
        return Finding("iptables", Level.WARNING, "only root can tell whether it works", f"Run as root, {external}")
    done = subprocess.run(["iptables", "--wait", "-S", "FORWARD"], capture_output=True, text=True, check=False)
    if done.returncode:
        told = (done.stderr.strip().splitlines() or ["it fails"])[-1]
        return Finding("iptables", Level.ERROR, told, f"See that the kernel has netfilter (nf_tables), {external}")
    return Finding("iptables", Level.OK, (_output("iptables", "--version") or "works").strip())


def from_error(check: str, error: BerthError) -> Finding:
    """Make a finding of an error, whose last sentence says what to do."""
    found, dot, cure = str(error).partition(". ")
    return Finding(check, Level.ERROR, found, cure if dot else "")
