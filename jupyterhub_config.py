"""The hub: reads the settings; authenticator, spawner, services, roles.

Started by ``berth up``; by hand: ``jupyterhub -f jupyterhub_config.py`` in this directory.
"""

import os
import shutil
import socket
import sys
from datetime import UTC, datetime
from pathlib import Path

from jupyterhub.scopes import scope_definitions
from pydantic import SecretStr
from tornado.web import StaticFileHandler

from spawner.backends.desks import shared_desk
from spawner.backends.docker import TensorFlowSpawner
from spawner.console.scopes import AT_HUB, DEFINITIONS, OF_ADMINS, OF_PEOPLE, Scope
from spawner.engine.certificates import write_bundle
from spawner.engine.client import shared_engine
from spawner.engine.network import Firewall, ensure_firewall, ensure_network, exam_firewall
from spawner.ledger import Ledger
from spawner.pages import STATIC, TEMPLATES
from spawner.pages.handlers import HANDLERS
from spawner.settings import HUB_PORT, SpawnerSettings
from spawner.settings_file import load_settings
from spawner.signin import authenticator_config, endpoints
from spawner.state import StateDirectory

began = datetime.now(UTC)  # starts that a former hub did not finish are over
root = Path(__file__).parent
settings = load_settings(root)
state = StateDirectory(settings.state_dir)
state.create()


def _local(address: str) -> str:
    """Give an address under which this machine reaches what listens at `address`."""
    address = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address, address)  # noqa: S104  compared, not bound
    return f"[{address}]" if ":" in address else address


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


# --- addresses: people come through the proxy, containers reach the hub's API at their network's gateway ---------

engine = shared_engine()
network = ensure_network(engine.connect(), state.hub_id, settings.network.subnet)
if settings.network.firewall == "managed":
    ensure_firewall(Firewall(state.hub_id, network.bridge, network.gateway, HUB_PORT, settings.network.blocked))
    ensure_firewall(exam_firewall(state.hub_id, network.gateway, HUB_PORT))  # an exam may be going on

c = get_config()
c.JupyterHub.bind_url = f"http://{settings.bind_address}:{settings.port}"
c.JupyterHub.hub_bind_url = f"http://{network.gateway}:{HUB_PORT}"
if settings.public_url:
    c.JupyterHub.public_url = settings.public_url

node_modules = root / "node_modules" / ".bin" / "configurable-http-proxy"
c.ConfigurableHTTPProxy.command = [
    str(node_modules) if node_modules.exists() else shutil.which("configurable-http-proxy") or "configurable-http-proxy"
]
c.ConfigurableHTTPProxy.api_url = f"http://127.0.0.1:{free_port()}"
c.ConfigurableHTTPProxy.pid_file = str(state.proxy_pid_file)

# --- state -----------------------------------------------------------------------------------------------------

c.JupyterHub.db_url = state.database_url
c.JupyterHub.cookie_secret_file = str(state.cookie_secret_file)
c.CryptKeeper.keys = [state.crypt_key]
c.JupyterHub.init_spawners_timeout = 1  # the hub answers while it looks for the servers it had
c.JupyterHub.cleanup_servers = False  # users' containers keep running while the hub restarts

# --- the ledger of GPUs ----------------------------------------------------------------------------------------

ledger_url = state.ledger_url(settings.database_url)
ledger = Ledger(ledger_url)
if settings.database_url is None and not state.ledger_file.exists():
    ledger.upgrade()  # a first start; later changes of the schema are for `berth up` or `berth db upgrade`
ledger.require_schema()
ledger.close()

# --- signing in ------------------------------------------------------------------------------------------------

public = settings.public_url or f"http://{settings.bind_address}:{settings.port}"
credentials = state.credentials(public)
ca_bundle = write_bundle(settings.certificates, state.certificates) if settings.certificates else None
c.JupyterHub.template_paths = [str(TEMPLATES)]
authenticator_config(
    settings.sign_in,
    callback_url=f"{public.rstrip('/')}/hub/oauth_callback",
    user_password=credentials.user_password,
    admin_password=credentials.admin_password,
    endpoints=endpoints(settings.sign_in, ca_bundle=ca_bundle, memory=state.endpoints_file),
    ca_bundle=ca_bundle,
).apply(c)
if settings.sign_in.method == "lti":
    from spawner.signin.launches import enrolling  # brings what only this method needs

    c.LaunchAuthenticator.post_auth_hook = enrolling(
        settings.sign_in, lambda: shared_desk(ledger_url, settings.limits, settings.leases)
    )

# --- servers ---------------------------------------------------------------------------------------------------

c.JupyterHub.spawner_class = TensorFlowSpawner
c.TensorFlowSpawner.hub_id = state.hub_id
c.TensorFlowSpawner.data_dir = str(state.path)
c.TensorFlowSpawner.ledger_url = SecretStr(ledger_url)
for field in SpawnerSettings.model_fields:
    setattr(c.TensorFlowSpawner, field, getattr(settings, field))
