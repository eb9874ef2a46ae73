from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from ..support.browser import chromium, chromium_path

# What jupyterhub_config.py does about signing in.
HUB_CONFIG = """
from pathlib import Path
from spawner.settings_file import load_settings
from spawner.engine.certificates import write_bundle
from spawner.signin import authenticator_config, endpoints

settings = load_settings(Path.cwd())
bundle = write_bundle(settings.certificates, Path("ca.pem")) if settings.certificates else None
authenticator_config(
    settings.sign_in,
    callback_url=c.JupyterHub.bind_url + "/hub/oauth_callback",
    user_password="password of all users",
    admin_password="generated-password-of-the-administrator",
    endpoints=endpoints(settings.sign_in, ca_bundle=bundle, memory=Path("provider.json")),
    ca_bundle=bundle,
).apply(c)
"""
ADMIN_PASSWORD = "generated-password-of-the-administrator"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if chromium_path() is None:
        pytest.skip("no Chromium: apt-get install chromium")
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def module_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("signin")
