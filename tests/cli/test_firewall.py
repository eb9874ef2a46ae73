"""``berth firewall``: what whoever sets the rules by hand is told."""

import docker
import pytest

from spawner.engine.network import Firewall, exam_firewall

from .conftest import Command, purged

pytestmark = pytest.mark.docker


def test_the_rules_of_users_and_of_exams(berth: Command, engine: docker.DockerClient) -> None:
    with purged(berth):
        told = berth.data("firewall")
        hub_id = berth.state.known_hub_id()
        assert hub_id is not None
        gateway = engine.networks.get(f"berth-{hub_id}").attrs["IPAM"]["Config"][0]["Gateway"]
        users = Firewall(hub_id, f"berth-{hub_id}", gateway, 8081, ("169.254.0.0/16",))
        exams = exam_firewall(hub_id, gateway, 8081)
        assert told["rules"] == [*users.rules(), *exams.rules()]
        assert told["chains"] == [*users.chains, *exams.chains]
        lines = berth.ok("firewall").splitlines()
        assert f"iptables -A BERTH-{hub_id}-XFWD -i bexam-{hub_id} -d 0.0.0.0/0 -j REJECT" in lines
        assert f"iptables -I INPUT 1 -i bexam-{hub_id} -j BERTH-{hub_id}-XIN" in lines
        assert f"ip6tables -I FORWARD 1 -i bexam-{hub_id} -j DROP" in lines
