"""Fixtures of tests on the real engine with the tiny image; the top conftest imports them."""

import secrets
from collections.abc import Iterator

import docker
import pytest

from .tiny_image import ensure_tiny_image, remove_traces


@pytest.fixture(scope="session")
def client() -> Iterator[docker.APIClient]:
    connected = docker.APIClient(version="auto")
    yield connected
    connected.close()


@pytest.fixture(scope="session")
def tiny(client: docker.APIClient) -> str:
    return ensure_tiny_image(client)


@pytest.fixture(scope="module")
def hub_id(client: docker.APIClient) -> Iterator[str]:
    """A hub of this module's own; all that it makes is removed."""
    made = secrets.token_hex(4)
    yield made
    remove_traces(client, made)
