"""Who is let in, and as whom: tokens, browsers' sessions, forms of other sites."""

from typing import Annotated, Any
from urllib.parse import parse_qs, urlsplit

import pytest
from markupsafe import escape

from spawner.console.callers import SESSION_COOKIE, Caller, allowed
from spawner.console.scopes import OF_PEOPLE, Scope, implied

from ..support.console import PREFIX, ConsoleStand


def test_whoever_has_no_token_is_told_how_to_show_one(console: ConsoleStand) -> None:
    answer = console.anonymous().get("api/v1/me")
    assert answer.status_code == 401
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert answer.json()["code"] == "not_signed_in"


def test_a_token_that_the_hub_does_not_know(console: ConsoleStand) -> None:
    answer = console.with_token("made-up").get("api/v1/me")
    assert (answer.status_code, answer.json()["code"]) == (401, "invalid_token")


def test_a_user_is_known_with_groups_and_scopes(console: ConsoleStand) -> None:
    me = console.as_user("ann", ["physics"]).get("api/v1/me").json()
    assert me == {"name": "ann", "kind": "user", "groups": ["physics"], "scopes": sorted(implied(frozenset(OF_PEOPLE)))}


def test_a_token_too_narrow_to_tell_groups(console: ConsoleStand) -> None:
    console.hub.add_user("ann", ["physics"])
    token = console.hub.token("ann", OF_PEOPLE)
    told = console.hub.answer

    def narrow(method: str, address: str, token: str, body: Any) -> tuple[int, Any]:
        status, model = told(method, address, token, body)
        return status, {key: value for key, value in model.items() if key != "groups" or not address.endswith("/user")}

    console.hub.answer = narrow  # type: ignore[method-assign]
    assert console.with_token(token).get("api/v1/me").json()["groups"] == ["physics"]


def test_scopes_hold_others_within_them() -> None:
    assert implied(frozenset({Scope.GPUS})) == {Scope.GPUS, Scope.READ, Scope.SELF_READ}
    assert implied(frozenset({"list:users"})) == {"list:users"}


def test_a_hub_that_is_away(console: ConsoleStand) -> None:
    visitor = console.as_user("ann")
    console.hub.away = True
    answer = visitor.get("api/v1/me")
    assert (answer.status_code, answer.json()["code"]) == (503, "hub_not_ready")
    assert int(answer.headers["Retry-After"]) > 0


def test_a_browser_is_sent_to_the_hub_and_comes_back_to_where_it_was(console: ConsoleStand) -> None:
    visitor = console.anonymous()
    answer = visitor.get("?page=2", follow_redirects=False)
    assert answer.status_code == 302
    asked = parse_qs(urlsplit(answer.headers["Location"]).query)
    assert asked["client_id"] == ["service-console"]
    assert asked["code_challenge_method"] == ["S256"]
    console.hub.add_user("ann")
    token = console.hub.token("ann", OF_PEOPLE)
    console.hub.says("POST", "oauth2/token", 200, {"access_token": token})
    back = visitor.get(f"oauth_callback?code=abc&state={asked['state'][0]}", follow_redirects=False)
    assert (back.status_code, back.headers["Location"]) == (302, f"{PREFIX}?page=2")
    assert token not in str(back.headers)
    flags = next(value for value in back.headers.get_list("Set-Cookie") if value.startswith(SESSION_COOKIE))
    assert {"HttpOnly", "SameSite=lax", f"Path={PREFIX}"} <= set(flags.split("; "))
    assert visitor.get("").status_code == 200
    sent = next(asked.body for asked in console.hub.asked if asked.path == "oauth2/token")
    assert sent["code"] == "abc"
    assert len(sent["code_verifier"]) >= 43  # RFC 7636, 4.1


def test_a_sign_in_that_another_browser_has_begun(console: ConsoleStand) -> None:
    begun = console.anonymous().get("", follow_redirects=False)
    state = parse_qs(urlsplit(begun.headers["Location"]).query)["state"][0]
    answer = console.anonymous().get(f"oauth_callback?code=abc&state={state}")
    assert answer.status_code == 400
    assert "Begin anew" in answer.text


def test_a_part_of_a_page_asks_for_the_whole_page_to_be_loaded(console: ConsoleStand) -> None:
    answer = console.anonymous().get("", headers={"HX-Request": "true"}, follow_redirects=False)
    assert (answer.status_code, answer.headers["HX-Refresh"]) == (401, "true")


def test_a_cookie_of_another_key_is_none(console: ConsoleStand) -> None:
    visitor = console.anonymous()
    visitor.cookies.set(SESSION_COOKIE, "gAAAAABnothing", path=PREFIX)
    assert visitor.get("", follow_redirects=False).status_code == 302


def test_a_page_says_who_is_signed_in_and_shows_what_they_may_see(console: ConsoleStand) -> None:
    page = console.signed_in("ann").get("").text
    assert "<bdi>ann</bdi>" in page
    assert f'href="{PREFIX}quotas"' not in page
    assert f'href="{PREFIX}quotas"' in console.signed_in_admin().get("").text


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", "a\"b'c", "\u202egnp.exe", "😀"])
def test_a_hostile_name_is_text(console: ConsoleStand, name: str) -> None:
    page = console.signed_in(name).get("").text
    assert f"<bdi>{escape(name)}</bdi>" in page
    assert "<script>alert" not in page


def test_a_form_of_another_site_is_refused(console: ConsoleStand) -> None:
    @console.app.post(f"{PREFIX}echo")
    def echo(caller: Annotated[Caller, allowed()]) -> str:
        return caller.name

    visitor = console.signed_in("ann")
    assert visitor.post("nowhere").status_code == 404
    for headers in ({}, {"X-CSRF-Token": "guessed"}, {"X-CSRF-Token": console.signed_in("bob").form_token}):
        answer = visitor.post("echo", data={"field": "1"}, headers=headers)
        assert (answer.status_code, "form_expired" in answer.text) == (403, True)
    assert visitor.post("echo", headers={"X-CSRF-Token": visitor.form_token}).json() == "ann"
    assert visitor.send_form("echo", field="1").json() == "ann"
    assert console.as_user("ann").post("echo").json() == "ann"


def test_every_answer_forbids_scripts_from_elsewhere(console: ConsoleStand) -> None:
    for path in ("api/v1/me", "nowhere", "static/console.css", "static/vendor/htmx.min.js"):
        policy = console.signed_in("ann").get(path).headers["Content-Security-Policy"]
        assert {"default-src 'none'", "script-src 'self'", "style-src 'self'"} <= set(policy.split("; "))


def test_what_is_nowhere_is_a_page_for_people_and_a_problem_for_programs(console: ConsoleStand) -> None:
    assert "There is no such thing" in console.signed_in("ann").get("nowhere").text
    problem = console.as_user("ann").get("api/v1/nowhere")
    assert (problem.status_code, problem.json()["code"]) == (404, "unknown_path")


def test_openapi_names_scopes_and_problems(console: ConsoleStand) -> None:
    found = console.anonymous().get("api/v1/openapi.json").json()
    scopes = found["components"]["securitySchemes"]["hub"]["flows"]["authorizationCode"]["scopes"]
    assert Scope.QUOTAS in scopes
    assert f"{PREFIX}api/v1/me" in found["paths"]
    assert "Problem" in found["components"]["schemas"]
    assert not [path for path in found["paths"] if "/api/v1/" not in path]
