"""``berth up``: from whatever there is to a hub that answers."""

import time
from pathlib import Path
from typing import Any

import click
import docker

from ..engine.certificates import write_bundle
from ..engine.client import engine_errors
from ..engine.daemon import ensure_engine
from ..errors import BerthError, HubNotReady
from ..processes import listener
from ..signin import endpoints
from ..signin.credentials import client_credentials, client_id
from ..signin.model import PROVIDERS, REGISTERED
from ..state import Credentials, StateLock
from .checks import ENGINE_SPACE, STATE_SPACE, require_port, require_space
from .deployment import Deployment, connect
from .grafana import ensure_grafana, stop_grafana
from .hub import Hub, answers, orphaned_proxy, running_hub, start_hub, stop_proxy
from .images import ensure_images
from .ledger import prepare_ledger
from .monitoring import address as prometheus_url
from .monitoring import ensure_monitoring, require_monitoring, stop_monitoring, wanted
from .output import Output, json_option

_PATIENCE_SECONDS = 60.0


@click.command()
@click.option(
    "--monitoring/--no-monitoring",
    default=None,
    help="Also run Prometheus, with rules and alerts, from now on; or not any more. Default: as said last.",
)
@json_option
def up(monitoring: bool | None, as_json: bool) -> None:
    """Start the hub, with all it needs, and wait until it answers.

    Does nothing when it already runs. The settings come from berth.yaml and the environment (BERTH_*).
    """
    output = Output(as_json)
    deployment = Deployment.load()
    state = deployment.state
    require_space(state.path, STATE_SPACE, "the hub's database and logs (state_dir)")
    state.create()
    if monitoring:
        require_monitoring(deployment)
    result = _hub_up(deployment, output)
    output.data(result | _monitor(deployment, monitoring, output))


def _hub_up(deployment: Deployment, output: Output) -> dict[str, Any]:
    state = deployment.state
    hub = running_hub(state)
    if hub:
        return _already_runs(deployment, hub, output)
    lock = state.lock()
    try:
        hub = _start(deployment, output, lock)
    finally:
        lock.release()
    return _welcome(deployment, hub, output, started=True)


def _monitor(deployment: Deployment, asked: bool | None, output: Output) -> dict[str, Any]:
    """Start Prometheus where it is asked for, or was; give what there is to tell of it."""
    state = deployment.state
    if asked is False:
        stopped = stop_monitoring(state, forget=True)
        if stopped:
            output.step(f"Stopped Prometheus (pid {stopped.pid}); what it recorded stays")
        stop_grafana(state, lambda _: output.step("Stopped Grafana"), purge=False)
    if not asked and not wanted(state):
        return {}
    try:
        process = ensure_monitoring(deployment, output)
    except BerthError as error:
        if asked:
            raise
        # The hub is what this was called for.
        output.step(f"Prometheus does not run: {error}")
        return {"monitoring": {"url": None, "pid": None}}
    url = prometheus_url(deployment)
    output.say(f"Metrics and alerts: {url}")
    ensure_grafana(deployment, output, asked=bool(asked))
    return {"monitoring": {"url": url, "pid": process.pid}}


def _start(deployment: Deployment, output: Output, lock: StateLock) -> Hub:
    state, settings = deployment.state, deployment.settings
    _require_sign_in(deployment)
    orphan = orphaned_proxy(state)
    if not orphan or listener(settings.port) != orphan:
        require_port(settings.bind_address, settings.port)
    ensure_engine(output.step)
    client = connect(timeout=900)
    try:
        _require_engine_space(client)
        ensure_images(deployment, client, output)
    finally:
        client.close()
    prepare_ledger(deployment, output)
    if stop_proxy(state):
        output.step("Replaced the proxy of a hub that was killed")
    output.step("Starting the hub")
    return start_hub(deployment, lock, output.detail)


def _require_sign_in(deployment: Deployment) -> None:
    """Find out here, on the terminal, what would end the hub: a missing secret, a provider that is not there.

    Raises
    ------
    SignInMisconfigured
    """
    settings, state = deployment.settings, deployment.state
    if settings.sign_in.method in PROVIDERS:
        client_credentials(settings.sign_in)
    elif settings.sign_in.method in REGISTERED:
        client_id(settings.sign_in)
    bundle = write_bundle(settings.certificates, state.certificates) if settings.certificates else None
    endpoints(settings.sign_in, ca_bundle=bundle, memory=state.endpoints_file)


def _require_engine_space(client: docker.APIClient) -> None:
    with engine_errors():
        folder = Path(client.info()["DockerRootDir"])
    if folder.is_dir():  # an engine elsewhere minds its own disk
        require_space(folder, ENGINE_SPACE, "users' containers (the Docker Engine's directory)")


def _already_runs(deployment: Deployment, hub: Hub, output: Output) -> dict[str, Any]:
    if hub.fingerprint != deployment.fingerprint():
        output.step(
            f"The hub runs already (pid {hub.process.pid}), with other settings than now; "
            "`make down && make up` applies them, and users' servers keep running"
        )
        known = deployment.state.known_credentials()
        if known:
            _sign_in(deployment, known, output)
        return {"url": known.url if known else None, "pid": hub.process.pid, "started": False, "stale": True}
    # Another start may just be under way.
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while not answers(deployment.local_url):
        if not hub.process.alive or time.monotonic() > deadline:
            raise HubNotReady(
                f"The hub runs (pid {hub.process.pid}) but does not answer at {deployment.local_url}; "
                f"`make down && make up` starts it anew. Its log: {deployment.state.hub_log}"
            )
        time.sleep(0.25)
    output.step(f"The hub runs already (pid {hub.process.pid})")
    return _welcome(deployment, hub, output, started=False)


def _welcome(deployment: Deployment, hub: Hub, output: Output, *, started: bool) -> dict[str, Any]:
    credentials = deployment.state.credentials(deployment.url)
    _sign_in(deployment, credentials, output)
    return {"url": credentials.url, "pid": hub.process.pid, "started": started, "stale": False}


def _sign_in(deployment: Deployment, credentials: Credentials, output: Output) -> None:
    output.say(f"Berth is ready: {credentials.url}")
    if deployment.settings.sign_in.method != "demo":
        return
    # Passwords belong on a screen, not in the log of whoever runs this unattended.
    admin = credentials.admin_users[0]
    if output.is_terminal:
        output.say(f"  Sign in with any name and the password {credentials.user_password}")
        output.say(f"  or as {admin} with the password {credentials.admin_password}")
        output.say(f"  (a demo; both are in {deployment.state.credentials_file})")
    else:
        output.say(f"  Sign in with any name and the user password, or as {admin} with the admin password:")
        output.say(f"  both are in {deployment.state.credentials_file}")
