"""``berth firewall``: the host's rules that keep users' containers apart, for whoever sets them by hand."""

import click

from ..engine.network import Firewall, ensure_network, exam_firewall
from ..settings import HUB_PORT
from .deployment import Deployment, connect
from .output import Output, json_option


@click.command()
@json_option
def firewall(as_json: bool) -> None:
    """Print the firewall rules of this deployment as shell commands; changes no rule.

    The hub sets them by itself unless the settings say ``network.firewall: external``. Makes the users' network
    where there is none yet, because the rules name its bridge and its gateway. Those of exams follow the others.
    """
    output = Output(as_json)
    deployment = Deployment.load()
    state = deployment.state.create()
    client = connect()
    try:
        network = ensure_network(client, state.hub_id, deployment.settings.network.subnet)
    finally:
        client.close()
    users = Firewall(state.hub_id, network.bridge, network.gateway, HUB_PORT, deployment.settings.network.blocked)
    both = (users, exam_firewall(state.hub_id, network.gateway, HUB_PORT))
    chains = [chain for each in both for chain in each.chains]
    rules = [rule for each in both for rule in each.rules()]
    jumps = [jump for each in both for jump in each.jumps()]
    jumps_v6 = [jump for each in both for jump in each.jumps_v6()]
    output.data({"chains": chains, "rules": rules, "jumps": jumps, "jumps_v6": jumps_v6})
    output.say("sysctl net.bridge.bridge-nf-call-iptables=1")
    for chain in chains:
        output.say(f"iptables -N {chain}")
    for rule in rules:
        output.say(f"iptables {rule}")
    for chain, rule in jumps:
        output.say(f"iptables -I {chain} 1 {rule}")
    for chain, rule in jumps_v6:
        output.say(f"ip6tables -I {chain} 1 {rule}")
