"""What the versions and features of an engine and its host mean: findings, from texts, without I/O.

Distributions fix flaws in old versions; so a version that its makers never fixed is looked up among the packages that
a distribution has, and in the package's own list of changes.
"""

import enum
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any


class Level(enum.StrEnum):
    """How grave a finding is: nothing to do; worth doing; must be done."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes
    ----------
    check
        What: a word or two.
    found
        How it is.
    cure
        What to do about it; empty where there is nothing to do.
    """

    check: str
    level: Level
    found: str
    cure: str = ""


@dataclass(frozen=True, slots=True)
class Package:
    """A distribution's package on this machine.

    Attributes
    ----------
    changes
        Its list of changes; empty where that was not installed.
    """

    name: str
    version: str
    changes: str = ""


@dataclass(frozen=True, slots=True)
class Flaw:
    """A known vulnerability of one component.

    Attributes
    ----------
    fixed
        The first version without it, of each branch that was fixed; later branches never had it.
    packaged
        Packages of distributions without it, whose version is older: the beginning of the version and the least
        number after that.
    """

    names: str
    fixed: tuple[str, ...]
    level: Level
    effect: str
    packaged: tuple[tuple[str, int], ...] = ()


# runc's and containerd's: their security advisories. Packages: Debian's DSA-5615-1 and Ubuntu's USN-6619-1.
RUNC_FLAWS = (
    Flaw(
        "CVE-2024-21626",
        ("1.1.12",),
        Level.ERROR,
        "a container can reach the host's files",
        (
            ("1.0.0~rc93+ds1-5+deb11u", 3),
            ("1.1.5+ds1-1+deb12u", 1),
            ("1.1.7-0ubuntu1~20.04.", 2),
            ("1.1.7-0ubuntu1~22.04.", 2),
        ),
    ),
    Flaw(
        "CVE-2025-31133, CVE-2025-52565, CVE-2025-52881",
        ("1.2.8", "1.3.3", "1.4.0-rc.3"),
        Level.WARNING,
        "whoever chooses an image or its mounts can reach the host",
    ),
)
CONTAINERD_FLAWS = (
    Flaw(
        "CVE-2024-40635",
        ("1.6.38", "1.7.27", "2.0.4"),
        Level.WARNING,
        "an image that names a very large user id runs as root",
    ),
)
# NVIDIA's security bulletins of September 2024, February and July 2025.
TOOLKIT_FLAWS = (
    Flaw(
        "CVE-2024-0132, CVE-2025-23359, CVE-2025-23266",
        ("1.17.8",),
        Level.ERROR,
        "a container with a GPU can take over the host",
    ),
)
# moby's advisory GHSA-v23v-6jw2-98fq.
_AUTHORIZATION_FLAW = Flaw(
    "CVE-2024-41110",
    ("23.0.15", "25.0.6", "26.1.5", "27.1.1"),
    Level.ERROR,
    "requests can pass by the authorization plugin",
)

_API = (1, 40)  # Engine 19.03: the first with device requests
_DRIVER = (450, 80, 2)  # the first that runs CUDA 11.2 at all (CUDA's minor version compatibility)
_DRIVER_WITH_PTX = (460, 32, 3)  # of CUDA 11.2 itself, whose compiler GPUs newer than Turing need (CUDA release notes)


def numbers(version: str) -> tuple[int, ...]:
    """Read the numbers of a version for comparing; a release candidate comes before its release.

    ``"1.1.5+ds1"`` gives ``(1, 1, 5, 0, 0)``, ``"v1.4.0-rc.3"`` gives ``(1, 4, 0, -1, 3)``; no number gives nothing.
    """
    match = re.match(r"v?(\d+)(?:\.(\d+))?(?:\.(\d+))?(?:[-~.]?(?:rc|alpha|beta)[-.]?(\d+))?", version.strip())
    if match is None:
        return ()
    early = (-1, int(match[4])) if match[4] else (0, 0)
    return (int(match[1]), int(match[2] or 0), int(match[3] or 0), *early)


