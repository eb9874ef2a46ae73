"""Launches of a learning platform at a whole hub: who gets in, where they land, and what is refused."""

import json
import logging
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests

from spawner.ledger import Ledger
from spawner.operations import courses
from spawner.operations.desk import Desk
from spawner.policy.classes import Course, Member, Role
from spawner.signin.launches import enrolling
from spawner.signin.model import SignIn

from ..support.hub import Hub, running_hub
from ..support.lti import ASSISTANT, CLAIM, INSTRUCTOR, LEARNER, Platform, Visitor, new_key, platform
from ..support.office import LIMITS
from ..support.oidc import make_certificate
from ..support.ports import free_ports
from .conftest import HUB_CONFIG

hub_test = pytest.mark.hub

# What jupyterhub_config.py does about launches, with the ledger of the test.
CONFIG = (
    HUB_CONFIG
    + """
from spawner.ledger import Ledger
from spawner.operations.desk import Desk
from spawner.signin.launches import enrolling
from tests.support.office import LIMITS

desk = Desk(Ledger("sqlite:///ledger.db"), LIMITS)
c.LaunchAuthenticator.post_auth_hook = enrolling(settings.sign_in, lambda: desk)
"""
)


@dataclass(frozen=True)
class Site:
    hub: Hub
    platform: Platform
    desk: Desk

    def visitor(self) -> Visitor:
        return Visitor(self.platform, self.hub.url)

    def member(self, course: str, user: str) -> Member | None:
        with self.desk.ledger.reading() as books:
            return books.courses.member(course, user)

    def logged(self) -> str:
        return self.hub.log.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def site(module_dir: Path) -> Iterator[Site]:
    ledger = Ledger(f"sqlite:///{module_dir / 'ledger.db'}")
    ledger.upgrade()
    desk = Desk(ledger, LIMITS)
    for name in ("ml", "old", "mapped"):
        courses.create(desk, Course(name, f"Course {name}", "cpu", "", datetime.now(UTC)), "ines@a.org")
    courses.archive(desk, "old", "ines@a.org")
    with platform() as made:
        settings = made.settings | {"allow_all": True, "blocked_users": ["eve@a.org"], "courses": {"ctx-7": "mapped"}}
        (module_dir / "berth.yaml").write_text(json.dumps({"sign_in": settings}))
        root = Path(__file__).parents[2]
        with running_hub(module_dir, CONFIG, port=free_ports(1)[0], env={"PYTHONPATH": str(root)}) as hub:
            yield Site(hub, made, desk)
    ledger.close()


@hub_test
def test_a_launch_signs_in_and_enters_the_course(site: Site) -> None:
    visitor = site.visitor()
    begun = visitor.begin()
    assert begun.status_code == 302
    assert begun.headers["Location"].startswith(f"{site.platform.issuer}/authorize?")
    claims = site.platform.claims("Ann@a.org", LEARNER, course="ml", nonce=visitor.nonce)
    answer = visitor.come(site.platform.sign(claims))
    assert (answer.status_code, answer.headers["Location"]) == (302, "/services/console/courses/ml")
    assert site.hub.user("ann@a.org") is not None
    assert "ann@a.org" in visitor.browser.get(f"{site.hub.url}/hub/home", timeout=30).text
    member = site.member("ml", "ann@a.org")
    assert member is not None
    assert (member.role, member.via, member.added_by) == (Role.STUDENT, "lti", "ann@a.org")
    assert member.agreed_at == member.added_at
    # The keys are kept: the platform is not asked for them by each launch.
    fetched = site.platform.served
    assert site.visitor().launch("ann@a.org", LEARNER, course="ml").headers["Location"].endswith("/courses/ml")
    assert site.platform.served == fetched


@hub_test
def test_the_settings_name_the_course_of_a_context(site: Site) -> None:
    answer = site.visitor().launch("ivo@a.org", ASSISTANT, INSTRUCTOR, course="ml", context="ctx-7")
    assert answer.headers["Location"] == "/services/console/courses/mapped"
    found = site.member("mapped", "ivo@a.org")
    assert found is not None
    assert found.role is Role.ASSISTANT
    assert site.member("ml", "ivo@a.org") is None


