"""Courses through the API: made, changed, put away; rosters and join links."""

from datetime import timedelta
from typing import Any

from spawner.console.scopes import OF_ADMINS, OF_PEOPLE, Scope
from spawner.operations import sessions
from spawner.policy.classes import Role

from ..support.console import ConsoleStand, Visitor
from ..support.office import HOUR, NOW

COURSE = {"id": "ml", "title": "Machine learning", "profile": "cpu"}


def made(console: ConsoleStand, **more: Any) -> Visitor:
    """Let Ines make a course."""
    ines = console.as_instructor()
    answer = ines.post("api/v1/courses", json={**COURSE, **more})
    assert answer.status_code == 201, answer.text
    return ines


def codes(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


def roles(console: ConsoleStand, course: str = "ml") -> dict[str, Role]:
    with console.office.ledger.reading() as books:
        return {one.user: one.role for one in books.courses.members(course)}


def book(console: ConsoleStand, hours: float = 24) -> str:
    begins = console.office.clock.now + hours * HOUR
    done = sessions.book(console.office.desk, sessions.Plan("ml", [(begins, begins + HOUR)], 2), "ines")
    assert isinstance(done, sessions.Planned)
    return done.sessions[0].id


def test_a_course_from_the_beginning(console: ConsoleStand) -> None:
    ines = console.as_instructor()
    answer = ines.post("api/v1/courses", json={**COURSE, "materials": "https://git.example.org/ml.git"})
    assert answer.status_code == 201
    told = answer.json()
    assert (told["id"], told["role"], told["staff"], told["students"]) == ("ml", "instructor", 1, 0)
    assert told["folder"] == "ml"  # materials lie somewhere
    assert told["next_session"] is None
    again = ines.get("api/v1/courses/ml")
    assert again.json() == told
    assert again.headers["ETag"] == answer.headers["ETag"]
    begun = book(console)
    assert ines.get("api/v1/courses/ml").json()["next_session"]["id"] == begun
    [listed] = ines.get("api/v1/courses").json()["items"]
    assert listed["next_session"]["id"] == begun
    assert [entry.action for entry in console.office.audit()][:1] == ["course.create"]


WRONG = [
    ("id", "Machine Learning"),
    ("id", "new"),
    ("id", ""),
    ("title", "  "),
    ("title", "\u202egnp"),
    ("profile", "enormous"),
    ("materials", "/etc"),
    ("materials", "file:///etc"),
    ("materials", "http://git.example.org/x"),
    ("materials", "https://me:secret@git.example.org/x"),
    ("materials", "https://127.0.0.1/x"),
    ("materials", "https://[::1]/x"),
    ("materials", "https://localhost/x"),
    ("materials", "https://intranet/x"),
    ("materials", "https://10.1.2.3:8443/x"),
    ("materials", "https://x:99999/y"),
    ("branch", "--upload-pack=x"),
    ("branch", "a..b"),
    ("folder", "../x"),
    ("folder", "/home"),
    ("collect", ".ssh"),
    ("data", "not-offered"),
]


def test_what_cannot_be(console: ConsoleStand) -> None:
    ines = console.as_instructor()
    for field, value in WRONG:
        body = {**COURSE, "materials": "https://git.example.org/x", field: value}
        answer = ines.post("api/v1/courses", json=body)
        assert codes(answer) == (422, "invalid_option"), (field, value)
        assert list(answer.json()["errors"]) == [field], (field, value)
    assert console.office.audit() == []


def test_hosts_of_materials_that_are_allowed(console: ConsoleStand) -> None:
    classes = console.console.settings.classes.model_copy(update={"git_hosts": ("git.example.org",)})
    object.__setattr__(console.console, "settings", console.console.settings.model_copy(update={"classes": classes}))
    ines = console.as_instructor()
    refused = ines.post("api/v1/courses", json={**COURSE, "materials": "https://elsewhere.example.org/x"})
    assert list(refused.json()["errors"]) == ["materials"]
    assert ines.post("api/v1/courses", json={**COURSE, "materials": "https://git.example.org/x"}).status_code == 201


def test_a_short_name_is_taken_once(console: ConsoleStand) -> None:
    ines = made(console)
    assert codes(ines.post("api/v1/courses", json=COURSE)) == (409, "course_exists")


def test_changes_keep_what_others_changed(console: ConsoleStand) -> None:
    ines = made(console, collect="work")
    seen = ines.get("api/v1/courses/ml").headers["ETag"]
    assert codes(ines.patch("api/v1/courses/ml", json={"title": "x"})) == (428, "version_needed")
    first = ines.patch("api/v1/courses/ml", json={"title": "Deep learning", "why": "new"}, headers={"If-Match": seen})
    assert first.json()["title"] == "Deep learning"
    assert first.json()["collect"] == "work"
    late = ines.patch("api/v1/courses/ml", json={"title": "y"}, headers={"If-Match": seen})
    assert codes(late) == (412, "changed_meanwhile")
    assert ines.get("api/v1/courses/ml").json()["title"] == "Deep learning"
    [entry] = [one for one in console.office.audit() if one.action == "course.change"]
    assert (entry.before, entry.after, entry.why) == ({"title": "Machine learning"}, {"title": "Deep learning"}, "new")


def test_seats_that_are_reserved_stay_as_they_are(console: ConsoleStand) -> None:
    ines = made(console)
    begun = book(console)
    change: dict[str, Any] = {"json": {"gpus": 1}, "headers": {"If-Match": "*"}}
    assert codes(ines.patch("api/v1/courses/ml", **change)) == (409, "course_runs")
    assert ines.patch("api/v1/courses/ml", json={"title": "x"}, headers={"If-Match": "*"}).status_code == 200
    sessions.cancel(console.office.desk, begun, "ines", "ill")
    assert ines.patch("api/v1/courses/ml", **change).json()["gpus"] == 1


def test_limits_are_for_admins(console: ConsoleStand) -> None:
    ines, olga = made(console), console.as_admin()
    any_version = {"If-Match": "*"}
    limits = {"most_seats": 1, "most_gpu_hours": 12.5, "most_days_ahead": 14}
    assert codes(ines.put("api/v1/courses/ml/limits", json=limits, headers=any_version)) == (403, "scope_missing")
    told = olga.put("api/v1/courses/ml/limits", json=limits, headers=any_version).json()
    assert told["limits"] == limits
    assert told["role"] is None
    begins = NOW + HOUR
    refused = sessions.book(console.office.desk, sessions.Plan("ml", [(begins, begins + HOUR)], 2), "ines")
    assert getattr(refused, "code", "") == "course_limit"
    assert olga.put("api/v1/courses/ml/limits", json={}, headers=any_version).json()["limits"]["most_seats"] is None
    # What an instructor changes leaves them as they are.
    olga.put("api/v1/courses/ml/limits", json=limits, headers=any_version)
    assert ines.patch("api/v1/courses/ml", json={"title": "z"}, headers=any_version).json()["limits"] == limits


def test_put_away_and_brought_back(console: ConsoleStand) -> None:
    ines = made(console)
    begun = book(console)
    assert codes(ines.post("api/v1/courses/ml/archive", json={"why": "over"})) == (409, "course_runs")
    sessions.cancel(console.office.desk, begun, "ines", "ill")
    assert ines.post("api/v1/courses/ml/archive", json={"why": "over"}).json()["archived_at"]
    assert ines.get("api/v1/courses").json()["items"] == []
    assert len(ines.get("api/v1/courses?archived=true").json()["items"]) == 1
    assert codes(ines.post("api/v1/courses/ml/members", json={"users": ["ann"]})) == (409, "course_archived")
    assert ines.post("api/v1/courses/ml/restore", json={}).json()["archived_at"] is None


def test_services_make_courses_for_people(console: ConsoleStand) -> None:
    service = console.as_service("term", tuple(OF_ADMINS))
    assert list(service.post("api/v1/courses", json=COURSE).json()["errors"]) == ["instructor"]
    answer = service.post("api/v1/courses", json={**COURSE, "instructor": "ines"})
    assert answer.json()["role"] is None
    assert roles(console) == {"ines": Role.INSTRUCTOR}
    assert codes(service.get("api/v1/join/x")) == (403, "not_a_person")
    # A service that has the name of a member is not them.
    assert console.as_service("ines", OF_PEOPLE).get("api/v1/courses/ml").status_code == 404
    other = console.as_instructor("ida").post("api/v1/courses", json={**COURSE, "id": "x", "instructor": "ann"})
    assert codes(other) == (403, "scope_missing")


def test_who_sees_what(console: ConsoleStand) -> None:
    made(console)
    console.as_instructor("ida").post("api/v1/courses", json={**COURSE, "id": "other", "title": "Other"})
    listed = console.as_user("ann").get("api/v1/courses").json()["items"]
    assert listed == []
    assert codes(console.as_user("ann").get("api/v1/courses?everybody=true")) == (403, "scope_missing")
    found = console.as_admin().get("api/v1/courses?everybody=true").json()["items"]
    assert [one["id"] for one in found] == ["ml", "other"]
    searched = console.as_admin().get("api/v1/courses?everybody=true&search=OTH&limit=1").json()
    assert [one["id"] for one in searched["items"]] == ["other"]
    first = console.as_admin().get("api/v1/courses?everybody=true&limit=1").json()
    then = console.as_admin().get(f"api/v1/courses?everybody=true&limit=1&cursor={first['next']}").json()
    assert ([one["id"] for one in then["items"]], then["next"]) == (["other"], None)


def test_that_a_course_exists_is_not_told(console: ConsoleStand) -> None:
    made(console)
    ida = console.as_instructor("ida")
    there, nowhere = (ida.get(f"api/v1/courses/{name}") for name in ("ml", "mm"))
    assert codes(there) == codes(nowhere) == (404, "unknown_name")
    assert there.json()["detail"].replace("ml", "mm") == nowhere.json()["detail"]
    for name in ("ML", "a%00b", "..%2f", "a" * 60):
        assert ida.get(f"api/v1/courses/{name}").status_code == 404, name


def test_a_token_that_only_reads_changes_nothing(console: ConsoleStand) -> None:
    made(console)
    reads = console.as_user("ines", scopes=[Scope.SELF_READ])
    assert reads.get("api/v1/courses/ml").status_code == 200
    assert codes(reads.post("api/v1/courses/ml/archive", json={})) == (403, "scope_missing")


def test_members_of_its_group_are_its_students(console: ConsoleStand) -> None:
    console.hub.add_user("ann", ["physics"])
    console.hub.add_user("bob", [])
    ines = made(console, group="physics")
    assert roles(console) == {"ines": Role.INSTRUCTOR, "ann": Role.STUDENT}
    assert console.as_user("ann").get("api/v1/courses/ml").json()["role"] == "student"
    # Who has come into the group a moment ago is a student already.
    assert console.as_user("eve", ["physics"]).get("api/v1/courses/ml").json()["role"] == "student"
    assert ines.post("api/v1/courses/ml/members/follow-group").json() == {"added": [], "removed": []}
    ines.patch("api/v1/courses/ml", json={"group": ""}, headers={"If-Match": "*"})
    assert roles(console) == {"ines": Role.INSTRUCTOR}
    assert codes(ines.post("api/v1/courses/ml/members/follow-group")) == (409, "no_group")


def test_without_the_hub_a_course_is_made_all_the_same(console: ConsoleStand) -> None:
    """Its group is followed when the hub tells again."""
    console.hub.says("GET", "users", 503)
    ines = made(console, group="physics")
    assert codes(ines.post("api/v1/courses/ml/members/follow-group")) == (503, "hub_not_ready")
    assert [one["last_seen"] for one in ines.get("api/v1/courses/ml/members").json()["items"]] == [None]


# --- rosters ----------------------------------------------------------------------------------------------------------


def test_a_roster_is_looked_at_and_taken_over(console: ConsoleStand) -> None:
    ines = made(console)
    text = "name;username\nAnn;Ann\nBob;bob\n"
    seen = ines.post("api/v1/courses/ml/members/preview", json={"text": text}).json()
    assert (seen["added"], seen["mistakes"]) == (["ann", "bob"], [])
    assert roles(console).keys() == {"ines"}
    assert ines.post("api/v1/courses/ml/members", json={"text": text}).json()["added"] == ["ann", "bob"]
    again = ines.post("api/v1/courses/ml/members", json={"users": ["bob", "eve"], "role": "assistant"}).json()
    assert again == {"added": ["eve"], "changed": ["bob"], "kept": []}
    wrong = ines.post("api/v1/courses/ml/members", json={"text": "tim\nno good\n"})
    assert codes(wrong) == (422, "roster_invalid")
    assert [one["line"] for one in wrong.json()["mistakes"]] == [2]
    assert "tim" not in roles(console)
    assert ines.delete("api/v1/courses/ml/members/ann?why=left").status_code == 204
    assert codes(ines.delete("api/v1/courses/ml/members/ann")) == (404, "unknown_name")
    assert codes(ines.delete("api/v1/courses/ml/members/ines")) == (409, "last_instructor")
    assert codes(ines.put("api/v1/courses/ml/members/ines", json={"role": "student"})) == (409, "last_instructor")
    assert ines.put("api/v1/courses/ml/members/bob", json={"role": "instructor"}).json()["changed"] == ["bob"]


def test_a_roster_that_a_learning_platform_sends(console: ConsoleStand) -> None:
    """A script that keeps rosters, with a service's token."""
    ines = made(console)
    service = console.as_service("lms", tuple(OF_ADMINS))
    body = {"users": ["ann"], "via": "lti"}
    assert service.post("api/v1/courses/ml/members", json=body).json()["added"] == ["ann"]
    [ann] = service.get("api/v1/courses/ml/members?role=student").json()["items"]
    assert (ann["via"], ann["added_by"]) == ("lti", "lms")
    assert "learning platform" in console.signed_in("ines").get("courses/ml/roster").text
    # It knows all as students, and lowers nobody.
    ines.put("api/v1/courses/ml/members/tom", json={"role": "assistant"})
    answer = service.post("api/v1/courses/ml/members", json={"users": ["ann", "tom", "ines"], "via": "lti"})
    assert answer.json() == {"added": [], "changed": [], "kept": ["ann", "ines", "tom"]}
    assert roles(console) == {"ines": Role.INSTRUCTOR, "tom": Role.ASSISTANT, "ann": Role.STUDENT}


def test_the_roster_as_a_file(console: ConsoleStand) -> None:
    ines = made(console)
    ines.post("api/v1/courses/ml/members", json={"users": ["=1+1", "ann"]})
    console.hub.add_user("ann", last_activity="2027-03-01T10:00:00Z")
    answer = ines.get("api/v1/courses/ml/members/export")
    assert answer.headers["Content-Disposition"] == 'attachment; filename="ml-roster.csv"'
    lines = answer.text.splitlines()
    assert lines[0] == "username,role,via,added_at,added_by,last_seen"
    assert lines[1].startswith("'=1+1,student,roster,2027-03-01T12:00:00Z,ines,")
    assert lines[2] == "ann,student,roster,2027-03-01T12:00:00Z,ines,2027-03-01T10:00:00Z"
    # It can be read in again, and changes nothing.
    ines.put("api/v1/courses/ml/members/tom", json={"role": "assistant"})
    before, text = roles(console), ines.get("api/v1/courses/ml/members/export").text
    seen = ines.post("api/v1/courses/ml/members/preview", json={"text": text}).json()
    assert {name: seen[name] for name in ("added", "changed", "missing", "mistakes", "roles")} == {
        "added": [],
        "changed": {},
        "missing": [],
        "mistakes": [],
        "roles": {},
    }
    assert seen["kept"] == ["=1+1", "ann", "ines", "tom"]
    assert ines.post("api/v1/courses/ml/members", json={"text": text}).status_code == 200
    assert roles(console) == before
    # It makes another course's staff, too.
    assert ines.post("api/v1/courses", json={"id": "dl", "title": "DL", "profile": "cpu"}).status_code == 201
    seen = ines.post("api/v1/courses/dl/members/preview", json={"text": text}).json()
    assert seen["roles"] == {"tom": "assistant", "=1+1": "student", "ann": "student"}


def test_members_in_pages(console: ConsoleStand) -> None:
    ines = made(console)
    ines.post("api/v1/courses/ml/members", json={"users": [f"user{number:02}" for number in range(5)]})
    path, found = "api/v1/courses/ml/members?role=student&limit=2", []
    answer = ines.get(path).json()
    while True:
        found += [one["user"] for one in answer["items"]]
        if answer["next"] is None:
            break
        answer = ines.get(f"{path}&cursor={answer['next']}").json()
    assert found == [f"user{number:02}" for number in range(5)]
    assert [one["user"] for one in ines.get("api/v1/courses/ml/members?search=R04").json()["items"]] == ["user04"]


# --- links ------------------------------------------------------------------------------------------------------------


def test_a_join_link(console: ConsoleStand) -> None:
    ines = made(console)
    ends = (NOW + timedelta(days=7)).isoformat()
    link = ines.post("api/v1/courses/ml/links", json={"expires_at": ends, "cap": 1}).json()
    token = link["path"].rpartition("/")[2]
    assert link["path"] == f"/services/console/join/{token}"
    ann = console.as_user("ann")
    seen = ann.get(f"api/v1/join/{token}").json()
    assert seen == {"course": "ml", "title": "Machine learning", "role": "student", "member": None, "refusal": None}
    assert ann.post(f"api/v1/join/{token}").json() == {"course": "ml", "role": "student", "already": False}
    assert ann.post(f"api/v1/join/{token}").json()["already"] is True
    full = console.as_user("bob").post(f"api/v1/join/{token}")
    assert codes(full) == (409, "link_full")
    assert "1" in console.as_user("bob").get(f"api/v1/join/{token}").json()["refusal"]
    assert ines.get("api/v1/courses/ml/links").json()[0]["used"] == 1
    assert codes(ann.get("api/v1/courses/ml/links")) == (403, "role_missing")
    assert ines.delete(f"api/v1/courses/ml/links/{link['id']}").json()["revoked_at"]
    assert codes(console.as_user("eve").post(f"api/v1/join/{token}")) == (409, "link_ended")
    assert codes(console.as_user("eve").post("api/v1/join/nowhere")) == (404, "unknown_name")
    assert codes(ines.delete("api/v1/courses/ml/links/x")) == (404, "unknown_name")
    assert token not in str(console.office.tables()["audit"])
    late = ines.post("api/v1/courses/ml/links", json={"expires_at": NOW.isoformat()})
    assert codes(late) == (409, "invalid_option")
