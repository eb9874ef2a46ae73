"""A launch from a learning platform into the hub as it is configured: into the course, and onto its page."""

import json
from collections.abc import Iterator
from dataclasses import dataclass

import docker
import pytest

from spawner.operations import courses
from spawner.operations.desk import utc_now
from spawner.policy.classes import Course, Role

from ..support.berth import Berth, deployment
from ..support.ledger_of import ledger_of
from ..support.lti import INSTRUCTOR, LEARNER, Platform, Visitor, platform

pytestmark = [pytest.mark.hub, pytest.mark.docker, pytest.mark.image]


@dataclass(frozen=True)
class Site:
    berth: Berth
    platform: Platform


@pytest.fixture(scope="module")
def site(engine: docker.DockerClient, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with platform() as made:
        sign_in = made.settings | {"allow_all": True, "courses": {"ctx-7": "ml"}}
        with deployment(tmp_path_factory.mktemp("launch"), BERTH_SIGN_IN=json.dumps(sign_in)) as berth, berth.hub():
            with ledger_of(berth) as desk:
                courses.create(desk, Course("ml", "Machine learning", "cpu", "", utc_now()), "root")
            yield Site(berth, made)


@pytest.mark.parametrize(
    ("user", "sent", "role"), [("ann@a.org", LEARNER, Role.STUDENT), ("ines@a.org", INSTRUCTOR, Role.INSTRUCTOR)]
)
def test_a_launch_leads_to_the_page_of_the_course(site: Site, user: str, sent: str, role: Role) -> None:
    visitor = Visitor(site.platform, site.berth.url)
    answer = visitor.launch(user, sent, context="ctx-7")
    assert answer.status_code == 302, answer.text
    page = visitor.browser.get(f"{site.berth.url}{answer.headers['Location']}", timeout=60)
    assert page.url == f"{site.berth.url}/services/console/courses/ml"
    assert (page.status_code, "Machine learning" in page.text) == (200, True)
    with ledger_of(site.berth) as desk, desk.ledger.reading() as books:
        member = books.courses.member("ml", user)
    assert member is not None
    assert (member.role, member.via, member.agreed_at) == (role, "lti", member.added_at)
