"""The users' network, tried from inside: what a container reaches, and what it does not."""

import contextlib
import http.server
import json
import secrets
import shutil
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import docker
import pytest

from spawner.engine import network
from spawner.engine.containers import SESSION_LABEL, USER_LABEL, ContainerSpec, create_request
from spawner.engine.network import (
    NO_NAME_SERVER,
    Firewall,
    UserNetwork,
    ensure_exam_network,
    ensure_firewall,
    ensure_network,
    exam_firewall,
    remove_firewall,
    remove_network,
)
from spawner.engine.view import HUB_LABEL
from spawner.engine.volumes import exam_volumes, home_volumes
from spawner.errors import EngineUnavailable, FirewallUnavailable
from spawner.policy.model import Limits
from spawner.policy.names import exam_volume_name

from ..support.flaky_engine import FlakyEngine
from ..support.ports import free_ports
from ..support.tiny_image import PORT, remove_traces, run_inside
from ..support.waiting import eventually

FIREWALL = Firewall("0a1b2c3d", "berth-0a1b2c3d", "172.30.0.1", 8081, ("169.254.0.0/16", "10.9.0.0/16"))
# In the link-local range, but not where clouds have their metadata: the machine itself may need those.
LINK_LOCAL = "169.254.213.7"
OUTSIDE = "198.51.100.7"
OUR_END = "198.51.100.6"


def test_the_rules() -> None:
    assert FIREWALL.rules() == [
        "-A BERTH-0a1b2c3d-IN -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
        "-A BERTH-0a1b2c3d-IN -d 172.30.0.1/32 -p tcp -m tcp --dport 8081 -j ACCEPT",
        "-A BERTH-0a1b2c3d-IN -j REJECT",
        "-A BERTH-0a1b2c3d-FWD -m conntrack --ctstate RELATED,ESTABLISHED -j RETURN",
        "-A BERTH-0a1b2c3d-FWD -o berth-0a1b2c3d -j DROP",
        "-A BERTH-0a1b2c3d-FWD -i berth-0a1b2c3d -d 169.254.0.0/16 -j REJECT",
        "-A BERTH-0a1b2c3d-FWD -i berth-0a1b2c3d -d 10.9.0.0/16 -j REJECT",
    ]


def test_the_rules_of_exams() -> None:
    firewall = exam_firewall("0a1b2c3d", "172.30.0.1", 8081)
    assert firewall.rules() == [
        "-A BERTH-0a1b2c3d-XIN -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
        "-A BERTH-0a1b2c3d-XIN -d 172.30.0.1/32 -p tcp -m tcp --dport 8081 -j ACCEPT",
        "-A BERTH-0a1b2c3d-XIN -j REJECT",
        "-A BERTH-0a1b2c3d-XFWD -m conntrack --ctstate RELATED,ESTABLISHED -j RETURN",
        "-A BERTH-0a1b2c3d-XFWD -o bexam-0a1b2c3d -j DROP",
        "-A BERTH-0a1b2c3d-XFWD -i bexam-0a1b2c3d -d 0.0.0.0/0 -j REJECT",
    ]
    assert {chain for chain, _ in firewall.jumps()} == {"INPUT", "DOCKER-USER"}
    assert set(firewall.chains).isdisjoint(FIREWALL.chains)


def test_the_jumps() -> None:
    assert FIREWALL.jumps() == [
        ("INPUT", "-i berth-0a1b2c3d -j BERTH-0a1b2c3d-IN"),
        ("DOCKER-USER", "-i berth-0a1b2c3d -j BERTH-0a1b2c3d-FWD"),
        ("DOCKER-USER", "-o berth-0a1b2c3d -j BERTH-0a1b2c3d-FWD"),
    ]
    assert FIREWALL.jumps_v6() == [
        ("INPUT", "-i berth-0a1b2c3d -j DROP"),
        ("FORWARD", "-i berth-0a1b2c3d -j DROP"),
    ]


def test_both_chains_are_replaced_in_one_step() -> None:
    assert FIREWALL.restore_input().splitlines() == [
        "*filter",
        ":BERTH-0a1b2c3d-IN - [0:0]",
        ":BERTH-0a1b2c3d-FWD - [0:0]",
        *FIREWALL.rules(),
        "COMMIT",
    ]
    assert FIREWALL.restore_input().endswith("COMMIT\n")