def is_fixed(version: str, flaw: Flaw, package: Package | None = None) -> bool:
    """Tell whether a component of this version is without a flaw."""
    ours, fixed = numbers(version), [numbers(first) for first in flaw.fixed]
    same_branch = [first for first in fixed if first[:2] == ours[:2]]
    if ours >= (same_branch[0] if same_branch else max(fixed)):
        return True
    if package is None:
        return False
    if all(name in package.changes for name in flaw.names.split(", ")):
        return True
    for beginning, least in flaw.packaged:
        told = re.match(rf"{re.escape(beginning)}(\d+)", package.version)
        if told and int(told[1]) >= least:
            return True
    return False


def component_findings(
    name: str, version: str, flaws: Iterable[Flaw], package: Package | None, cure: str
) -> list[Finding]:
    """Compare a component with its known flaws: a finding for each flaw, or one that there is none."""
    told = package.version if package else version
    if not numbers(version):
        return [Finding(name, Level.WARNING, f"version {version!r}, which says nothing about known flaws", cure)]
    open_flaws = [flaw for flaw in flaws if not is_fixed(version, flaw, package)]
    return [
        Finding(
            name,
            flaw.level,
            f"{told} has {flaw.names}: {flaw.effect}",
            f"{cure} ({' or '.join(flaw.fixed)}, or your distribution's fix)",
        )
        for flaw in open_flaws
    ] or [Finding(name, Level.OK, told)]


def engine_findings(
    version: Mapping[str, Any], info: Mapping[str, Any], packages: Mapping[str, Package]
) -> list[Finding]:
    """Judge the engine and what it runs containers with.

    Parameters
    ----------
    version
        ``GET /version``.
    info
        ``GET /info``.
    packages
        This machine's packages by name, of an engine on this machine.
    """
    release, api = str(version.get("Version", "")), str(version.get("ApiVersion", ""))
    upgrade = "Upgrade the Docker Engine"
    if numbers(api)[:2] < _API:
        return [Finding("engine", Level.ERROR, f"Docker {release} (API {api})", f"{upgrade}: 19.03 is the oldest")]
    flaws = [_AUTHORIZATION_FLAW] if (info.get("Plugins") or {}).get("Authorization") else []
    package = _owner(release, packages, ("docker-ce", "docker.io", "moby-engine"), "")
    found = component_findings("engine", release, flaws, package, upgrade)
    engine = [Finding("engine", entry.level, f"Docker {entry.found} (API {api})", entry.cure) for entry in found]
    components = {entry["Name"]: entry for entry in version.get("Components") or []}
    for name, known, owners in (
        ("runc", RUNC_FLAWS, ("runc", "runc-app", "containerd.io")),
        ("containerd", CONTAINERD_FLAWS, ("containerd", "containerd-app", "containerd.io")),
    ):
        if name not in components:
            told = "the engine does not tell its version"
            engine.append(Finding(name, Level.WARNING, told, f"See that it is recent: {name} --version"))
            continue
        component = components[name]
        own = str(component["Version"])
        commit = str((component.get("Details") or {}).get("GitCommit", ""))
        owner = _owner(own, packages, owners, commit)
        engine += component_findings(name, own, known, owner, f"Upgrade {name}")
    return engine


def _owner(version: str, packages: Mapping[str, Package], names: Iterable[str], told: str) -> Package | None:
    """Find the package that a version came with, if it is one; engines of Debian tell it themselves, as a commit."""
    # The engine may run another one than the package's, put there by hand; its version then lacks the revision.
    ours = re.compile(rf"(\d+:)?{re.escape(version)}(-.*)?")
    for name in names:
        package = packages.get(name)
        if version and package and ours.fullmatch(package.version):
            return package
    return Package("", told) if version and ours.fullmatch(told) else None


