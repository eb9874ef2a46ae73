"""What a server's container is from the inside: its limits, its walls, what it is given to read."""

import http.server
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest

from ..support.berth import Berth, containers_of, deployment

pytestmark = [pytest.mark.docker, pytest.mark.image, pytest.mark.hub]

SETTINGS = """
profiles:
  - {{slug: cpu, name: CPU, cpu: 0.5, memory: 1 GiB, processes: 300, shm: 128 MiB, open_files: 4000}}
shared_dir: shared
certificates: [company.pem]
environment: {{COMPANY: harbour}}
mounts:
  - {{source: "{scratch}", target: /srv/scratch, read_only: false}}
"""


def _certificate(path: Path) -> None:
    subprocess.run(
        f"openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=Company -days 2 -keyout /dev/null -out {path}".split(),
        check=True,
        capture_output=True,
    )


@pytest.fixture(scope="module")
def company(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with what the settings name."""
    directory = tmp_path_factory.mktemp("inside")
    for name in ("shared", "scratch"):
        (directory / name).mkdir(mode=0o777)
        (directory / name).chmod(0o777)
    (directory / "shared" / "data.csv").write_text("1,2\n")
    _certificate(directory / "company.pem")
    (directory / "berth.yaml").write_text(SETTINGS.format(scratch=directory / "scratch"))
    return directory


@pytest.fixture(scope="module")
def berth(engine: docker.DockerClient, company: Path) -> Iterator[Berth]:
    with deployment(company, BERTH_CONFIG=str(company / "berth.yaml")) as berth, berth.hub():
        for user in ("ann", "bob"):
            berth.add_user(user)
            assert berth.start_server(user).status_code == 201
        yield berth


@pytest.fixture(scope="module")
def ann(berth: Berth, engine: docker.DockerClient) -> Any:
    return containers_of(engine, berth, "ann")[0]


@pytest.fixture(scope="module")
def bob(berth: Berth, engine: docker.DockerClient) -> Any:
    return containers_of(engine, berth, "bob")[0]


def _sh(container: Any, command: str) -> tuple[int, str]:
    done = container.exec_run(["sh", "-c", command])
    return done.exit_code, done.output.decode()


def _ip(container: Any) -> str:
    return str(next(iter(container.attrs["NetworkSettings"]["Networks"].values()))["IPAddress"])


def test_hardened(ann: Any) -> None:
    _, status = _sh(ann, "cat /proc/1/status")
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert int(fields["CapEff"], 16) == int(fields["CapBnd"], 16) == 0
    assert (fields["NoNewPrivs"], fields["Seccomp"]) == ("1", "2")
    assert _sh(ann, "id -u")[1] == "1000\n"
    assert _sh(ann, "ls /var/run/docker.sock")[0] != 0
    assert _sh(ann, "printenv NVIDIA_VISIBLE_DEVICES")[1] == "void\n"
    assert _sh(ann, "su -c true")[0] != 0


def test_limits_hold(ann: Any) -> None:
    host = ann.attrs["HostConfig"]
    assert (host["Memory"], host["MemorySwap"]) == (1 << 30, 1 << 30)
    assert (host["CpuQuota"], host["CpuPeriod"], host["PidsLimit"]) == (50_000, 100_000, 300)
    assert _sh(ann, "ulimit -n; ulimit -Hn")[1] == "4000\n4000\n"
    assert _sh(ann, "df -B1 --output=size /dev/shm | tail -1")[1].strip() == str(128 << 20)
    assert _sh(ann, "printenv MEM_LIMIT CPU_LIMIT")[1] == f"{1 << 30}\n0.5\n"
    # A process over the limit is ended; the server beside it lives on.
    code, _ = _sh(ann, "/opt/tensorflow/bin/python -c 'x = bytearray(2 << 30)'")
    assert code == 137
    ann.reload()
    assert ann.status == "running"


def test_labels_are_the_documented_ones(ann: Any, berth: Berth) -> None:
    of_the_image = ann.image.labels
    labels = {key: value for key, value in ann.labels.items() if key not in of_the_image}
    assert labels == {"berth.hub": berth.state.hub_id, "berth.user": "ann", "berth.server": ""}


def test_neighbours_do_not_reach_each_other(ann: Any, bob: Any) -> None:
    url = f"http://{_ip(ann)}:8888/user/ann/api"
    assert _sh(ann, f"curl -s --max-time 5 {url}")[0] == 0, "the server itself must answer, or this shows nothing"
    assert _sh(bob, f"curl -s --max-time 3 {url}")[0] != 0


def test_of_the_host_only_the_hub_is_reached(ann: Any, berth: Berth) -> None:
    gateway = next(iter(ann.attrs["NetworkSettings"]["Networks"].values()))["Gateway"]
    server = http.server.ThreadingHTTPServer(("0.0.0.0", 0), http.server.SimpleHTTPRequestHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        for host in (gateway, "172.17.0.1"):
            assert _sh(ann, f"curl -s --max-time 3 http://{host}:{server.server_port}/")[0] != 0
        assert _sh(ann, f"curl -s --max-time 3 http://{gateway}:{berth.port}/hub/api/")[0] != 0
        assert _sh(ann, f"curl -s --max-time 5 http://{gateway}:8081/hub/api/") == (0, '{"version": "6.1.1"}')
    finally:
        server.shutdown()
    assert _sh(ann, "curl -s --max-time 3 http://169.254.169.254/")[0] != 0


def test_given_to_read(ann: Any, company: Path) -> None:
    assert _sh(ann, "cat /srv/shared/data.csv")[1] == "1,2\n"
    assert _sh(ann, "touch /srv/shared/mine")[0] != 0
    assert _sh(ann, "touch /srv/scratch/mine")[0] == 0
    assert (company / "scratch" / "mine").exists()
    assert _sh(ann, "printenv COMPANY")[1] == "harbour\n"


def test_company_certificate_is_trusted_beside_the_usual_ones(ann: Any, company: Path) -> None:
    bundle = _sh(ann, 'cat "$SSL_CERT_FILE"')[1]
    assert (company / "company.pem").read_text().strip() in bundle
    assert bundle.count("BEGIN CERTIFICATE") > 50
    for name in ("REQUESTS_CA_BUNDLE", "PIP_CERT", "GIT_SSL_CAINFO", "CURL_CA_BUNDLE"):
        assert _sh(ann, f'test "${name}" = "$SSL_CERT_FILE"')[0] == 0, name