def test_the_longest_chain_name_fits() -> None:
    # iptables takes 28 characters.
    assert max(len(chain) for chain in replace(FIREWALL, hub_id="x" * 8).chains) <= 28


def test_a_host_that_cannot_enforce_the_rules_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "_BRIDGE_FILTER", tmp_path / "none")
    with pytest.raises(FirewallUnavailable, match="modprobe br_netfilter"):
        ensure_firewall(FIREWALL)
    off = tmp_path / "off"
    off.write_text("0\n")
    monkeypatch.setattr(network, "_BRIDGE_FILTER", off)
    with pytest.raises(FirewallUnavailable, match="bridge-nf-call-iptables=1"):
        ensure_firewall(FIREWALL)


def test_a_host_without_iptables_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    on = tmp_path / "on"
    on.write_text("1\n")
    monkeypatch.setattr(network, "_BRIDGE_FILTER", on)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FirewallUnavailable, match=r"iptables-restore is missing; .*network\.firewall to external"):
        ensure_firewall(FIREWALL)


def test_without_the_rights_it_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    on = tmp_path / "on"
    on.write_text("1\n")
    refusing = tmp_path / "iptables-restore"
    refusing.write_text("#!/bin/sh\necho 'Permission denied (you must be root)' >&2; exit 4\n")
    refusing.chmod(0o755)
    monkeypatch.setattr(network, "_BRIDGE_FILTER", on)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    with pytest.raises(FirewallUnavailable, match=r"you must be root\)\. The hub must be root .*`berth firewall`"):
        ensure_firewall(FIREWALL)


# --- on a real engine and a real firewall ------------------------------------------------------------------------


def _saved(command: str = "iptables") -> list[str]:
    """List all rules of the host, without the counters."""
    done = subprocess.run([f"{command}-save", "-t", "filter"], capture_output=True, text=True, check=True)
    return [line for line in done.stdout.splitlines() if line.startswith("-A")]


def _of(hub_id: str) -> list[str]:
    return [line for command in ("iptables", "ip6tables") for line in _saved(command) if hub_id in line]


def _forget() -> None:
    """Let the next `ensure_firewall` look again, as it does after half a minute."""
    network._VERIFIED.clear()


@pytest.fixture
def fresh_hub(client: docker.APIClient) -> Iterator[str]:
    made = secrets.token_hex(4)
    yield made
    remove_traces(client, made)


@pytest.mark.docker
def test_a_network_is_made_once(client: docker.APIClient, fresh_hub: str) -> None:
    made = ensure_network(client, fresh_hub)
    assert ensure_network(client, fresh_hub) == made
    answer = client.inspect_network(made.name)
    assert (made.name, made.bridge) == (f"berth-{fresh_hub}", f"berth-{fresh_hub}")
    assert answer["Labels"] == {"berth.hub": fresh_hub}
    assert answer["Options"] == {
        "com.docker.network.bridge.name": made.bridge,
        "com.docker.network.bridge.enable_icc": "false",
    }
    assert answer["EnableIPv6"] is False
    assert Path(f"/sys/class/net/{made.bridge}").exists()


@pytest.mark.docker
def test_a_network_with_a_subnet_of_ones_own(client: docker.APIClient, fresh_hub: str) -> None:
    assert ensure_network(client, fresh_hub, "10.213.96.0/24").gateway == "10.213.96.1"
    assert ensure_network(client, fresh_hub, "10.213.96.0/24").gateway == "10.213.96.1"


@pytest.mark.docker
def test_a_subnet_that_is_taken(client: docker.APIClient, fresh_hub: str) -> None:
    other = secrets.token_hex(4)
    ensure_network(client, fresh_hub, "10.213.97.0/24")
    try:
        with pytest.raises(EngineUnavailable, match=r"could not be made with network\.subnet 10\.213\.97\.0/25"):
            ensure_network(client, other, "10.213.97.0/25")
    finally:
        remove_traces(client, other)


