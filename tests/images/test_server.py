"""The server in the image: it starts by either command, asks the hub who is there, and all of its parts work."""

import time
from collections.abc import Callable
from typing import Any

import pytest
import requests
from docker.models.containers import Container

from spawner.backends.spec import clean_environment

from .conftest import TOKEN, Hub

pytestmark = [pytest.mark.docker, pytest.mark.timeout(1200)]


class Server:
    """A running single-user server, asked with the owner's token."""

    def __init__(self, container: Container) -> None:
        self.container = container
        container.reload()
        address = container.attrs["NetworkSettings"]["Networks"]["bridge"]["IPAddress"]
        self.url = f"http://{address}:8888/user/ada/"
        self.session = requests.Session()
        self.session.headers["Authorization"] = f"token {TOKEN}"

    def wait(self) -> None:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                if requests.get(f"{self.url}api", timeout=5).status_code == 200:
                    return
            except requests.ConnectionError:
                self.container.reload()
                assert self.container.status == "running", self.container.logs().decode()[-3000:]
            time.sleep(0.05)
        raise AssertionError(self.container.logs().decode()[-3000:])

    def get(self, path: str, **options: Any) -> requests.Response:
        return self.session.get(f"{self.url}{path}", timeout=60, **options)

    def post(self, path: str, body: object = None) -> requests.Response:
        return self.session.post(f"{self.url}{path}", json=body, timeout=60)


@pytest.fixture
def serve(start: Callable[..., Container], hub: Hub) -> Callable[..., Server]:
    def run(*command: str, **options: Any) -> Server:
        environment = hub.environment() | options.pop("environment", {})
        server = Server(start(list(command) or None, environment=environment, **options))
        server.wait()
        return server

    return run


def test_every_part_works_with_the_lean_start(serve: Callable[..., Server], hub: Hub, home: str) -> None:
    server = serve(home=home)
    # Nobody in particular is nobody, neither in the server's own pages nor in those loaded on demand.
    for headers in ({}, {"Authorization": "token wrong"}):
        for path in ("api/contents", "git/settings", "lab", "tensorboard/", "git-pull"):
            answer = requests.get(f"{server.url}{path}", headers=headers, timeout=30, allow_redirects=False)
            assert answer.status_code in {302, 403}, path
            assert answer.status_code == 403 or "/hub/api/oauth2/authorize" in answer.headers["Location"]

    # Extensions are loaded by the first request for them: each is asked for.
    assert "Welcome.ipynb" in {entry["name"] for entry in server.get("api/contents").json()["content"]}
    page = server.get("lab")
    assert page.status_code == 200
    assert "jupyter-config-data" in page.text
    assert server.get("lab/api/settings/").status_code == 200
    assert server.get("api/metrics/v1").json()["rss"] > 0
    # A repository's state by jupyterlab-git, which also wants nbdime.
    assert server.container.exec_run(["git", "init", "/home/jovyan/repository"]).exit_code == 0
    assert server.post("git/repository/status", {}).json()["code"] == 0
    assert server.post("nbdime/api/isgit", {"path": "repository"}).json() == {"is_git": True}
    assert server.get("git-pull?repo=x").status_code == 200
    launcher = server.get("server-proxy/servers-info").json()["server_processes"]
    assert [(entry["name"], entry["launcher_entry"]["title"]) for entry in launcher] == [("tensorboard", "TensorBoard")]
    assert "svg" in server.get("server-proxy/icon/tensorboard").headers["Content-Type"]
    board = server.get("tensorboard/")
    assert board.status_code == 200
    assert "TensorBoard" in board.text
    assert server.get("tensorboard/data/plugins_listing").status_code == 200
    assert server.post("api/terminals").json()["name"] == "1"
    # The one kernel is TensorFlow's.
    specs = server.get("api/kernelspecs").json()
    assert {name: spec["spec"]["display_name"] for name, spec in specs["kernelspecs"].items()} == {
        "python3": "TensorFlow 2.9"
    }
    assert specs["default"] == "python3"
    kernel = server.post("api/kernels", {"name": "python3"})
    assert kernel.status_code == 201
    extensions = page.text
    assert all(name in extensions for name in ("@jupyterlab/git", "@jupyter-widgets/jupyterlab-manager"))
    # No network calls on its own account.
    assert '"news": null' in extensions or "jupyterlab_news" not in extensions
    log = server.container.logs().decode()
    assert "Traceback" not in log
    assert "GET /hub/api/user" in hub.asked


