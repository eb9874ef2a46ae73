"""What versions and features mean, from texts as machines give them."""

from typing import Any

import pytest

from spawner.engine.versions import (
    CONTAINERD_FLAWS,
    RUNC_FLAWS,
    TOOLKIT_FLAWS,
    Finding,
    Level,
    Package,
    dmem_finding,
    driver_finding,
    engine_findings,
    is_fixed,
    limit_findings,
    numbers,
    toolkit_findings,
)

LEAKY, MASKED = RUNC_FLAWS


def test_numbers() -> None:
    in_order = ["1.0.0~rc93+ds1", "1.0.0", "1.1.5+ds1", "1.1.12", "v1.2.0-rc.1", "1.2.0-rc.3", "1.2", "1.3.3-0ubuntu1"]
    assert [numbers(version) for version in in_order] == sorted(numbers(version) for version in in_order)
    assert numbers("27.1.1-1~debian.12~bookworm") == (27, 1, 1, 0, 0)
    assert numbers("1.4.0-rc.3") == (1, 4, 0, -1, 3)
    assert numbers("unknown") == ()


@pytest.mark.parametrize(
    ("version", "leaky", "masked"),
    [
        ("1.0.3", False, False),
        ("1.1.11", False, False),
        ("1.1.12", True, False),
        ("1.1.15", True, False),
        ("1.2.7", True, False),
        ("1.2.8", True, True),
        ("1.3.0", True, False),
        ("1.3.3", True, True),
        ("1.4.0-rc.2", True, False),
        ("1.4.0-rc.3", True, True),
        ("1.4.0", True, True),
        ("2.0.0", True, True),
    ],
)
def test_each_branch_has_its_own_first_good_version(version: str, leaky: bool, masked: bool) -> None:
    assert (is_fixed(version, LEAKY), is_fixed(version, MASKED)) == (leaky, masked)


@pytest.mark.parametrize(
    ("package", "fixed"),
    [
        ("1.1.5+ds1-1+deb12u1", True),
        ("1.1.5+ds1-1+deb12u2+b3", True),
        ("1.1.5+ds1-1", False),
        ("1.1.5+ds1-1+b2", False),
        ("1.0.0~rc93+ds1-5+deb11u2", False),
        ("1.0.0~rc93+ds1-5+deb11u3", True),
        ("1.0.0~rc93+ds1-5+deb11u10", True),
        ("1.1.7-0ubuntu1~22.04.1", False),
        ("1.1.7-0ubuntu1~22.04.2", True),
        ("1.1.7-0ubuntu2", False),
    ],
)
def test_a_distributions_fix_counts(package: str, fixed: bool) -> None:
    assert is_fixed(package.partition("-")[0], LEAKY, Package("runc", package)) is fixed


def test_a_package_that_says_it_has_the_fix() -> None:
    changes = "  * Non-maintainer upload.\n  * CVE-2025-31133, CVE-2025-52565: masked paths"
    package = Package("runc", "1.1.5+ds1-9", changes)
    assert not is_fixed("1.1.5+ds1", MASKED, package)  # two of three
    assert is_fixed("1.1.5+ds1", MASKED, Package("runc", "1.1.5+ds1-9", f"{changes}, CVE-2025-52881"))


DEBIAN: dict[str, Any] = {
    "Version": "20.10.24+dfsg1",
    "ApiVersion": "1.41",
    "Components": [
        {"Name": "Engine", "Version": "20.10.24+dfsg1", "Details": {"GitCommit": "5d6db84"}},
        {"Name": "containerd", "Version": "1.6.20~ds1", "Details": {"GitCommit": "1.6.20~ds1-1+deb12u3"}},
        {"Name": "runc", "Version": "1.1.5+ds1", "Details": {"GitCommit": "1.1.5+ds1-1+deb12u1"}},
    ],
}
DOCKER: dict[str, Any] = {
    "Version": "27.1.0",
    "ApiVersion": "1.46",
    "Components": [
        {
            "Name": "containerd",
            "Version": "1.7.27",
            "Details": {"GitCommit": "05044ec0a9a75232cad458027ca83437aae3f4da"},
        },
        {"Name": "runc", "Version": "1.1.11", "Details": {"GitCommit": "v1.1.11-0-g4bccb38"}},
    ],
}