c.TensorFlowSpawner.data_sets = settings.classes.data_sets
c.TensorFlowSpawner.ask_students = settings.classes.ask_students
c.JupyterHub.allow_named_servers = True
# An engine that fails for everybody must not end the hub, which would take the pages that say so with it.
c.Spawner.consecutive_failure_limit = 0

# --- pages -----------------------------------------------------------------------------------------------------

c.JupyterHub.extra_handlers = [
    (r"/berth-static/(.*)", StaticFileHandler, {"path": str(STATIC)}),
    *HANDLERS,
]

# --- the janitor and the exporter ----------------------------------------------------------------------------------

_FOR_CHILDREN = ("BERTH_", "DOCKER_", "LANG", "LC_", "SSL_CERT", "TZ")
c.JupyterHub.services = [
    {
        "name": "janitor",
        "command": [
            *(sys.executable, "-m", "spawner.janitor"),
            *("--root", str(root)),
            *("--proxy", f"http://{_local(settings.bind_address)}:{settings.port}"),
            *("--hub-pid", str(os.getpid())),
            *("--hub-began", began.isoformat()),
        ],
        "cwd": str(root),
        "environment": {name: value for name, value in os.environ.items() if name.startswith(_FOR_CHILDREN)},
    },
    {
        "name": "exporter",
        "command": [*(sys.executable, "-m", "spawner.exporter"), "--root", str(root), "--hub-pid", str(os.getpid())],
        "cwd": str(root),
        "environment": {
            name: value
            for name, value in os.environ.items()
            if name.startswith(_FOR_CHILDREN) and name not in {"BERTH_API_TOKEN", "BERTH_DATABASE_URL"}
        },
    },
]
c.JupyterHub.load_roles = [
    {
        "name": "janitor",
        "services": ["janitor"],
        "scopes": [
            *("list:users", "admin:servers", "access:servers"),
            # Of courses: it makes users whom a roster names and the hub does not know, for which JupyterHub has no
            # smaller scope; keeps courses' groups; and lets staff enter their students' seats.
            *("admin:users", "admin:groups", "shares"),
        ],
    }
]

# --- the console ---------------------------------------------------------------------------------------------------

c.JupyterHub.custom_scopes = {str(scope): dict(definition) for scope, definition in DEFINITIONS.items()}
# The role of the hub's admins cannot be changed, but what its scopes hold can: so admins hold all of ours.
scope_definitions["admin-ui"]["subscopes"] = [str(scope) for scope in OF_ADMINS]
c.JupyterHub.services.append(
    {
        "name": "console",
        "url": f"http://127.0.0.1:{settings.console.port or free_port()}",
        "command": [*(sys.executable, "-m", "spawner.console"), "--root", str(root), "--hub-pid", str(os.getpid())],
        "cwd": str(root),
        "environment": {
            name: value
            for name, value in os.environ.items()
            if name.startswith(_FOR_CHILDREN) and name != "BERTH_API_TOKEN"
        },
        "oauth_no_confirm": True,
        "display": False,  # the pages have a link of their own, in view
        "oauth_client_allowed_scopes": [*map(str, OF_ADMINS), *AT_HUB, "access:services!service=console"],
    }
)
c.JupyterHub.load_roles += [
    {"name": "console", "services": ["console"], "scopes": ["list:users", "read:users", "read:servers"]},
    {"name": "user", "scopes": ["self", "access:services!service=console", *map(str, OF_PEOPLE)]},
    # The hub makes these groups where there are none.
    {"name": "teacher", "scopes": [str(Scope.TEACH)], "groups": list(settings.classes.teachers)},
]

c.JupyterHub.template_vars = {**c.JupyterHub.template_vars, "console": "services/console/"}

# Who reads the hub's metrics; `state.prometheus_token_file` is what Prometheus is told.
c.JupyterHub.services.append({"name": "prometheus", "api_token": state.prometheus_token})
c.JupyterHub.load_roles.append({"name": "prometheus", "services": ["prometheus"], "scopes": ["read:metrics"]})

# --- scripts ---------------------------------------------------------------------------------------------------

if settings.api_token is not None:
    c.JupyterHub.services.append({"name": "automation", "api_token": settings.api_token.get_secret_value()})
    c.JupyterHub.load_roles.append(
        {
            "name": "automation",
            "services": ["automation"],
            "scopes": [
                "admin-ui",
                "admin:users",
                "admin:servers",
                "admin:groups",
                "tokens",
                "access:servers",
                "list:users",
                "list:groups",
                "list:services",
                "read:hub",
                "read:metrics",
                "proxy",
                "shutdown",
                "access:services!service=console",
                *map(str, OF_ADMINS),
            ],
        }
    )

# The hub's children (the proxy) have no use for what the settings hold.
for name in [
    name
    for name in os.environ
    if (name.startswith("BERTH_") and "TOKEN" in name) or "SECRET" in name or name == "BERTH_DATABASE_URL"
]:
    del os.environ[name]