def driver_finding(text: str | None) -> Finding:
    """Judge the NVIDIA driver.

    Parameters
    ----------
    text
        ``/proc/driver/nvidia/version``; None where there is none.
    """
    if text is None:
        return Finding("nvidia driver", Level.OK, "none; this machine's GPUs, if any, are not used")
    match = re.search(r"Kernel Module(?: for \S+)?\s+(\d+)\.(\d+)(?:\.(\d+))?", text)
    upgrade = "Install NVIDIA driver 535 or later"
    if match is None:
        return Finding("nvidia driver", Level.WARNING, f"unknown version: {text.strip()[:80]!r}", upgrade)
    version = tuple(int(part or 0) for part in match.groups())
    told = ".".join(part for part in match.groups() if part)
    if version < _DRIVER:
        needed = "too old for CUDA 11.2, for which TensorFlow 2.9 is built (450.80.02)"
        return Finding("nvidia driver", Level.ERROR, f"{told}: {needed}", upgrade)
    if version < _DRIVER_WITH_PTX:
        told += ": GPUs newer than Turing do not run TensorFlow 2.9 with it (460.32.03)"
        return Finding("nvidia driver", Level.WARNING, told, upgrade)
    return Finding("nvidia driver", Level.OK, told)


def toolkit_findings(text: str | None, *, driver: bool) -> list[Finding]:
    """Judge the NVIDIA Container Toolkit.

    Parameters
    ----------
    text
        Output of ``nvidia-ctk --version`` or ``nvidia-container-cli --version``; None where neither is installed.
    driver
        Whether there is an NVIDIA driver, for which it is needed.
    """
    name, cure = "nvidia toolkit", "Upgrade the package nvidia-container-toolkit"
    if text is None and driver:
        install = "Install the package nvidia-container-toolkit"
        return [Finding(name, Level.ERROR, "none, and without it no container gets a GPU", install)]
    if text is None:
        return [Finding(name, Level.OK, "none; there is no NVIDIA driver either")]
    match = re.search(r"(?:CLI version|cli-version:)\s*v?(\d\S*)", text)
    return component_findings(name, match[1] if match else text.strip()[:80], TOOLKIT_FLAWS, None, cure)


def limit_findings(info: Mapping[str, Any]) -> list[Finding]:
    """Judge whether the kernel enforces what users' containers are promised and denied; from ``GET /info``."""
    cgroups = str(info.get("CgroupVersion") or "1")
    found = [Finding("control groups", Level.OK, f"version {cgroups}")]
    if cgroups == "1":
        told = "version 1: no kernel-enforced GPU memory for shared GPUs"
        found = [Finding("control groups", Level.WARNING, told, "Boot with systemd.unified_cgroup_hierarchy=1")]
    enforced = (
        ("MemoryLimit", "memory", "cgroup_enable=memory"),
        ("SwapLimit", "swap", "swapaccount=1"),
        ("CpuCfsQuota", "CPU time", "a kernel with CONFIG_CFS_BANDWIDTH"),
        ("PidsLimit", "processes", "a kernel with CONFIG_CGROUP_PIDS"),
    )
    for key, what, cure in enforced:
        if info.get(key) is False:
            told = f"the kernel does not limit {what}"
            found.append(Finding("limits", Level.ERROR, told, f"Boot with {cure}"))
    options = " ".join(info.get("SecurityOptions") or [])
    if "name=seccomp" not in options or "profile=unconfined" in options:
        cure = "Take seccomp-profile out of the engine's daemon.json; the kernel needs CONFIG_SECCOMP_FILTER"
        found.append(Finding("seccomp", Level.ERROR, "the engine confines no system calls", cure))
    return found


def dmem_finding(controllers: str | None, capacity: str | None) -> Finding:
    """Judge whether the kernel can bound GPU memory per container.

    Parameters
    ----------
    controllers
        The root control group's ``cgroup.controllers``; None without control groups of version 2.
    capacity
        Its ``dmem.capacity``: the devices whose memory can be bounded.
    """
    cure = "For shared GPUs: Linux 6.14 or later with CONFIG_CGROUP_DMEM, and NVIDIA driver 615 or later"
    if "dmem" not in (controllers or "").split():
        return Finding("dmem", Level.OK, "not in this kernel; memory of shared GPUs is bounded by other means", cure)
    regions = [line.split()[0] for line in (capacity or "").splitlines() if line.strip()]
    if not regions:
        return Finding("dmem", Level.OK, "in this kernel, but no driver offers a device's memory", cure)
    return Finding("dmem", Level.OK, f"bounds the memory of {', '.join(regions)}")