@hub_test
@pytest.mark.parametrize(
    ("user", "roles", "more", "told"),
    [
        ("ada@a.org", [LEARNER], {"course": "nothing"}, "There is no course 'nothing'"),
        ("bob@a.org", [f"{CLAIM}x#Mentor"], {"course": "ml"}, "Its roles say neither"),
        ("cyd@a.org", [LEARNER], {"course": "old"}, "Course old is archived"),
        ("dan@a.org", [INSTRUCTOR], {"course": "ml", "context": "c-9"}, "sign_in.courses with the platform's id 'c-9'"),
        ("flo@a.org", [LEARNER], {}, "The launch names no course"),
    ],
)
def test_others_are_let_in_without_a_course(
    site: Site, user: str, roles: list[str], more: dict[str, Any], told: str
) -> None:
    answer = site.visitor().launch(user, *roles, **more)
    assert (answer.status_code, answer.headers["Location"]) == (302, "/")
    assert site.hub.user(user) is not None
    assert site.member(more.get("course", "ml"), user) is None
    assert re.search(rf"{user} signed in by a launch and was put into no course: .*{re.escape(told)}", site.logged())


@hub_test
def test_who_may_not_come_in_enters_no_course(site: Site) -> None:
    answer = site.visitor().launch("eve@a.org", LEARNER, course="ml")
    assert answer.status_code == 403
    assert "Example Moodle knows you, but your account may not use this hub." in answer.text
    assert site.hub.user("eve@a.org") is None
    assert site.member("ml", "eve@a.org") is None


@hub_test
@pytest.mark.parametrize(
    ("more", "status", "told"),
    [
        ({"exp": int(time.time()) - 3600}, 400, "Signature has expired"),
        ({"iat": int(time.time()) - 3600, "exp": int(time.time()) + 3600}, 400, "issued too long ago"),
        ({"iss": "https://elsewhere.example.org"}, 400, "Invalid issuer"),
        ({"aud": "another tool"}, 401, "Audience"),
        ({"nonce": "guessed"}, 400, "nonce mismatch"),
        ({f"{CLAIM}version": "1.1"}, 400, "version claim"),
        ({"email": None}, 403, "did not say your &#39;email&#39;"),
        ({"email": "../root"}, 403, "may not use this hub"),
    ],
)
def test_a_launch_that_is_not_right_is_refused(site: Site, more: dict[str, Any], status: int, told: str) -> None:
    visitor = site.visitor()
    visitor.begin()
    claims = site.platform.claims("mal@a.org", LEARNER, course="ml", **({"nonce": visitor.nonce} | more))
    answer = visitor.come(site.platform.sign(claims))
    assert answer.status_code == status
    assert told in answer.text
    assert site.hub.user("mal@a.org") is None
    assert visitor.browser.get(f"{site.hub.url}/hub/home", timeout=30).url != f"{site.hub.url}/hub/home"


@hub_test
@pytest.mark.parametrize("kid", ["first", "forged"])
def test_a_forged_signature_is_refused(site: Site, kid: str) -> None:
    visitor = site.visitor()
    visitor.begin()
    claims = site.platform.claims("mal@a.org", INSTRUCTOR, course="ml", nonce=visitor.nonce)
    assert visitor.come(site.platform.sign(claims, new_key(), kid)).status_code == 400
    assert site.hub.user("mal@a.org") is None


@hub_test
def test_a_token_without_a_signature_is_refused(site: Site) -> None:
    import jwt

    visitor = site.visitor()
    visitor.begin()
    claims = site.platform.claims("mal@a.org", LEARNER, nonce=visitor.nonce)
    assert visitor.come(jwt.encode(claims, "", "none", headers={"kid": "first"})).status_code == 400
    assert site.hub.user("mal@a.org") is None


@hub_test
def test_a_launch_is_for_one_browser_and_once(site: Site) -> None:
    first = site.visitor()
    first.begin()
    token = site.platform.sign(site.platform.claims("gus@a.org", LEARNER, nonce=first.nonce))
    thief = Visitor(site.platform, site.hub.url, state=first.state)
    stolen = thief.come(token)
    assert stolen.status_code == 400
    assert "Your browser did not send back what this launch began with." in stolen.text
    other = site.visitor()
    other.begin()
    assert "nonce mismatch" in other.come(token).text
    assert first.come(token).status_code == 302
    assert first.come(token).status_code == 400


@hub_test
def test_the_form_of_passwords_lets_nobody_in(site: Site) -> None:
    # The hub has it for every authenticator.
    browser = requests.Session()
    browser.get(f"{site.hub.url}/hub/login", timeout=30)
    said = {"_xsrf": browser.cookies["_xsrf"], "username": "root@a.org", "email": "root@a.org", "sub": "root@a.org"}
    answer = browser.post(f"{site.hub.url}/hub/login", said, allow_redirects=False, timeout=30)
    assert answer.status_code == 403
    assert site.hub.user("root@a.org") is None