@pytest.mark.docker
def test_two_processes_that_make_it_at_once(client: docker.APIClient, fresh_hub: str) -> None:
    made: list[UserNetwork] = []
    clients = [docker.APIClient(version="auto") for _ in range(4)]
    threads = [threading.Thread(target=lambda c=c: made.append(ensure_network(c, fresh_hub))) for c in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for each in clients:
        each.close()
    assert len(made) == 4
    assert len(set(made)) == 1


@pytest.mark.docker
def test_a_network_that_another_process_made_first(
    client: docker.APIClient, flaky: FlakyEngine, flaky_client: docker.APIClient, fresh_hub: str
) -> None:
    flaky.answer("GET .*/networks/", 404, times=1)
    made = ensure_network(client, fresh_hub)
    assert ensure_network(flaky_client, fresh_hub) == made


@pytest.mark.docker
def test_an_engine_that_fails(flaky: FlakyEngine, flaky_client: docker.APIClient, fresh_hub: str) -> None:
    flaky.answer("POST .*/networks/create", 500)
    with pytest.raises(EngineUnavailable, match="told to fail by a test"):
        ensure_network(flaky_client, fresh_hub)


@pytest.mark.docker
def test_rules_come_once_go_altogether_and_leave_others_alone(client: docker.APIClient, fresh_hub: str) -> None:
    neighbour = fresh_hub[:-1] + ("0" if fresh_hub[-1] != "0" else "1")
    bridge = f"berth-{fresh_hub}"
    # What an admin may have set for the same bridge.
    admins = [f"INPUT -i {bridge} -p udp -m udp --dport 9 -j ACCEPT", f"FORWARD -s 192.0.2.9/32 -i {bridge} -j DROP"]
    made = ensure_network(client, fresh_hub)
    firewall = Firewall(fresh_hub, made.bridge, made.gateway, 8081, ("169.254.0.0/16",))
    others = replace(firewall, hub_id=neighbour, bridge=f"berth-{neighbour}")
    for rule in admins:
        subprocess.run(["iptables", "--wait", "-A", *rule.split()], check=True)
    try:
        ensure_firewall(others)
        theirs = _of(neighbour)
        ensure_firewall(firewall)
        once = _of(fresh_hub)
        _forget()
        ensure_firewall(firewall)
        assert _of(fresh_hub) == once
        assert len([line for line in once if f"-j BERTH-{fresh_hub}" in line]) == 3
        assert [line for line in once if f"BERTH-{fresh_hub}-IN" in line and " ACCEPT" in line]

        assert remove_network(client, fresh_hub)
        assert sorted(_of(fresh_hub)) == sorted(f"-A {rule}" for rule in admins)
        assert not Path(f"/sys/class/net/{made.bridge}").exists()
        assert not remove_network(client, fresh_hub)
        assert _of(neighbour) == theirs

        # Set again at once: what was removed does not count as verified.
        ensure_firewall(firewall)
        assert [line for line in _of(fresh_hub) if line.startswith(f"-A BERTH-{fresh_hub}-IN")]
    finally:
        remove_firewall(fresh_hub)
        remove_firewall(neighbour)
        for rule in admins:
            subprocess.run(["iptables", "--wait", "-D", *rule.split()], check=True)
    assert _of(fresh_hub) == _of(neighbour) == []


@pytest.mark.docker
@pytest.mark.parametrize("damage", ["flushed", "jumps gone", "all gone", "another rule in it"])
def test_rules_that_somebody_changed_are_set_again(client: docker.APIClient, fresh_hub: str, damage: str) -> None:
    made = ensure_network(client, fresh_hub)
    firewall = Firewall(fresh_hub, made.bridge, made.gateway, 8081, ("169.254.0.0/16",))
    ensure_firewall(firewall)
    right = sorted(_of(fresh_hub))
    into, _ = firewall.chains
    if damage in {"jumps gone", "all gone"}:
        for chain, rule in firewall.jumps():
            subprocess.run(["iptables", "--wait", "-D", chain, *rule.split()], check=True)
    if damage in {"flushed", "all gone"}:
        for chain in firewall.chains:
            subprocess.run(["iptables", "--wait", "-F", chain], check=True)
    if damage == "all gone":
        for chain in firewall.chains:
            subprocess.run(["iptables", "--wait", "-X", chain], check=True)
    if damage == "another rule in it":
        subprocess.run(["iptables", "--wait", "-I", into, "1", "-j", "ACCEPT"], check=True)
    assert sorted(_of(fresh_hub)) != right
    ensure_firewall(firewall)
    assert sorted(_of(fresh_hub)) != right, "looked at again within half a minute"
    _forget()
    ensure_firewall(firewall)
    assert sorted(_of(fresh_hub)) == right


class _Greeting(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"reached\n")

    def log_message(self, *args: Any) -> None:
        """Say nothing."""


class _DualStack(http.server.ThreadingHTTPServer):
    address_family = 10  # AF_INET6, which takes IPv4 too
    daemon_threads = True


@dataclass(frozen=True)
class Place:
    """Two users' containers, and what stands around them."""

    client: docker.APIClient
    hub_id: str
    network: UserNetwork
    ann: str
    bob: str
    ann_ip: str
    bob_ip: str
    hub_port: int
    other_port: int
    outside: str

    def reaches(self, address: str, port: int) -> bool:
        status, printed = run_inside(
            self.client, self.ann, "timeout", "1", "wget", "-q", "-O-", f"http://{address}:{port}/hello"
        )
        return status == 0 and printed == "reached\n"

    def pings(self, address: str) -> bool:
        return run_inside(self.client, self.ann, "ping", "-c", "1", "-W", "1", address)[0] == 0

    def from_outside(self, address: str) -> bool:
        attempt = f"import socket; socket.create_connection(('{address}', {PORT}), 1)"
        command = ["ip", "netns", "exec", self.outside, sys.executable, "-c", attempt]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    def over_ipv6(self) -> bool:
        """Try the host's link-local address on the bridge, which every bridge has by itself."""
        pid = str(self.client.inspect_container(self.ann)["State"]["Pid"])
        addresses = json.loads(
            subprocess.run(
                ["ip", "-j", "-6", "addr", "show", "dev", self.network.bridge], capture_output=True, check=True
            ).stdout
        )
        bridge = addresses[0]["addr_info"][0]["local"]
        inside = ["nsenter", "--net", "--target", pid]
        # The engine turned IPv6 off in the container; whoever gets it back must not get anywhere.
        attempt = (
            "import pathlib, socket; eth0 = pathlib.Path('/proc/sys/net/ipv6/conf/eth0'); "
            "(eth0 / 'accept_dad').write_text('0'); (eth0 / 'disable_ipv6').write_text('0'); "
            "s = socket.socket(socket.AF_INET6); s.settimeout(1); "
            f"s.connect(('{bridge}', {self.other_port}, 0, socket.if_nametoindex('eth0')))"
        )
        return (
            subprocess.run([*inside, sys.executable, "-c", attempt], capture_output=True, check=False).returncode == 0
        )


@pytest.fixture
def outside() -> Iterator[str]:
    """A network namespace that plays the world: one ordinary address and one where clouds have their metadata."""
    name = f"berth-{secrets.token_hex(3)}"
    ours, theirs = f"{name}-a"[-15:], f"{name}-b"[-15:]

    def ip(*arguments: str) -> None:
        subprocess.run(["ip", *arguments], check=True)

    ip("netns", "add", name)
    ip("link", "add", ours, "type", "veth", "peer", "name", theirs, "netns", name)
    ip("addr", "add", f"{OUR_END}/31", "dev", ours)
    ip("link", "set", ours, "up")
    for command in (
        f"addr add {OUTSIDE}/31 dev {theirs}",
        f"addr add {LINK_LOCAL}/32 dev {theirs}",
        f"link set {theirs} up",
        "link set lo up",
        f"route add default via {OUR_END}",
    ):
        ip("-netns", name, *command.split())
    ip("route", "add", f"{LINK_LOCAL}/32", "via", OUTSIDE)
    served = Path("/tmp") / name
    served.mkdir()
    (served / "hello").write_text("reached\n")
    server = subprocess.Popen(
        ["ip", "netns", "exec", name, sys.executable, "-m", "http.server", "--directory", str(served), str(PORT)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    yield name
    server.kill()
    server.wait()
    shutil.rmtree(served)
    ip("link", "del", ours)
    ip("netns", "del", name)


@pytest.fixture
def place(client: docker.APIClient, tiny: str, fresh_hub: str, outside: str) -> Iterator[Place]:
    made = ensure_network(client, fresh_hub)
    ids = []
    for user in ("ann", "bob"):
        # As root and with all that the engine grants by default: the network must hold even then.
        body = {
            "Image": tiny,
            "User": "0",
            "Cmd": ["sh", "-c", f"mkdir /www; echo reached >/www/hello; exec httpd -f -p {PORT} -h /www"],
            "Labels": {"berth.hub": fresh_hub, "berth.user": user},
            "HostConfig": {"NetworkMode": made.name},
        }
        container = client.create_container_from_config(body, f"berth-{fresh_hub}-{user}")["Id"]
        client.start(container)
        ids.append(container)
    ips = [client.inspect_container(each)["NetworkSettings"]["Networks"][made.name]["IPAddress"] for each in ids]
    hub_port, other_port = free_ports(2)
    servers = [_DualStack(("::", port), _Greeting) for port in (hub_port, other_port)]
    for server in servers:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield Place(client, fresh_hub, made, ids[0], ids[1], ips[0], ips[1], hub_port, other_port, outside)
    for server in servers:
        server.shutdown()
        server.server_close()


def _host_reaches(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"http://{address}:{PORT}/hello", timeout=1) as answer:
            return bool(answer.read() == b"reached\n")
    except OSError:
        return False


@pytest.mark.docker
def test_what_a_container_reaches(place: Place) -> None:
    gateway = place.network.gateway
    eventually(lambda: run_inside(place.client, place.ann, "wget", "-q", "-O-", f"http://127.0.0.1:{PORT}/hello")[1])
    eventually(lambda: run_inside(place.client, place.bob, "wget", "-q", "-O-", f"http://127.0.0.1:{PORT}/hello")[1])

    # Without the rules all of this is open: what is closed below is closed by them.
    eventually(lambda: place.reaches(OUTSIDE, PORT))
    assert place.reaches(LINK_LOCAL, PORT)
    assert place.reaches(gateway, place.other_port)
    assert place.reaches(OUR_END, place.other_port)
    assert place.pings(gateway)
    eventually(place.over_ipv6)  # the bridge's address takes a second to be valid

    ensure_firewall(Firewall(place.hub_id, place.network.bridge, gateway, place.hub_port, ("169.254.0.0/16",)))
    # The hub, the outside, itself.
    assert place.reaches(gateway, place.hub_port)
    assert place.reaches(OUTSIDE, PORT)
    assert place.pings(OUTSIDE)
    assert place.reaches(place.ann_ip, PORT)
    # Not the other container.
    assert not place.reaches(place.bob_ip, PORT)
    assert not place.pings(place.bob_ip)
    # Not the host's other ports, by whichever of its addresses; nor the hub's port by another address.
    assert not place.reaches(gateway, place.other_port)
    assert not place.reaches(OUR_END, place.other_port)
    assert not place.reaches(OUR_END, place.hub_port)
    assert not place.pings(gateway)
    # Not the metadata.
    assert not place.reaches(LINK_LOCAL, PORT)
    assert not place.pings(LINK_LOCAL)
    # Not by IPv6.
    assert not place.over_ipv6()


@pytest.mark.docker
def test_who_reaches_a_container(place: Place) -> None:
    ensure_firewall(
        Firewall(place.hub_id, place.network.bridge, place.network.gateway, place.hub_port, ("169.254.0.0/16",))
    )
    eventually(lambda: _host_reaches(place.ann_ip))
    # The outside's way into the users' network leads over this host.
    assert not place.from_outside(place.ann_ip)


@pytest.mark.docker
def test_containers_stay_apart_without_the_engines_own_rule(place: Place) -> None:
    """Our rules do not rely on the engine's (`enable_icc`), nor the engine's on ours."""
    between = ["-i", place.network.bridge, "-o", place.network.bridge, "-j"]
    rule = ["iptables", "--wait"]
    eventually(lambda: run_inside(place.client, place.bob, "wget", "-q", "-O-", f"http://127.0.0.1:{PORT}/hello")[1])
    assert not place.reaches(place.bob_ip, PORT), "the engine's own rule"
    subprocess.run([*rule, "-I", "FORWARD", "1", *between, "ACCEPT"], check=True)
    try:
        assert place.reaches(place.bob_ip, PORT)
        # The hub puts its own in front: DOCKER-USER is asked before what follows in FORWARD, so ask it first again.
        subprocess.run([*rule, "-D", "FORWARD", *between, "ACCEPT"], check=True)
        subprocess.run([*rule, "-I", "FORWARD", "2", *between, "ACCEPT"], check=True)
        ensure_firewall(Firewall(place.hub_id, place.network.bridge, place.network.gateway, place.hub_port, ()))
        assert not place.reaches(place.bob_ip, PORT)
        assert not place.pings(place.bob_ip)
    finally:
        subprocess.run([*rule, "-D", "FORWARD", *between, "ACCEPT"], check=True)


# --- exams ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def exam(client: docker.APIClient, tiny: str, fresh_hub: str, outside: str) -> Iterator[Place]:
    """An exam's container, and one of an ordinary user; `network` is the exam's, `hub_port` at the users' gateway."""
    users, made = ensure_network(client, fresh_hub), ensure_exam_network(client, fresh_hub)
    ids = []
    for user, place in (("ann", made.name), ("bob", users.name), ("cyd", made.name)):
        spec = ContainerSpec(
            name=f"berth-{fresh_hub}-{user}",
            hub_id=fresh_hub,
            user=user,
            server="ml",
            image=tiny,
            port=PORT,
            network=place,
            home_volume=exam_volume_name(fresh_hub, "s1", user) if place == made.name else f"berth-{fresh_hub}-{user}",
            limits=Limits(0.5, 64 << 20, 50, 2 << 20, 256, 0),
            environment={},
            exam="s1" if place == made.name else "",
        )
        body = create_request(spec)
        # As root and with all that the engine grants by default: the network must hold even then.
        body["User"] = "0"
        body["HostConfig"].pop("CapDrop")
        body["Cmd"] = ["sh", "-c", f"mkdir /www; echo reached >/www/hello; exec httpd -f -p {PORT} -h /www"]
        container = client.create_container_from_config(body, spec.name)["Id"]
        client.start(container)
        ids.append(container)
    answers = [client.inspect_container(each)["NetworkSettings"]["Networks"] for each in ids]
    ips = [next(iter(networks.values()))["IPAddress"] for networks in answers]
    hub_port, other_port = free_ports(2)
    servers = [_DualStack(("::", port), _Greeting) for port in (hub_port, other_port)]
    for server in servers:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield Place(client, fresh_hub, made, ids[0], ids[1], ips[0], ips[1], hub_port, other_port, outside)
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.docker
def test_in_an_exam_a_container_reaches_the_hub_and_nothing_else(exam: Place) -> None:
    gateway = ensure_network(exam.client, exam.hub_id).gateway
    cyd = exam.client.inspect_container(f"berth-{exam.hub_id}-cyd")["NetworkSettings"]["Networks"]
    cyd_ip = cyd[exam.network.name]["IPAddress"]
    mine = ("wget", "-q", "-O-", f"http://127.0.0.1:{PORT}/hello")
    there = [exam.ann, exam.bob, f"berth-{exam.hub_id}-cyd"]
    eventually(lambda: all(run_inside(exam.client, one, *mine)[1] == "reached\n" for one in there))
    # Open without the rules, but for what the engine itself keeps apart.
    assert exam.reaches(gateway, exam.other_port)
    assert exam.reaches(exam.network.gateway, exam.other_port)
    assert exam.reaches(OUR_END, exam.other_port)
    eventually(exam.over_ipv6)

    # The users' rules stand beside those of the exams, whichever come first.
    ensure_firewall(Firewall(exam.hub_id, f"berth-{exam.hub_id}", gateway, exam.hub_port, ("169.254.0.0/16",)))
    ensure_firewall(exam_firewall(exam.hub_id, gateway, exam.hub_port))
    assert exam.reaches(gateway, exam.hub_port)
    assert exam.reaches(exam.ann_ip, PORT)
    # Not the outside.
    for address in (OUTSIDE, LINK_LOCAL):
        assert not exam.reaches(address, PORT)
        assert not exam.pings(address)
    # Not the host: neither its other ports, nor the hub's by another address, its own gateway's included.
    for address in (gateway, exam.network.gateway, OUR_END):
        assert not exam.reaches(address, exam.other_port)
        assert not exam.pings(address)
    assert not exam.reaches(exam.network.gateway, exam.hub_port)
    assert not exam.reaches(OUR_END, exam.hub_port)
    # Not who sits in the same exam, nor who does not.
    for address in (cyd_ip, exam.bob_ip):
        assert not exam.reaches(address, PORT)
        assert not exam.pings(address)
    assert not exam.over_ipv6()
    # And nobody but the host reaches it.
    assert _host_reaches(exam.ann_ip)
    assert not exam.from_outside(exam.ann_ip)
    attempt = ("timeout", "1", "wget", "-q", "-O-", f"http://{exam.ann_ip}:{PORT}/hello")
    assert run_inside(exam.client, exam.bob, *attempt)[0] != 0
    # An ordinary user of the same hub has what they had.
    assert run_inside(exam.client, exam.bob, "wget", "-q", "-O-", f"http://{OUTSIDE}:{PORT}/hello")[1] == "reached\n"

    assert remove_network(exam.client, "00000000") is False


@pytest.mark.docker
def test_in_an_exam_no_name_leaves_the_machine(exam: Place) -> None:
    """The engine answers names in a container itself, and asks on in the host's name where it is let."""
    gateway = ensure_network(exam.client, exam.hub_id).gateway
    ensure_firewall(exam_firewall(exam.hub_id, gateway, exam.hub_port))
    answer = exam.client.inspect_container(exam.ann)
    assert answer["HostConfig"]["Dns"] == [NO_NAME_SERVER]
    status, shown = run_inside(exam.client, exam.ann, "cat", "/etc/resolv.conf")
    assert status == 0
    servers = [line.split()[1] for line in shown.splitlines() if line.startswith("nameserver")]
    assert servers == ["127.0.0.11"], "the engine's own, in the container"
    # What the rules refuse is heard on the exam's own bridge, and on no other interface.
    bridge = {
        exam.network.bridge,
        *(path.name for path in Path(f"/sys/class/net/{exam.network.bridge}/brif").iterdir()),
    }
    asked: list[tuple[str, bytes]] = []
    with _all_packets(asked):
        name = secrets.token_hex(8)
        query = ("timeout", "8", "wget", "-q", "-O-", f"http://{name}.example.org/")
        assert run_inside(exam.client, exam.ann, *query)[0] != 0
    heard = {interface for interface, packet in asked if name.encode() in packet}
    assert heard <= bridge


@contextlib.contextmanager
def _all_packets(heard: list[tuple[str, bytes]]) -> Iterator[None]:
    """Listen on all of the host's interfaces; gives the packets, each with the interface's name."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) as listener:
        listener.settimeout(0.1)
        stopped = threading.Event()

        def listen() -> None:
            while not stopped.is_set():
                with contextlib.suppress(TimeoutError):
                    packet, address = listener.recvfrom(65535)
                    heard.append((address[0], packet))

        thread = threading.Thread(target=listen)
        thread.start()
        try:
            yield
        finally:
            stopped.set()
            thread.join()


@pytest.mark.docker
def test_the_volume_of_an_exam_is_nobodys_home(exam: Place) -> None:
    [volume] = exam.client.volumes(filters={"label": [f"{SESSION_LABEL}=s1", f"{USER_LABEL}=ann"]})["Volumes"]
    assert volume["Name"] == exam_volume_name(exam.hub_id, "s1", "ann")
    assert volume["Labels"][HUB_LABEL] == exam.hub_id
    assert home_volumes(exam.client, exam.hub_id) == []
    found = exam_volumes(exam.client, exam.hub_id)
    assert [(one.user, one.session) for one in found] == [("ann", "s1"), ("cyd", "s1")]
