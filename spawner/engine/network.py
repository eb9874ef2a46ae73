"""The users' networks: each container reaches the hub and the outside, and nothing else; in an exam only the hub.

The bridge refuses traffic between its containers, and two chains in the host's filter table do the rest:

- into the host (``INPUT``): the hub's API, and answers to what the host itself asked; nothing else;
- through the host (``DOCKER-USER``, which the engine jumps to before its own rules and never flushes): not to another
  container on the bridge, not into the bridge from elsewhere, not to blocked destinations such as cloud metadata.

The network of exams has a bridge and chains of its own. Everything is a blocked destination there, the engine gives it
no way out either (no masquerading), and what its name server does not know it asks an address that nobody has.
"""

import ipaddress
import re
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
from docker.errors import APIError, NotFound

from ..errors import EngineUnavailable, FirewallUnavailable
from ..policy.names import bridge_name, exam_bridge_name, exam_network_name, network_name
from .view import HUB_LABEL

EVERYWHERE = "0.0.0.0/0"
# In TEST-NET-1 (RFC 5737), which nobody has. The engine's own name server in a container would else ask the host's, in
# the host's name if that is a loopback address, and so past all rules.
NO_NAME_SERVER = "192.0.2.53"

_BRIDGE_FILTER = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")


@dataclass(frozen=True, slots=True)
class UserNetwork:
    """One hub's network of users' containers.

    Attributes
    ----------
    gateway
        The host's IPv4 address in it, at which containers reach the hub.
    """

    name: str
    bridge: str
    gateway: str


def ensure_network(client: docker.APIClient, hub_id: str, subnet: str | None = None) -> UserNetwork:
    """Give the hub's network; makes it where it is missing.

    Raises
    ------
    EngineUnavailable
        If the engine refuses, for example because `subnet` is in use.
    """
    return _ensure(client, hub_id, network_name(hub_id), bridge_name(hub_id), "subnet", subnet, {})


def ensure_exam_network(client: docker.APIClient, hub_id: str, subnet: str | None = None) -> UserNetwork:
    """Give the hub's network of exams likewise. It keeps nobody in without `exam_firewall`."""
    no_way_out = {"com.docker.network.bridge.enable_ip_masquerade": "false"}
    name, bridge = exam_network_name(hub_id), exam_bridge_name(hub_id)
    return _ensure(client, hub_id, name, bridge, "exam_subnet", subnet, no_way_out)


def _ensure(
    client: docker.APIClient,
    hub_id: str,
    name: str,
    bridge: str,
    setting: str,
    subnet: str | None,
    options: Mapping[str, str],
) -> UserNetwork:
    found = _find(client, name)
    if found is None:
        try:
            client.create_network(
                name,
                driver="bridge",
                check_duplicate=True,
                labels={HUB_LABEL: hub_id},
                ipam=_addresses(subnet) if subnet else None,
                options={
                    "com.docker.network.bridge.name": bridge,
                    "com.docker.network.bridge.enable_icc": "false",
                    **options,
                },
            )
        except APIError as error:
            # Somebody else may be making it: the engine refuses ours (403, 409) before it shows theirs.
            found = _find_soon(client, name)
            if found is None:
                raise EngineUnavailable(
                    f"The network {name} could not be made"
                    f"{f' with network.{setting} {subnet}' if subnet else ''}: {error.explanation or error}"
                ) from error
        else:
            found = _find(client, name)
        if found is None:
            raise EngineUnavailable(f"The network {name} vanished while it was made. Try again.")
    configuration = found["IPAM"]["Config"][0]
    return UserNetwork(name, bridge, configuration["Gateway"])


def _addresses(subnet: str) -> docker.types.IPAMConfig:
    # The engine gives the first address to the gateway anyway, but tells of it only if it was named.
    gateway = str(next(ipaddress.IPv4Network(subnet).hosts()))
    return docker.types.IPAMConfig(pool_configs=[docker.types.IPAMPool(subnet=subnet, gateway=gateway)])


def _find(client: docker.APIClient, name: str) -> dict[str, Any] | None:
    try:
        answer: dict[str, Any] = client.inspect_network(name)
    except NotFound:
        return None
    return answer


def _find_soon(client: docker.APIClient, name: str) -> dict[str, Any] | None:
    for _ in range(5):
        found = _find(client, name)
        if found is not None:
            return found
        time.sleep(0.1)
    return None


@dataclass(frozen=True, slots=True)
class Firewall:
    """The rules of one hub, as data.

    Attributes
    ----------
    gateway, hub_port
        Where the hub's API listens: of the users' network, for exams too.
    blocked
        IPv4 networks that containers cannot reach.
    exam
        Whether they are the rules of the network of exams, which stand beside the others.
    """

    hub_id: str
    bridge: str
    gateway: str
    hub_port: int
    blocked: Sequence[str]
    exam: bool = False

    @property
    def chains(self) -> tuple[str, str]:
        """Name the two chains: into the host, and through it."""
        which = "X" if self.exam else ""
        return f"BERTH-{self.hub_id}-{which}IN", f"BERTH-{self.hub_id}-{which}FWD"

    def rules(self) -> list[str]:
        """Give the rules of both chains in iptables' syntax."""
        into, through = self.chains
        answers = "-m conntrack --ctstate RELATED,ESTABLISHED"
        return [
            f"-A {into} {answers} -j ACCEPT",
            f"-A {into} -d {self.gateway}/32 -p tcp -m tcp --dport {self.hub_port} -j ACCEPT",
            f"-A {into} -j REJECT",
            f"-A {through} {answers} -j RETURN",
            f"-A {through} -o {self.bridge} -j DROP",
            *(f"-A {through} -i {self.bridge} -d {network} -j REJECT" for network in self.blocked),
        ]

    def jumps(self) -> list[tuple[str, str]]:
        """Give what leads to the chains: (built-in chain, rule)."""
        into, through = self.chains
        return [
            ("INPUT", f"-i {self.bridge} -j {into}"),
            ("DOCKER-USER", f"-i {self.bridge} -j {through}"),
            ("DOCKER-USER", f"-o {self.bridge} -j {through}"),
        ]

    def jumps_v6(self) -> list[tuple[str, str]]:
        """Refuse IPv6 altogether: the network has none, but the bridge may have a link-local address."""
        return [("INPUT", f"-i {self.bridge} -j DROP"), ("FORWARD", f"-i {self.bridge} -j DROP")]

    def restore_input(self) -> str:
        """Give the input of ``iptables-restore --noflush``: both chains, replaced in one step."""
        lines = ["*filter", *(f":{chain} - [0:0]" for chain in self.chains), *self.rules(), "COMMIT"]
        return "\n".join(lines) + "\n"