@hub_test
def test_who_comes_from_elsewhere_is_told_where_to_begin(site: Site) -> None:
    page = requests.get(f"{site.hub.url}/hub/login", timeout=30)
    assert "Example Moodle" in page.text
    alone = requests.get(f"{site.hub.url}/hub/lti13/oauth_login", timeout=30)
    assert alone.status_code == 400
    assert "You come in here from Example Moodle: follow the link to this hub in your course there." in alone.text
    for wrong in ({"iss": "https://elsewhere.example.org"}, {"client_id": "another"}):
        told = site.visitor().begin(**wrong)
        assert told.status_code == 400
        assert "This hub is not registered at" in told.text


@hub_test
def test_a_platform_need_not_say_which_client_it_means(site: Site) -> None:
    visitor = site.visitor()
    begun = visitor.begin(client_id="")
    assert f"client_id={site.platform.client_id}" in begun.headers["Location"]


@hub_test
def test_a_page_that_the_link_names_is_shown(site: Site) -> None:
    visitor = site.visitor()
    for target, shown in (
        ("https://elsewhere.example.org/hub/token", "/hub/token"),
        (f"{site.hub.url}/hub/lti13/oauth_callback", "/hub/home"),
    ):
        visitor.begin(target_link_uri=target)
        token = site.platform.sign(site.platform.claims("hal@a.org", LEARNER, nonce=visitor.nonce))
        assert visitor.come(token).headers["Location"] == shown


@hub_test
def test_over_https_and_with_an_authority_of_the_company(tmp_path: Path) -> None:
    company = make_certificate(tmp_path)
    own = 'callback_url=c.JupyterHub.bind_url + "/hub/oauth_callback"'
    config = HUB_CONFIG.replace(own, 'callback_url="https://berth.example.org/hub/oauth_callback"')
    assert config != HUB_CONFIG
    with platform(company) as made:
        settings = {"sign_in": made.settings | {"allow_all": True}, "certificates": [str(company.certificate)]}
        (tmp_path / "berth.yaml").write_text(json.dumps(settings))
        with running_hub(tmp_path, config) as hub:
            visitor = Visitor(made, hub.url)
            begun = visitor.begin()
            asked = parse_qs(urlsplit(begun.headers["Location"]).query)
            assert asked["redirect_uri"] == ["https://berth.example.org/hub/lti13/oauth_callback"]
            ours = [cookie for cookie in visitor.browser.cookies if cookie.name.startswith("lti13")]
            assert len(ours) == 2
            for cookie in ours:
                assert cookie.secure
                assert cookie.get_nonstandard_attr("SameSite") == "None"
                cookie.secure = False  # here the proxy that speaks https is missing
            # Without a ledger, it signs in.
            answer = visitor.come(made.sign(made.claims("ann@a.org", LEARNER, course="ml", nonce=visitor.nonce)))
            assert (answer.status_code, answer.headers["Location"]) == (302, "/")
            assert hub.user("ann@a.org") is not None


# --- the ledger is away -----------------------------------------------------------------------------------------------


def lti(**more: Any) -> SignIn:
    return SignIn.model_validate(Platform("https://moodle.example.org").settings | {"allow_all": True} | more)


async def test_a_ledger_that_is_away_keeps_nobody_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    ledger = Ledger(f"sqlite:///{tmp_path / 'none' / 'ledger.db'}")
    hook = enrolling(lti(), lambda: Desk(ledger, LIMITS))
    claims = Platform("https://moodle.example.org").claims("ann", LEARNER, course="ml")
    model, handler = {"name": "ann", "auth_state": claims}, SimpleNamespace(course="")
    with caplog.at_level(logging.WARNING):
        assert await hook(SimpleNamespace(), handler, model) == model
    assert handler.course == ""
    assert "ann signed in by a launch and was put into no course: " in caplog.text


async def test_a_ledger_that_is_slow_keeps_nobody_waiting(caplog: pytest.LogCaptureFixture) -> None:
    import threading

    answer = threading.Event()

    def desk() -> Desk:
        answer.wait(30)
        raise AssertionError("nobody waits for it")

    model, handler = {"name": "ann", "auth_state": None}, SimpleNamespace(course="")
    try:
        with caplog.at_level(logging.WARNING):
            assert await enrolling(lti(), desk, patience=0.05)(SimpleNamespace(), handler, model) == model
    finally:
        answer.set()
    assert "the ledger did not answer within 0.05 seconds" in caplog.text
