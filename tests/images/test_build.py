"""Building: what the host gives, when nothing is to be done, and what a person is told when it fails."""

import io
import json
import os
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import docker
import pytest
from docker.errors import ImageNotFound

from spawner.engine.base import choose_base, host_certificates, host_mirror
from spawner.engine.build import RECIPE_LABEL, BuildInputs, _archive, ensure_image, recipe_hash
from spawner.errors import BaseImageUnavailable, ImageBuildFailed

from .conftest import RECIPE, ROOT

PEM = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"


def test_host_certificates_are_those_named_and_those_installed(tmp_path: Path) -> None:
    for name in ("bundle.pem", "installed/a/company.crt", "elsewhere.pem"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(PEM)
    (tmp_path / "empty.pem").write_text("")
    (tmp_path / "installed/readme.crt").write_text("no certificate")
    environment = {
        "SSL_CERT_FILE": str(tmp_path / "bundle.pem"),
        "PIP_CERT": str(tmp_path / "bundle.pem"),
        "REQUESTS_CA_BUNDLE": str(tmp_path / "gone.pem"),
        "CURL_CA_BUNDLE": str(tmp_path / "empty.pem"),
    }
    found = host_certificates(environment, tmp_path / "installed")
    assert found == (tmp_path / "bundle.pem", tmp_path / "installed/a/company.crt")
    assert host_certificates({}, tmp_path / "none") == ()


@pytest.mark.parametrize(
    ("release", "sources", "expected"),
    [
        (
            "ID=debian\nVERSION_CODENAME=trixie\n",
            {
                "other.list": "deb https://vendor.example/apt trixie main\n",
                "debian.sources": "Types: deb\nURIs: http://mirror.example/debian/\nSuites: trixie\nComponents: main\n",
            },
            "http://mirror.example/debian",
        ),
        (
            "ID=debian\nVERSION_CODENAME=bookworm\n",
            {
                "a.list": "deb file:/srv/debian bookworm main\ndeb http://localhost:3142/debian bookworm main\n"
                "# deb http://commented.example/debian bookworm main\n"
                "deb-src http://source.example/debian bookworm main\n"
                "deb [arch=amd64] http://mirror.example/debian bookworm main contrib\n"
            },
            "http://mirror.example/debian",
        ),
        (
            "ID=debian\nVERSION_CODENAME=bookworm\n",
            {"off.sources": "Types: deb\nEnabled: no\nURIs: http://a.example\nSuites: bookworm\nComponents: main\n"},
            None,
        ),
        ("ID=ubuntu\nVERSION_CODENAME=noble\n", {"a.list": "deb http://mirror.example/ubuntu noble main\n"}, None),
        ("", {}, None),
    ],
)
def test_host_mirror(tmp_path: Path, release: str, sources: dict[str, str], expected: str | None) -> None:
    folder = tmp_path / "apt/sources.list.d"
    folder.mkdir(parents=True)
    (tmp_path / "os-release").write_text(release)
    for name, text in sources.items():
        (folder / name).write_text(text)
    assert host_mirror(tmp_path) == expected


def _recipe(folder: Path, lines: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "Dockerfile").write_text(f"ARG BASE\nFROM ${{BASE}} AS cpu\n{lines}\n")
    return folder


def test_recipe_is_what_shapes_the_image(tmp_path: Path) -> None:
    context = _recipe(tmp_path / "context", "RUN true")
    (context / "script").write_text("#!/bin/sh\n")
    certificate = tmp_path / "ca.pem"
    certificate.write_text(PEM)
    plain = recipe_hash(context, "cpu", BuildInputs())
    assert plain == recipe_hash(
        context, "cpu", BuildInputs(certificates=(certificate,), pip_index_url="x", debian_mirror="y")
    )
    kept = recipe_hash(context, "cpu", BuildInputs(certificates=(certificate,), keep_certificates=True))
    seen = {plain, kept, recipe_hash(context, "gpu", BuildInputs())}
    (context / "script").chmod(0o755)
    seen.add(recipe_hash(context, "cpu", BuildInputs()))
    (context / "script").write_text("#!/bin/sh\nexit\n")
    seen.add(recipe_hash(context, "cpu", BuildInputs()))
    assert len(seen) == 5
    (context / "certificates").mkdir()
    (context / "certificates/mine.crt").write_text(PEM)
    assert recipe_hash(context, "cpu", BuildInputs()) in seen


def test_context_is_the_same_bytes_everywhere(tmp_path: Path) -> None:
    context = _recipe(tmp_path / "context", "RUN true")
    certificate = tmp_path / "ca.pem"
    certificate.write_text(PEM)
    first = _archive(context, (certificate,)).read()
    os.utime(context / "Dockerfile", (1, 1))
    assert _archive(context, (certificate,)).read() == first
    with tarfile.open(fileobj=io.BytesIO(first)) as archive:
        assert archive.getnames() == ["Dockerfile", "certificates/extra-0.crt"]
        assert {(entry.uid, entry.mtime) for entry in archive} == {(0, 0)}


def test_only_proxies_are_taken_from_the_environment() -> None:
    inputs = BuildInputs(
        environment={"https_proxy": "http://p", "NO_PROXY": "", "SECRET": "x", "HTTP_PROXY": "http://q"}
    )
    assert inputs.proxies == {"https_proxy": "http://p", "HTTP_PROXY": "http://q"}


def test_locks_name_no_index_and_carry_hashes() -> None:
    locks = [*RECIPE.glob("*.txt"), *(ROOT / "images/tensorflow-official").glob("*.txt")]
    assert len(locks) >= 5
    for lock in locks:
        lines = lock.read_text().splitlines()
        assert not [line for line in lines if "://" in line or "--index" in line or "--find-links" in line], lock
        requirements = [number for number, line in enumerate(lines) if "==" in line and not line.startswith((" ", "#"))]
        assert requirements
        assert all(lines[number + 1].strip().startswith("--hash=sha256:") for number in requirements), lock


@pytest.mark.docker
@pytest.mark.timeout(900)
class TestWithEngine:
    @pytest.fixture
    def tag(self, engine: docker.DockerClient) -> Iterator[str]:
        name = f"berth-test/build:{os.getpid()}"
        yield name
        for image in engine.images.list(name):
            engine.images.remove(str(image.id), force=True)

    def test_unchanged_recipe_is_not_built_again(self, engine: docker.DockerClient, tmp_path: Path, tag: str) -> None:
        context, lines = _recipe(tmp_path / "context", "RUN echo first"), list[str]()
        first = ensure_image(engine.api, "cpu", context, BuildInputs(), lines.append, tag)
        assert any(line.startswith("base: ") for line in lines)
        assert any("RUN echo first" in line for line in lines)
        labels = engine.images.get(tag).labels
        assert labels[RECIPE_LABEL] == recipe_hash(context, "cpu", BuildInputs())

        lines.clear()
        assert ensure_image(engine.api, "cpu", context, BuildInputs(), lines.append, tag) == first
        assert lines == [f"{tag} is up to date"]
        _recipe(context, "RUN echo second")
        assert ensure_image(engine.api, "cpu", context, BuildInputs(), lines.append, tag) != first
        with pytest.raises(ImageNotFound):  # what it replaced takes no room
            engine.images.get(first)

    def test_a_failed_step_is_named_with_its_last_lines(
        self, engine: docker.DockerClient, tmp_path: Path, tag: str
    ) -> None:
        context = _recipe(
            tmp_path / "context",
            "RUN echo unrelated\nRUN echo 'SSL: CERTIFICATE_VERIFY_FAILED, certificate verify failed'; exit 7",
        )
        with pytest.raises(ImageBuildFailed) as caught:
            ensure_image(engine.api, "cpu", context, BuildInputs(), lambda _: None, tag)
        message = str(caught.value)
        assert "exit 7" in message.splitlines()[0]
        assert "CERTIFICATE_VERIFY_FAILED" in message
        assert "unrelated" not in message
        assert "add your authority's PEM file" in message

    def test_a_broken_recipe_is_an_error_of_the_build(
        self, engine: docker.DockerClient, tmp_path: Path, tag: str
    ) -> None:
        context = _recipe(tmp_path / "context", "NONSENSE")
        with pytest.raises(ImageBuildFailed, match=r"(?i)unknown instruction"):
            ensure_image(engine.api, "cpu", context, BuildInputs(), lambda _: None, tag)


@pytest.fixture
def bare_engine() -> Iterator[docker.APIClient]:
    """An engine that has no image and reaches no registry, at the wire."""

    class Handler(BaseHTTPRequestHandler):
        def answer(self, status: int, body: object) -> None:
            content = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def do_GET(self) -> None:
            if self.path == "/version":
                self.answer(200, {"ApiVersion": "1.41"})
            else:
                self.answer(404, {"message": f"No such image: {self.path}"})

        def do_POST(self) -> None:
            self.answer(500, {"message": "Get https://registry.invalid/v2/: dial tcp: no such host"})

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    client = docker.APIClient(f"tcp://127.0.0.1:{server.server_port}", version="1.41")
    yield client
    client.close()
    server.shutdown()
    server.server_close()


def test_no_registry_and_no_mirror_says_what_was_tried(
    bare_engine: docker.APIClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if os.geteuid() != 0:
        pytest.skip("debootstrap is tried as root only")
    program = tmp_path / "debootstrap"
    program.write_text(
        '#!/bin/sh\nDEF_MIRROR="http://debian.invalid/debian"\necho "E: Failed getting release file $5"\nexit 1\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    lines: list[str] = []
    with pytest.raises(BaseImageUnavailable) as caught:
        choose_base(bare_engine, lines.append, BuildInputs(debian_mirror="http://mirror.invalid/debian"))
    message = str(caught.value)
    assert "no such host" in message
    assert "http://mirror.invalid/debian: Failed getting release file" in message
    assert "http://debian.invalid/debian: Failed" in message
    assert "docker load" in message
    assert lines[0].startswith("base: no debian:bookworm-slim from a registry (no such host)")
