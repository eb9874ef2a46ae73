"""``berth down``: stop the hub, and with ``--purge`` remove all that is its own."""

import click

from ..errors import BerthError
from ..state import StateDirectory
from .deployment import Deployment
from .grafana import stop_grafana
from .hub import stop_hub, stop_proxy
from .monitoring import stop_monitoring
from .output import Output, json_option
from .purge import purge_archives, purge_engine, purge_state


@click.command()
@click.option("--purge", is_flag=True, help="Also remove users' containers, their homes, the network and the state.")
@json_option
def down(purge: bool, as_json: bool) -> None:
    """Stop the hub. Users' containers keep running, and the next hub finds them again."""
    output = Output(as_json)
    deployment = Deployment.load()
    state = deployment.state
    removed: list[str] = []
    stopped = stop_hub(state) if state.path.is_dir() else None
    if stopped:
        process, by_itself = stopped
        removed.append(f"hub (pid {process.pid})")
        output.step(f"Stopped the hub (pid {process.pid})" + ("" if by_itself else "; it had to be killed"))
    proxy = stop_proxy(state) if state.path.is_dir() else None
    if proxy:
        removed.append(f"proxy (pid {proxy.pid})")
        output.step(f"Stopped the proxy that it left behind (pid {proxy.pid})")
    if state.path.is_dir():
        _stop_monitoring(state, output, removed, purge=purge)
    if purge:
        hub_id = state.known_hub_id()
        if hub_id is None:
            output.say(f"There is nothing to purge: {state.path} holds no state of Berth.")
        else:
            _purge(deployment, hub_id, output, removed)
    elif not stopped and not proxy:
        output.say("The hub does not run.")
    output.data({"removed": removed})


def _stop_monitoring(state: StateDirectory, output: Output, removed: list[str], *, purge: bool) -> None:
    prometheus = stop_monitoring(state)
    if prometheus:
        removed.append(f"Prometheus (pid {prometheus.pid})")
        output.step(f"Stopped Prometheus (pid {prometheus.pid})")

    def note(thing: str) -> None:
        removed.append(thing)
        output.step(f"Removed {thing}")

    stop_grafana(state, note, purge=purge)


def _purge(deployment: Deployment, hub_id: str, output: Output, removed: list[str]) -> None:
    def note(thing: str) -> None:
        removed.append(thing)
        output.step(f"Removed {thing}")

    try:
        purge_engine(hub_id, note)
    except BerthError as error:
        # Without the hub id nobody would find what is left; it stays for the next try.
        raise type(error)(
            f"{str(error).rstrip('.')}. Containers, homes or the network of this hub (label berth.hub={hub_id}) "
            f"may be left, so its state in {deployment.state.path} was kept; repeat `make down PURGE=1` later."
        ) from None
    purge_archives(deployment.state.home_archives(deployment.settings.homes.archive_dir), hub_id, note)
    purge_state(deployment.state, note)
