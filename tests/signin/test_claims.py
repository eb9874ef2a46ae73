import pytest
from hypothesis import given
from hypothesis import strategies as st
from tornado.web import HTTPError

from spawner.signin.claims import GitHubTeams, GroupsFrom, UserNameFrom


def test_the_name_is_the_claims() -> None:
    assert UserNameFrom("sub")({"sub": " 42 "}) == "42"


@pytest.mark.parametrize("claims", [{}, {"sub": ""}, {"sub": None}, {"sub": 7}])
def test_a_user_without_the_claim_is_told_so(claims: dict[str, object]) -> None:
    with pytest.raises(HTTPError) as caught:
        UserNameFrom("sub")(claims)
    assert caught.value.status_code == 403
    assert "did not say your 'sub'" in caught.value.args[0]


@pytest.mark.parametrize(("verified", "fine"), [(True, True), ("true", True), (False, False), (None, False), (1, True)])
def test_an_address_must_be_verified(verified: object, fine: bool) -> None:
    name = UserNameFrom("email", require_verified_email=True)
    claims = {"email": "a@b.org", "email_verified": verified}
    if fine:
        assert name(claims) == "a@b.org"
    else:
        with pytest.raises(HTTPError):
            name(claims)


@pytest.mark.parametrize(
    ("claim", "claims", "groups"),
    [
        ("groups", {"groups": ["staff", " ops ", "", 7, None]}, {"staff", "ops"}),
        ("groups", {"groups": "staff"}, {"staff"}),
        ("groups", {"groups": None}, set()),
        ("groups", {"groups": {"staff": True}}, set()),
        ("groups", {}, set()),
        ("realm_access.roles", {"realm_access": {"roles": ["staff"]}}, {"staff"}),
        ("realm_access.roles", {"realm_access": "staff"}, set()),
        ("https://example.org/groups", {"https://example.org/groups": ["staff"]}, {"staff"}),
        ("resource.my.app.roles", {"resource": {"my.app": {"roles": ["staff"]}}}, {"staff"}),
    ],
)
def test_groups(claim: str, claims: dict[str, object], groups: set[str]) -> None:
    assert GroupsFrom("oauth_user", claim)({"oauth_user": claims}) == groups


@given(
    st.text(),
    st.recursive(
        st.none() | st.booleans() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    ),
)
def test_groups_are_never_an_error(claim: str, claims: object) -> None:
    assert all(group.strip() for group in GroupsFrom("oauth_user", claim)({"oauth_user": claims}))


def test_github_teams() -> None:
    teams = [{"organization": {"login": "Lab"}, "slug": "ml-ops"}]
    assert GitHubTeams()({"teams": teams}) == {"lab:ml-ops"}
    assert GitHubTeams()({}) == set()