def test_start_is_what_the_stock_command_gives(serve: Callable[..., Server]) -> None:
    servers = {command: serve(command) for command in ("berth-singleuser", "jupyterhub-singleuser")}
    pages = {}
    for command, server in servers.items():
        assert server.get("api/status").status_code == 200
        response = server.get("", allow_redirects=False)
        pages[command] = (response.status_code, response.headers.get("Location"))
        assert server.get("api").headers["X-JupyterHub-Version"] == "6.1.1"
        assert server.get("no/such/page").status_code == 404
    assert pages["berth-singleuser"] == pages["jupyterhub-singleuser"]


def test_what_a_user_installs_cannot_break_the_server(serve: Callable[..., Server], start: Any, home: str) -> None:
    # The worst that pip could leave in a home: other versions of what the server itself is made of.
    mess = r"""
        set -e
        site=$HOME/.local/lib
        for version in 3.9 3.11; do
            for name in tornado traitlets jupyter_server jupyterhub jupyterlab berth_singleuser; do
                mkdir -p $site/python$version/site-packages/$name
                echo 'raise SystemExit("broken by the user")' > $site/python$version/site-packages/$name/__init__.py
            done
        done
        mkdir -p $HOME/.local/bin $HOME/.local/share/jupyter/kernels/python3
        for command in jupyterhub-singleuser berth-singleuser jupyter tini; do
            printf '#!/bin/sh\nexit 1\n' > $HOME/.local/bin/$command
            chmod +x $HOME/.local/bin/$command
        done
        echo '{"argv": ["false"], "display_name": "broken", "language": "x"}' \
            > $HOME/.local/share/jupyter/kernels/python3/kernel.json
    """
    assert start(["bash", "-c", mess], home=home).wait()["StatusCode"] == 0
    for command in ("berth-singleuser", "jupyterhub-singleuser"):
        server = serve(command, home=home)
        assert server.get("lab").status_code == 200
        spec = server.get("api/kernelspecs/python3").json()["spec"]
        assert spec["display_name"] == "TensorFlow 2.9"
        server.container.stop(timeout=5)


def test_a_clean_start_sees_nothing_of_what_was_installed_and_open(serve: Callable[..., Server], home: str) -> None:
    left = {
        "data": {"layout-restorer:data": {"main": {"current": "notebook:hangs.ipynb"}}},
        "metadata": {"id": "default"},
    }
    mess = r"""
        set -e
        site=$HOME/.local/lib/python3.9/site-packages
        mkdir -p $site/seaborn $HOME/.local/bin
        echo 'raise SystemExit("broken by the user")' > $site/seaborn/__init__.py
        printf '#!/bin/sh\nexit 1\n' > $HOME/.local/bin/tensorboard
        chmod +x $HOME/.local/bin/tensorboard
    """
    script = "command -v tensorboard; python -c 'import seaborn, site; print(site.getusersitepackages())'"
    look = ["/opt/berth/bin/berth-start", "sh", "-c", script]

    def looked(server: Server) -> list[str]:
        said = server.container.exec_run(look, stderr=False).output
        assert isinstance(said, bytes)
        return said.decode().split()

    def workspace(server: Server) -> Any:
        return server.get("lab/api/workspaces/default").json()["data"]

    ordinary = serve(home=home)
    assert ordinary.container.exec_run(["sh", "-c", mess]).exit_code == 0
    saved = ordinary.session.put(f"{ordinary.url}lab/api/workspaces/default", json=left, timeout=60)
    assert saved.status_code == 204, saved.text
    assert looked(ordinary) == ["/home/jovyan/.local/bin/tensorboard"]
    ordinary.container.stop(timeout=5)

    clean = serve(home=home, environment=clean_environment(clean=True))
    assert workspace(clean) == {}
    assert looked(clean) == ["/opt/tensorflow/bin/tensorboard", "/tmp/berth-clean/python/lib/python3.9/site-packages"]
    # As in any server: what is installed can be used, and what is open is kept while it runs.
    pip = ["env", "PYTHONUSERBASE=/home/jovyan/.local", "pip", "list", "--user", "--format", "json"]
    assert clean.container.exec_run(pip).exit_code == 0
    assert clean.session.put(f"{clean.url}lab/api/workspaces/default", json=left, timeout=60).status_code == 204
    assert workspace(clean) == left["data"]
    clean.container.stop(timeout=5)

    again = serve(home=home)
    assert workspace(again) == left["data"]
    assert looked(again) == ["/home/jovyan/.local/bin/tensorboard"]
