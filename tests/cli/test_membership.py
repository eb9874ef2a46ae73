"""Whose groups: the running hub's word, then its database's, and what is named goes before both."""

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..support.hub import Hub, running_hub
from .admin import Admin

GROUPS = """
c.JupyterHub.load_groups = {"vision": dict(users=["ann"]), "staff": dict(users=["ann", "ben"]), "empty": dict(users=[])}
c.JupyterHub.authenticator_class = "dummy"
c.Authenticator.allow_all = True
"""


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    with running_hub(tmp_path_factory.mktemp("hub"), GROUPS) as hub:
        yield hub


def asks(hub: Hub, token: str = "") -> dict[str, str]:
    """The settings of a deployment whose hub this is."""
    return {"BERTH_PORT": hub.url.rpartition(":")[2], "BERTH_API_TOKEN": token or hub.token}


def why(admin: Admin, user: str, *options: str, **environment: str) -> tuple[list[str], str, bool]:
    said = admin.data("quota", "why", user, *options, **environment)
    return said["groups"], said["groups_from"], said["known"]


def test_the_hub_is_asked(admin: Admin, hub: Hub) -> None:
    assert why(admin, "ann", **asks(hub)) == (["staff", "vision"], "hub", True)
    assert why(admin, "ben", **asks(hub)) == (["staff"], "hub", True)
    assert why(admin, "zoe", **asks(hub)) == ([], "hub", False)
    assert why(admin, "../groups", **asks(hub)) == ([], "hub", False)
    assert "Groups of ann: staff, vision (from the hub, which runs)" in admin.ok("quota", "why", "ann", **asks(hub))
    assert "does not know a user 'zoe'" in admin.ok("quota", "why", "zoe", **asks(hub))


def test_its_groups_count(admin: Admin, hub: Hub) -> None:
    admin.ok("quota", "set", "group", "vision", "gpus", "3", "--why", "course")
    assert admin.data("quota", "why", "ann", **asks(hub))["quota"]["gpus"]["from"] == "group vision"
    assert admin.data("quota", "why", "ben", **asks(hub))["quota"]["gpus"]["from"] == "default"


def test_what_is_named_goes_first(admin: Admin, hub: Hub) -> None:
    assert why(admin, "ben", "--group", "vision", **asks(hub)) == (["vision"], "option", True)


def test_a_hub_that_does_not_know_the_token_is_read_in_its_database(admin: Admin, hub: Hub) -> None:
    # The database is the deployment's own, where this hub's lies elsewhere.
    wrong = asks(hub, "a-token-of-another-deployment")
    assert why(admin, "ann", **wrong) == ([], "unknown", True)
    copy = admin.state_dir / "jupyterhub.sqlite"
    copy.write_bytes((hub.directory / "jupyterhub.sqlite").read_bytes())
    before = copy.read_bytes()
    assert why(admin, "ann", **wrong) == (["staff", "vision"], "database", True)
    assert why(admin, "zoe", **wrong) == ([], "database", False)
    assert "(from the hub's database)" in admin.ok("quota", "why", "ann")
    assert copy.read_bytes() == before


def test_another_program_on_the_port_is_not_believed(admin: Admin, tmp_path: Path) -> None:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        settings = {"BERTH_PORT": str(server.server_port), "BERTH_API_TOKEN": "a-token-of-nobody"}
        assert why(admin, "ann", **settings) == ([], "unknown", True)
    finally:
        server.shutdown()
        server.server_close()


def test_a_database_that_cannot_be_read(admin: Admin) -> None:
    (admin.state_dir / "jupyterhub.sqlite").write_text("no database " * 100)
    assert why(admin, "ann") == ([], "unknown", True)