def test_debians_engine_as_it_tells_itself() -> None:
    engine, runc, containerd = engine_findings(DEBIAN, {}, {})
    assert engine == Finding("engine", Level.OK, "Docker 20.10.24+dfsg1 (API 1.41)")
    # The fix of 2024 is in the package; those of 2025 are not.
    assert (runc.check, runc.level) == ("runc", Level.WARNING)
    assert runc.found.startswith("1.1.5+ds1-1+deb12u1 has CVE-2025-31133, CVE-2025-52565, CVE-2025-52881: ")
    assert runc.cure == "Upgrade runc (1.2.8 or 1.3.3 or 1.4.0-rc.3, or your distribution's fix)"
    assert (containerd.check, containerd.level) == ("containerd", Level.WARNING)


def test_debians_engine_with_its_packages() -> None:
    packages = {
        "docker.io": Package("docker.io", "20.10.24+dfsg1-1+deb12u1+b6"),
        "containerd": Package("containerd", "1.6.20~ds1-1+deb12u3", "Fix overflow, Fixes: CVE-2024-40635"),
        "runc": Package("runc", "1.1.5+ds1-1+deb12u2", "CVE-2025-31133 CVE-2025-52565 CVE-2025-52881"),
    }
    assert engine_findings(DEBIAN, {}, packages) == [
        Finding("engine", Level.OK, "Docker 20.10.24+dfsg1-1+deb12u1+b6 (API 1.41)"),
        Finding("runc", Level.OK, "1.1.5+ds1-1+deb12u2"),
        Finding("containerd", Level.OK, "1.6.20~ds1-1+deb12u3"),
    ]


def test_a_package_is_not_taken_for_what_was_put_over_it_by_hand() -> None:
    packages = {"runc": Package("runc", "1.1.5+ds1-1+deb12u1", "CVE-2024-21626")}
    version = {
        **DEBIAN,
        "Components": [{"Name": "runc", "Version": "1.1.5", "Details": {"GitCommit": "v1.1.5-0-gf19387a"}}],
    }
    levels = [finding.level for finding in engine_findings(version, {}, packages) if finding.check == "runc"]
    assert levels == [Level.ERROR, Level.WARNING]


def test_dockers_own_engine() -> None:
    engine, *runc, containerd = engine_findings(DOCKER, {}, {"docker-ce": Package("docker-ce", "5:27.1.0-1~debian.12")})
    assert engine == Finding("engine", Level.OK, "Docker 5:27.1.0-1~debian.12 (API 1.46)")
    assert [finding.level for finding in runc] == [Level.ERROR, Level.WARNING]
    assert "1.1.11 has CVE-2024-21626: a container can reach the host's files" in runc[0].found
    assert containerd.level is Level.OK


@pytest.mark.parametrize(
    ("version", "level"),
    [
        ("27.1.0", Level.ERROR),
        ("27.1.1", Level.OK),
        ("26.0.2", Level.ERROR),
        ("26.1.5", Level.OK),
        ("28.0.0", Level.OK),
    ],
)
def test_an_authorization_plugin_that_can_be_passed_by(version: str, level: Level) -> None:
    guarded = {"Plugins": {"Authorization": ["opa"]}}
    told = {**DOCKER, "Version": version}
    assert engine_findings(told, guarded, {})[0].level is level
    assert engine_findings(told, {"Plugins": {"Authorization": None}}, {})[0].level is Level.OK


def test_an_engine_that_is_too_old_or_says_little() -> None:
    assert engine_findings({"Version": "18.09.1", "ApiVersion": "1.39"}, {}, {}) == [
        Finding("engine", Level.ERROR, "Docker 18.09.1 (API 1.39)", "Upgrade the Docker Engine: 19.03 is the oldest")
    ]
    quiet = engine_findings({"Version": "29.0.0", "ApiVersion": "1.52"}, {}, {})
    assert [(finding.check, finding.level) for finding in quiet] == [
        ("engine", Level.OK),
        ("runc", Level.WARNING),
        ("containerd", Level.WARNING),
    ]
    odd = engine_findings({"Version": "master", "ApiVersion": "1.52", "Components": None}, {}, {})[0]
    assert (odd.level, odd.found) == (
        Level.WARNING,
        "Docker version 'master', which says nothing about known flaws (API 1.52)",
    )


