"""``berth status``: what runs."""

from typing import Any

import click
from docker.errors import ImageNotFound

from ..engine.client import engine_errors
from ..engine.view import HUB_LABEL
from ..errors import EngineUnavailable
from .deployment import Deployment, connect
from .hub import answers, orphaned_proxy, running_hub
from .monitoring import Running, wanted
from .monitoring import address as prometheus_url
from .monitoring import answers as prometheus_answers
from .output import Output, json_option


@click.command()
@json_option
def status(as_json: bool) -> None:
    """Show whether the hub answers, the Docker Engine, and how many servers run."""
    output = Output(as_json)
    deployment = Deployment.load()
    state = deployment.state
    hub = running_hub(state)
    answering = bool(hub) and answers(deployment.local_url)
    hub_data: dict[str, Any] = {
        "running": hub is not None,
        "answering": answering,
        "pid": hub.process.pid if hub else None,
        "url": deployment.url,
        "settings_changed": bool(hub) and hub is not None and hub.fingerprint != deployment.fingerprint(),
        "log": str(state.hub_log),
        "state_dir": str(state.path),
    }
    engine = _engine(deployment, state.known_hub_id())
    monitoring = _monitoring(deployment)
    output.data({"hub": hub_data, "engine": engine, "monitoring": monitoring})
    orphan = None if hub else orphaned_proxy(state)
    rows = [("Hub", _hub_line(hub_data)), ("Address", deployment.url), ("Log", str(state.hub_log))]
    if orphan:
        rows.append(("Proxy", f"runs without its hub (pid {orphan.pid}); `make up` replaces it"))
    if monitoring["wanted"]:
        rows.append(("Prometheus", _monitoring_line(monitoring)))
    rows.append(("Engine", _engine_line(engine)))
    rows.extend(("Image", f"{name}: {'here' if there else 'missing'}") for name, there in engine["images"].items())
    if not output.as_json:
        output.table(rows)


def _monitoring(deployment: Deployment) -> dict[str, Any]:
    running = Running.of(deployment.state)
    return {
        "wanted": wanted(deployment.state),
        "running": running is not None,
        "answering": running is not None and prometheus_answers(deployment),
        "pid": running.process.pid if running else None,
        "url": prometheus_url(deployment),
    }


def _engine(deployment: Deployment, hub_id: str | None) -> dict[str, Any]:
    found: dict[str, Any] = {"answering": False, "error": None, "version": None, "servers": None, "images": {}}
    try:
        client = connect(timeout=20)
    except EngineUnavailable as error:
        return {**found, "error": str(error)}
    try:
        with engine_errors():
            filters = {"label": f"{HUB_LABEL}={hub_id}"}
            servers = client.containers(filters=filters) if hub_id else []
            version = client.version()["Version"]
            for name in deployment.all_images:
                try:
                    client.inspect_image(name)
                    found["images"][name] = True
                except ImageNotFound:
                    found["images"][name] = False
    except EngineUnavailable as error:
        return {**found, "error": str(error)}
    finally:
        client.close()
    return {**found, "answering": True, "version": version, "servers": len(servers)}


def _hub_line(hub: dict[str, Any]) -> str:
    if not hub["running"]:
        return "does not run; `make up` starts it"
    line = f"{'answers' if hub['answering'] else 'runs but does not answer'} (pid {hub['pid']})"
    return f"{line}; settings changed since it started" if hub["settings_changed"] else line


def _monitoring_line(monitoring: dict[str, Any]) -> str:
    if not monitoring["running"]:
        return "does not run; `make up` starts it"
    how = monitoring["url"] if monitoring["answering"] else "runs but does not answer"
    return f"{how} (pid {monitoring['pid']})"


def _engine_line(engine: dict[str, Any]) -> str:
    if not engine["answering"]:
        return str(engine["error"])
    return f"Docker {engine['version']}, {engine['servers']} servers of this hub run"