def exam_firewall(hub_id: str, gateway: str, hub_port: int) -> Firewall:
    """Give the rules of the network of exams: to the hub, and nowhere else.

    Parameters
    ----------
    gateway
        Of the users' network, at which the hub listens.
    """
    return Firewall(hub_id, exam_bridge_name(hub_id), gateway, hub_port, (EVERYWHERE,), exam=True)


_VERIFIED: dict[Firewall, float] = {}
_VERIFIED_SECONDS = 30.0


def ensure_firewall(firewall: Firewall) -> None:
    """Set the rules and the jumps to them, in front of all others; at most once in 30 s for the same rules.

    Raises
    ------
    FirewallUnavailable
        If the host cannot enforce them: no iptables, no rights, or bridged traffic that iptables does not see.
    """
    now = time.monotonic()
    if now - _VERIFIED.get(firewall, -_VERIFIED_SECONDS) < _VERIFIED_SECONDS:
        return
    _require_bridge_filter()
    _run("iptables-restore", "--wait", "--noflush", given=firewall.restore_input())
    for chain, rule in firewall.jumps():
        _ensure_first("iptables", chain, rule)
    if shutil.which("ip6tables") and Path("/proc/net/if_inet6").exists():
        for chain, rule in firewall.jumps_v6():
            _ensure_first("ip6tables", chain, rule)
    _VERIFIED[firewall] = now


def remove_firewall(hub_id: str) -> None:
    """Remove one hub's rules, whatever network they were for; nothing else."""
    bridges = f"({re.escape(bridge_name(hub_id))}|{re.escape(exam_bridge_name(hub_id))})"
    ours = re.compile(rf"-A \S+ -[io] \S+ -j BERTH-{hub_id}-X?(IN|FWD)|-A (INPUT|FORWARD) -i {bridges} -j DROP")
    for command in ("iptables", "ip6tables"):
        if not shutil.which(command):
            continue
        saved = _run(f"{command}-save", "-t", "filter").splitlines()
        for line in saved:
            if ours.fullmatch(line):
                _run(command, "--wait", "-D", *line.split()[1:])
        for chain in (f"BERTH-{hub_id}-{name}" for name in ("IN", "FWD", "XIN", "XFWD")):
            if any(line.startswith(f":{chain} ") for line in saved):
                _run(command, "--wait", "-F", chain)
                _run(command, "--wait", "-X", chain)
    for firewall in [firewall for firewall in _VERIFIED if firewall.hub_id == hub_id]:
        del _VERIFIED[firewall]


def remove_network(client: docker.APIClient, hub_id: str) -> bool:
    """Remove the hub's networks and their firewall rules; tell whether there was one."""
    there = [name for name in (exam_network_name(hub_id), network_name(hub_id)) if _find(client, name) is not None]
    for name in there:
        client.remove_network(name)
    remove_firewall(hub_id)
    return bool(there)


def _require_bridge_filter() -> None:
    """Without it, packets between two containers on one bridge pass by iptables."""
    try:
        enabled = _BRIDGE_FILTER.read_text().strip() == "1"
    except FileNotFoundError:
        enabled = False
    if not enabled:
        raise FirewallUnavailable(
            "Users' containers cannot be kept apart on this machine: the kernel does not show bridged traffic to "
            "iptables. As root: modprobe br_netfilter && sysctl net.bridge.bridge-nf-call-iptables=1"
        )


def _ensure_first(command: str, chain: str, rule: str) -> None:
    """Insert a jump at the chain's head, where it is not in the chain already."""
    check = subprocess.run([command, "--wait", "-C", chain, *rule.split()], capture_output=True, check=False, text=True)
    if check.returncode != 0:
        _run(command, "--wait", "-I", chain, "1", *rule.split())


def _run(*command: str, given: str | None = None) -> str:
    try:
        done = subprocess.run(command, input=given, capture_output=True, check=False, text=True, timeout=60)
    except FileNotFoundError:
        raise FirewallUnavailable(
            f"{command[0]} is missing; install the package iptables, or set network.firewall to external."
        ) from None
    except subprocess.TimeoutExpired:
        raise FirewallUnavailable(f"`{' '.join(command)}` did not end within 60 s.") from None
    if done.returncode != 0:
        raise FirewallUnavailable(
            f"`{' '.join(command)}` failed: {done.stderr.strip()}. The hub must be root to set firewall rules, "
            "or set network.firewall to external and set them yourself (`berth firewall` prints them)."
        )
    return done.stdout