@pytest.mark.parametrize(
    ("text", "level", "told"),
    [
        (None, Level.OK, "none"),
        (
            "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.104.05  Sat Aug 19\nGCC version:  gcc 12.2.0\n",
            Level.OK,
            "535.104.05",
        ),
        (
            "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.86.15  Release Build  (dvs-builder@U22-I3)\n",
            Level.OK,
            "570.86.15",
        ),
        ("NVRM version: NVIDIA UNIX x86_64 Kernel Module  450.80.02  x", Level.WARNING, "newer than Turing"),
        ("NVRM version: NVIDIA UNIX x86_64 Kernel Module  460.32.03  x", Level.OK, "460.32.03"),
        ("NVRM version: NVIDIA UNIX x86_64 Kernel Module  450.66  x", Level.ERROR, "450.66: too old for CUDA 11.2"),
        ("NVRM version: NVIDIA UNIX x86_64 Kernel Module  390.157  x", Level.ERROR, "390.157"),
        ("something else", Level.WARNING, "unknown version: 'something else'"),
    ],
)
def test_the_driver_against_cuda(text: str | None, level: Level, told: str) -> None:
    finding = driver_finding(text)
    assert finding.level is level
    assert told in finding.found
    assert bool(finding.cure) is (level is not Level.OK)


@pytest.mark.parametrize(
    ("text", "driver", "level", "told"),
    [
        (None, False, Level.OK, "none"),
        (None, True, Level.ERROR, "without it no container gets a GPU"),
        ("NVIDIA Container Toolkit CLI version 1.17.8\ncommit: f202b80a9b9d\n", True, Level.OK, "1.17.8"),
        ("NVIDIA Container Toolkit CLI version 1.18.0-rc.1\n", True, Level.OK, "1.18.0-rc.1"),
        ("NVIDIA Container Toolkit CLI version 1.17.7\n", True, Level.ERROR, "CVE-2025-23266"),
        ("cli-version: 1.14.3\nlib-version: 1.14.3\nbuild date: 2023\n", False, Level.ERROR, "1.14.3 has"),
        ("gibberish", True, Level.WARNING, "'gibberish'"),
    ],
)
def test_the_toolkit_against_its_flaws(text: str | None, driver: bool, level: Level, told: str) -> None:
    (finding,) = toolkit_findings(text, driver=driver)
    assert finding.level is level
    assert told in finding.found
    assert bool(finding.cure) is (level is not Level.OK)


GOOD: dict[str, Any] = {
    "CgroupVersion": "2",
    "MemoryLimit": True,
    "SwapLimit": True,
    "CpuCfsQuota": True,
    "PidsLimit": True,
    "SecurityOptions": ["name=seccomp,profile=builtin", "name=cgroupns"],
}


def test_what_the_kernel_enforces() -> None:
    assert limit_findings(GOOD) == [Finding("control groups", Level.OK, "version 2")]
    old = limit_findings({**GOOD, "CgroupVersion": "1", "SwapLimit": False})
    assert [(finding.check, finding.level) for finding in old] == [
        ("control groups", Level.WARNING),
        ("limits", Level.ERROR),
    ]
    assert old[1].cure == "Boot with swapaccount=1"


@pytest.mark.parametrize("options", [None, [], ["name=apparmor"], ["name=seccomp,profile=unconfined"]])
def test_an_engine_that_confines_nothing(options: list[str] | None) -> None:
    (_, finding) = limit_findings({**GOOD, "SecurityOptions": options})
    assert (finding.check, finding.level) == ("seccomp", Level.ERROR)


@pytest.mark.parametrize(
    ("controllers", "capacity", "told"),
    [
        (None, None, "not in this kernel"),
        ("cpuset cpu io memory pids\n", None, "not in this kernel"),
        ("cpu memory dmem pids\n", "", "no driver offers"),
        (
            "cpu memory dmem pids\n",
            "drm/0000:03:00.0/vram0 8514437120\n",
            "bounds the memory of drm/0000:03:00.0/vram0",
        ),
    ],
)
def test_gpu_memory_in_the_kernel(controllers: str | None, capacity: str | None, told: str) -> None:
    finding = dmem_finding(controllers, capacity)
    assert finding.level is Level.OK
    assert told in finding.found


def test_every_flaw_is_told_with_its_cure() -> None:
    for flaw in (*RUNC_FLAWS, *CONTAINERD_FLAWS, *TOOLKIT_FLAWS):
        assert all(name.startswith("CVE-20") for name in flaw.names.split(", "))
        assert [numbers(version) for version in flaw.fixed] == sorted(numbers(version) for version in flaw.fixed)
        assert not is_fixed("0.9", flaw)
        assert is_fixed(flaw.fixed[-1], flaw)
