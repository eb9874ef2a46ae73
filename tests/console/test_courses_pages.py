"""The pages of courses: what each reader sees, what forms keep, and links that are followed."""

import re
from datetime import timedelta
from html import unescape
from typing import Any

import httpx2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spawner.console.course_values import short_name
from spawner.console.scopes import OF_PEOPLE, Scope
from spawner.operations import courses, links, sessions
from spawner.policy.classes import Course, Role, check_course
from spawner.policy.joining import JoinLink
from spawner.policy.model import Deny
from spawner.policy.rosters import parse

from ..support.console import ConsoleStand, Visitor
from ..support.office import HOUR, NOW
from ..support.slots import gpus, shared

OF_TEACHERS = [*OF_PEOPLE, Scope.TEACH]


@pytest.fixture
def course(console: ConsoleStand) -> Course:
    made = courses.create(console.office.desk, Course("ml", "Machine learning", "cpu", "ines", NOW), "ines")
    assert isinstance(made, Course)
    return made


def ines(console: ConsoleStand) -> Visitor:
    return console.signed_in("ines", scopes=OF_TEACHERS)


def enrol(console: ConsoleStand, *users: str, role: Role = Role.STUDENT) -> None:
    assert not isinstance(courses.enrol(console.office.desk, "ml", users, role, "ines"), Deny)


def roles(console: ConsoleStand) -> dict[str, Role]:
    with console.office.ledger.reading() as books:
        return {one.user: one.role for one in books.courses.members("ml")}


def link(console: ConsoleStand, role: Role = Role.STUDENT, cap: int | None = None) -> JoinLink:
    made = links.make(console.office.desk, "ml", role, console.office.clock.now + timedelta(days=7), "ines", cap)
    assert isinstance(made, JoinLink)
    return made


def text(answer: httpx2.Response) -> str:
    """Give what a page says, without its elements."""
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", answer.text)).split())


def field(answer: httpx2.Response, name: str) -> str:
    found = re.search(rf'<input[^>]* name="{name}"[^>]* value="([^"]*)"', answer.text)
    assert found, f"no field {name}"
    return unescape(found[1])


# --- what one sees ----------------------------------------------------------------------------------------------------


def test_who_is_in_no_course_is_told_what_to_do(console: ConsoleStand) -> None:
    assert "join link" in text(console.signed_in("ann").get("courses"))
    teacher = ines(console).get("courses")
    assert "five minutes" in text(teacher)
    assert "courses/new" in teacher.text
    assert "classes: {teachers: [GROUP]}" in text(console.signed_in_admin().get("courses"))
    assert "courses/new" not in console.signed_in("ann").get("courses").text


@pytest.mark.usefixtures("course")
def test_each_reader_sees_their_own(console: ConsoleStand) -> None:
    enrol(console, "ann")
    enrol(console, "tara", role=Role.ASSISTANT)
    begins = NOW + HOUR
    done = sessions.book(console.office.desk, sessions.Plan("ml", [(begins, begins + HOUR)], 2, "Week 1"), "ines")
    assert isinstance(done, sessions.Planned)
    student = console.signed_in("ann").get("courses/ml")
    assert "Week 1" in text(student)
    for secret in ("roster", "links", "edit", "limits", "board", "archive"):
        assert f"courses/ml/{secret}" not in student.text, secret
    assistant = console.signed_in("tara").get("courses/ml")
    assert "courses/ml/roster" in assistant.text
    assert "/board" in assistant.text
    assert "courses/ml/edit" not in assistant.text
    assert "courses/ml/edit" in ines(console).get("courses/ml").text
    assert "courses/ml/limits" in console.signed_in_admin().get("courses/ml").text
    assert "courses/ml/limits" not in ines(console).get("courses/ml").text
    assert console.signed_in("eve").get("courses/ml").status_code == 404
    # When its seats are being started, a student finds the way in.
    console.office.wait(HOUR - timedelta(minutes=5))
    assert 'href="/user/ann/ml/"' in console.signed_in("ann").get("courses/ml").text
    assert "Machine learning" in text(console.signed_in("ann").get("courses"))


@pytest.mark.usefixtures("course")
def test_admins_see_everybodys(console: ConsoleStand) -> None:
    admin = console.signed_in_admin()
    assert "Machine learning" not in text(admin.get("courses"))
    assert "Machine learning" in text(admin.get("courses?everybody=true"))
    assert "No such course" in text(admin.get("courses?everybody=true&search=biology"))
    courses.archive(console.office.desk, "ml", "ines")
    assert "Machine learning" not in text(admin.get("courses?everybody=true"))
    assert "Archived" in text(admin.get("courses?everybody=true&archived=true"))


# --- made and changed -------------------------------------------------------------------------------------------------


def test_a_course_is_made(console: ConsoleStand) -> None:
    console.office.fit(gpus(2, model="A100"), shared(4, model="T4", index=2))
    teacher = ines(console)
    page = teacher.get("courses/new")
    assert "T4" in page.text
    answer = teacher.send_form(
        "courses/new", title="Übungen  zu ML", profile="gpu", gpus="1", kinds=["shared"], models=["T4"], memory="4"
    )
    assert (answer.status_code, answer.headers["Location"]) == (303, "/services/console/courses/ubungen-zu-ml/roster")
    made = courses.find(console.office.desk, "ubungen-zu-ml")
    assert (made.title, made.gpus) == ("Übungen zu ML", 1)
    assert (sorted(made.kinds), sorted(made.models)) == (["shared"], ["T4"])
    assert made.memory == 4 << 30


def test_hints_count_seats(console: ConsoleStand) -> None:
    console.office.fit(gpus(2, model="A100"), shared(4, model="T4", index=2))
    teacher = ines(console)

    def hint(query: str) -> str:
        return text(teacher.get(f"courses/new/hints?{query}", headers={"HX-Request": "true"}))

    assert hint("gpus=1").startswith("6 seats at most.")
    assert hint("gpus=1&kinds=shared").startswith("4 seats at most.")
    assert hint("gpus=2&kinds=exclusive").startswith("1 seat at most.")
    assert "no such GPUs" in hint("gpus=1&kinds=mig")
    assert "CPUs" in hint("gpus=0")
    for odd in ("gpus=-1", "gpus=many", "gpus=999999", "gpus=1&memory=lots", "gpus=1&kinds=x", "gpus=1&memory=nan"):
        assert teacher.get(f"courses/new/hints?{odd}").status_code == 200, odd


def test_nothing_typed_is_lost_on_a_mistake(console: ConsoleStand) -> None:
    typed = {
        "title": "Machine <b>learning</b>",
        "id": "New",
        "profile": "gpu",
        "gpus": "one",
        "memory": "lots",
        "source": "git",
        "address": "http://git.example.org/x",
        "branch": "a..b",
        "folder": "../up",
        "collect": "work",
        "group": 'physics"<',
    }
    answer = ines(console).send_form("courses/new", **typed)
    assert answer.status_code == 422
    assert "<b>learning</b>" not in answer.text
    for name in ("title", "id", "gpus", "memory", "address", "branch", "folder", "collect", "group"):
        assert field(answer, name) == typed[name]
    for name in ("id", "gpus", "memory", "materials", "branch", "folder"):
        assert f'id="{name}-wrong"' in answer.text, name
        assert f'href="#{name}"' in answer.text, name
    assert 'id="title-wrong"' not in answer.text
    assert console.office.audit() == []


@pytest.mark.usefixtures("course")
def test_a_short_name_that_is_taken(console: ConsoleStand) -> None:
    answer = ines(console).send_form("courses/new", title="ML", profile="cpu")
    assert answer.status_code == 422
    assert "choose another" in text(answer)
    assert field(answer, "id") == "ml"


@given(title=st.text(max_size=60))
def test_proposed_names_can_be(title: str) -> None:
    proposed = short_name(title)
    assert proposed in {"", "new"} or check_course(Course(proposed, "x", "cpu", "ines", NOW)) is None


@pytest.mark.usefixtures("course")
def test_changes_made_meanwhile_are_shown(console: ConsoleStand) -> None:
    teacher = ines(console)
    page = teacher.get("courses/ml/edit")
    version = field(page, "version")
    courses.change(console.office.desk, "ml", "olga", "", title="Deep learning", collect="work")
    typed = {"title": "Statistics", "profile": "cpu", "gpus": "0", "version": version}
    answer = teacher.send_form("courses/ml/edit", **typed)
    assert answer.status_code == 412
    told = text(answer)
    for words in ("olga", "Deep learning", "Statistics", "There now", "Yours"):
        assert words in told, words
    assert courses.find(console.office.desk, "ml").title == "Deep learning"
    assert field(answer, "title") == "Statistics"
    # Saved again it holds.
    typed["version"] = field(answer, "version")
    assert teacher.send_form("courses/ml/edit", **typed).status_code == 303
    assert courses.find(console.office.desk, "ml").title == "Statistics"


@pytest.mark.usefixtures("course")
def test_reserved_seats_do_not_change_by_a_form(console: ConsoleStand) -> None:
    begins = NOW + HOUR
    sessions.book(console.office.desk, sessions.Plan("ml", [(begins, begins + HOUR)], 2), "ines")
    teacher = ines(console)
    version = field(teacher.get("courses/ml/edit"), "version")
    answer = teacher.send_form("courses/ml/edit", title="ML", profile="cpu", gpus="2", version=version)
    assert (answer.status_code, field(answer, "gpus")) == (409, "2")
    assert "reserved" in text(answer)


def test_memory_of_a_program_survives_a_form(console: ConsoleStand) -> None:
    console.office.fit(gpus(2))
    memory = 10_000_000_000
    course = Course("ml", "Machine learning", "gpu", "ines", NOW, gpus=1, memory=memory)
    assert isinstance(courses.create(console.office.desk, course, "ines"), Course)
    done = sessions.book(console.office.desk, sessions.Plan("ml", [(NOW + HOUR, NOW + 2 * HOUR)], 2), "ines")
    assert isinstance(done, sessions.Planned), done
    teacher = ines(console)
    page = teacher.get("courses/ml/edit")
    typed = {name: field(page, name) for name in ("version", "gpus", "memory")}
    answer = teacher.send_form("courses/ml/edit", title="Deep learning", profile="gpu", **typed)
    assert answer.status_code == 303, text(answer)
    now = courses.find(console.office.desk, "ml")
    assert (now.title, now.memory) == ("Deep learning", memory)


@pytest.mark.usefixtures("course")
def test_limits(console: ConsoleStand) -> None:
    admin = console.signed_in_admin()
    version = field(admin.get("courses/ml/limits"), "version")
    wrong = admin.send_form("courses/ml/limits", most_seats="many", most_gpu_hours="-1", version=version)
    assert wrong.status_code == 422
    assert field(wrong, "most_seats") == "many"
    for odd in ("nan", "inf", "1e99", "0x10", "-0.5"):
        assert admin.send_form("courses/ml/limits", most_gpu_hours=odd, version=version).status_code == 422, odd
    typed = {"most_seats": "30", "most_gpu_hours": "12,5", "most_ahead": "120", "version": version}
    assert admin.send_form("courses/ml/limits", **typed).status_code == 303
    now = courses.find(console.office.desk, "ml")
    assert (now.most_seats, now.most_gpu_hours, now.most_ahead) == (30, 12.5, timedelta(days=120))
    late = admin.send_form("courses/ml/limits", most_seats="1", version=version)
    assert (late.status_code, field(late, "most_seats")) == (412, "1")
    assert "30" in text(ines(console).get("courses/ml"))


@pytest.mark.usefixtures("course")
def test_archiving_says_what_it_does(console: ConsoleStand) -> None:
    enrol(console, "ann", "bob")
    teacher = ines(console)
    asked = text(teacher.get("courses/ml/archive"))
    assert "Students: 2" in asked
    assert "homes of its students stay" in asked
    begins = NOW + HOUR
    done = sessions.book(console.office.desk, sessions.Plan("ml", [(begins, begins + HOUR)], 2), "ines")
    assert isinstance(done, sessions.Planned)
    refused = teacher.send_form("courses/ml/archive", why="over")
    assert (refused.status_code, field(refused, "why")) == (409, "over")
    sessions.cancel(console.office.desk, done.sessions[0].id, "ines", "x")
    assert teacher.send_form("courses/ml/archive", why="over").status_code == 303
    assert "archived" in text(console.signed_in("ann").get("courses/ml"))
    assert teacher.get("courses/ml/roster").status_code == 200
    assert teacher.send_form("courses/ml/restore").status_code == 303
    assert courses.find(console.office.desk, "ml").archived_at is None


# --- rosters ----------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("course")
def test_a_roster_is_shown_before_it_is_taken_over(console: ConsoleStand) -> None:
    enrol(console, "bob", "eve")
    enrol(console, "tara", role=Role.ASSISTANT)
    teacher = ines(console)
    roster = "Name,Username\nAnn,ANN\nBob,bob\nTara,tara\n"
    seen = teacher.send_form("courses/ml/roster/preview", text=roster, role="student")
    told = text(seen)
    assert "New 1 ann" in told
    assert "→" not in told  # nobody is lowered by a list
    assert "In it already 2 bob tara" in told
    assert "not in this list 1 eve" in told
    assert roles(console).keys() == {"ines", "bob", "eve", "tara"}
    done = teacher.send_form("courses/ml/roster/save", text=roster, role="student", drop="true", why="term")
    assert done.status_code == 303
    assert roles(console) == {
        "ines": Role.INSTRUCTOR,
        "tara": Role.ASSISTANT,
        **dict.fromkeys(("ann", "bob"), Role.STUDENT),
    }
    flash = text(teacher.get("courses/ml/roster"))
    assert "New: 1, changed: 0, removed: 1." in flash


@pytest.mark.usefixtures("course")
def test_a_roster_with_roles(console: ConsoleStand) -> None:
    enrol(console, "ann")
    teacher = ines(console)
    exported = teacher.get("api/v1/courses/ml/members/export").text
    assert "Nothing changes" in text(teacher.send_form("courses/ml/roster/preview", text=exported))
    assert teacher.send_form("courses/ml/roster/save", text=exported, drop="true").status_code == 303
    assert roles(console) == {"ines": Role.INSTRUCTOR, "ann": Role.STUDENT}
    roster = "username,role\nann,assistant\nbob,assistant\ncyd,\n"
    told = text(teacher.send_form("courses/ml/roster/preview", text=roster, role="student"))
    assert "New 2 bob Assistant cyd" in told
    assert "ann Student → Assistant" in told
    assert teacher.send_form("courses/ml/roster/save", text=roster, role="student").status_code == 303
    assert roles(console) == {
        "ines": Role.INSTRUCTOR,
        **dict.fromkeys(("ann", "bob"), Role.ASSISTANT),
        "cyd": Role.STUDENT,
    }


@pytest.mark.usefixtures("course")
def test_what_no_text_has_is_refused(console: ConsoleStand) -> None:
    enrol(console, "ann")
    teacher = ines(console)
    for path, fields in (
        ("courses/ml/roster/remove", {"user": ["ann"], "sure": "yes", "why": "le\0ft"}),
        ("courses/ml/roster/role", {"user": ["\0", "ann"], "role": "assistant"}),
        ("courses/ml/archive", {"why": "\0"}),
    ):
        answer = teacher.send_form(path, **fields)
        assert (answer.status_code, "NUL" in text(answer)) == (422, True), path
    assert roles(console) == {"ines": Role.INSTRUCTOR, "ann": Role.STUDENT}


@pytest.mark.usefixtures("course")
def test_lines_that_cannot_be_read_are_numbered(console: ConsoleStand) -> None:
    teacher = ines(console)
    roster = "ann\n\n<b>no good</b>\nbob\n"
    seen = teacher.send_form("courses/ml/roster/preview", text=roster)
    assert "Line 3:" in text(seen)
    assert "<b>no" not in seen.text
    assert "roster/save" in seen.text  # the form that is mended
    assert teacher.send_form("courses/ml/roster/save", text=roster).status_code == 200
    assert roles(console).keys() == {"ines"}
    assert teacher.send_form("courses/ml/roster/preview", text="  ").status_code == 422


@pytest.mark.usefixtures("course")
def test_files_of_names(console: ConsoleStand) -> None:
    teacher = ines(console)

    def send(content: bytes) -> httpx2.Response:
        answer: httpx2.Response = teacher.post(
            "courses/ml/roster/preview", data={"csrf": teacher.form_token}, files={"file": ("list.csv", content)}
        )
        return answer

    assert "New 2" in text(send("\ufeffE-Mail;Name\nann@x.org;Ann\nbob@x.org;Bob".encode()))
    answer = send("Größe".encode("latin-1"))
    assert (answer.status_code, "UTF-8" in text(answer)) == (422, True)


@pytest.mark.usefixtures("course")
def test_roles_and_removal(console: ConsoleStand) -> None:
    enrol(console, "ann", "bob")
    teacher = ines(console)
    assert teacher.send_form("courses/ml/roster/role", user=["ann"], role="assistant").status_code == 303
    assert roles(console)["ann"] is Role.ASSISTANT
    refused = teacher.send_form("courses/ml/roster/role", user=["ines"], role="student")
    assert refused.status_code == 409
    asked = teacher.send_form("courses/ml/roster/remove", user=["ann", "bob", "nobody"])
    assert (asked.status_code, "nobody" in asked.text) == (200, False)
    assert "ann" in roles(console)
    assert teacher.send_form("courses/ml/roster/remove", user=["ann", "bob"], sure="yes", why="left").status_code == 303
    assert roles(console).keys() == {"ines"}
    last = teacher.send_form("courses/ml/roster/remove", user=["ines"], sure="yes")
    assert (last.status_code, "instructor" in text(last)) == (409, True)
    assert teacher.send_form("courses/ml/roster/remove").status_code == 303  # nobody was chosen
    assert console.signed_in("tara").get("courses/ml/roster").status_code == 404


@pytest.mark.usefixtures("course")
def test_long_rosters_come_in_pages(console: ConsoleStand) -> None:
    enrol(console, *(f"user{number:03}" for number in range(150)))
    teacher = ines(console)
    first = teacher.get("courses/ml/roster")
    assert first.text.count('name="user"') == 100
    then = re.search(r'href="\?([^"]*)" rel="next"', first.text)
    assert then
    assert teacher.get(f"courses/ml/roster?{unescape(then[1])}").text.count('name="user"') == 51
    assert teacher.get("courses/ml/roster?role=instructor").text.count('name="user"') == 1
    assert teacher.get("courses/ml/roster?search=R149").text.count('name="user"') == 1


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(roster=st.lists(st.text(st.characters(codec="utf-8"), max_size=20), min_size=1, max_size=12).map("\n".join))
@pytest.mark.usefixtures("course")
def test_whatever_is_pasted(console: ConsoleStand, roster: str) -> None:
    """What the preview says is what is then done; no text breaks the page."""
    teacher = ines(console)
    seen = teacher.send_form("courses/ml/roster/preview", text=roster)
    assert seen.status_code in {200, 422}
    sent = roster.replace("\r\n", "\n")
    before, found = roles(console), parse(sent)
    answer = teacher.send_form("courses/ml/roster/save", text=roster)
    assert answer.status_code in {200, 303, 409, 422}
    if answer.status_code == 303:
        assert not found.mistakes
        assert roles(console).keys() == before.keys() | set(found.users)
    else:
        assert roles(console) == before


@pytest.mark.usefixtures("course")
def test_a_group_as_the_roster(console: ConsoleStand) -> None:
    console.hub.add_user("ann", ["physics"])
    teacher = ines(console)
    version = field(teacher.get("courses/ml/edit"), "version")
    saved = teacher.send_form("courses/ml/edit", title="ML", profile="cpu", gpus="0", group="physics", version=version)
    assert saved.status_code == 303
    assert roles(console)["ann"] is Role.STUDENT
    assert "group of the hub" in text(teacher.get("courses/ml/roster"))
    assert teacher.send_form("courses/ml/roster/group").status_code == 303


# --- links ------------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("course")
def test_a_link_is_made_copied_and_withdrawn(console: ConsoleStand) -> None:
    teacher = ines(console)
    typed = {"role": "student", "ends": "2027-03-08T12:00", "zone": "Europe/Berlin", "cap": "30"}
    assert teacher.send_form("courses/ml/links", **typed).status_code == 303
    [made] = links.of_course(console.office.desk, "ml")
    assert (made.cap, made.expires_at.hour) == (30, 11)
    page = teacher.get("courses/ml/links")
    assert f"http://console.test/services/console/join/{made.token}" in page.text
    asked = teacher.get(f"courses/ml/links/{links.id_of(made)}/revoke")
    assert "stays in the course" in text(asked)
    assert made.token not in asked.text
    assert teacher.send_form(f"courses/ml/links/{links.id_of(made)}/revoke", why="leaked").status_code == 303
    assert "withdrawn" in text(teacher.get("courses/ml/links"))
    assert made.token not in teacher.get("courses/ml/links").text


@pytest.mark.usefixtures("course")
def test_links_that_cannot_be(console: ConsoleStand) -> None:
    usual = {"role": "student", "ends": "2027-03-08T12:00", "zone": "UTC", "cap": ""}
    wrong = {
        "cap": ["many", "0", "99999", "9" * 400, "²"],
        "ends": ["", "soon", "2027-03-01T11:00", "2099-01-01T00:00", "0001-01-01T00:00"],
        "zone": ["Nowhere/Else", "../etc/passwd"],
        "role": ["instructor", "x"],
    }
    teacher = ines(console)
    for name, values in wrong.items():
        for value in values:
            answer = teacher.send_form("courses/ml/links", **{**usual, name: value})
            assert answer.status_code == 422, (name, value)
            assert 'class="wrong"' in answer.text, (name, value)
    assert links.of_course(console.office.desk, "ml") == []


@pytest.mark.usefixtures("course")
def test_a_link_is_followed(console: ConsoleStand) -> None:
    made = link(console, cap=1)
    path = f"join/{made.token}"
    ann = console.signed_in("ann")
    asked = text(ann.get(path))
    assert "Join Machine learning ?" in asked
    assert "ann" in asked
    assert "ann" not in roles(console)  # nothing is done by looking
    done = ann.send_form(path)
    assert (done.status_code, done.headers["Location"]) == (303, "/services/console/courses/ml")
    assert "Welcome to Machine learning." in text(ann.get("courses/ml"))
    assert "already" in text(ann.get(path))
    full = console.signed_in("bob").get(path)
    assert (full.status_code, "used up" in text(full)) == (410, True)
    assert console.signed_in("bob").send_form(path).status_code == 410
    assert "bob" not in roles(console)
    console.office.wait(timedelta(days=8))
    ended = console.signed_in("bob").get(path)
    assert (ended.status_code, "has ended" in text(ended), "bob" in text(ended)) == (410, True, True)
    nowhere = console.signed_in("bob").get("join/nowhere")
    assert (nowhere.status_code, "cut off" in text(nowhere)) == (404, True)
    assert console.signed_in("bob").send_form("join/nowhere").status_code == 404


@pytest.mark.usefixtures("course")
def test_who_is_not_signed_in_comes_back_to_the_link(console: ConsoleStand) -> None:
    made = link(console)
    somebody = console.anonymous()
    sent = somebody.get(f"join/{made.token}", follow_redirects=False)
    assert sent.status_code == 302
    assert "/hub/api/oauth2/authorize" in sent.headers["Location"]
    assert made.token not in sent.headers["Location"]  # it is no hub's business
    assert made.token not in str(sent.headers.get("Set-Cookie"))
    console.hub.add_user("ann")
    token = console.hub.token("ann", OF_PEOPLE)
    console.hub.says("POST", "oauth2/token", 200, {"access_token": token})
    state = re.search(r"state=([^&]+)", sent.headers["Location"])
    assert state
    back = somebody.get(f"oauth_callback?code=x&state={state[1]}", follow_redirects=False)
    assert back.headers["Location"] == f"/services/console/join/{made.token}"


@pytest.mark.usefixtures("course")
def test_a_link_stands_in_no_log(console: ConsoleStand, caplog: pytest.LogCaptureFixture) -> None:
    made = link(console)
    ann = console.signed_in("ann")
    ann.send_form(f"join/{made.token}")
    said = [record.getMessage() for record in caplog.records if not record.name.startswith("httpx")]
    assert not [words for words in said if made.token in words]


def test_titles_of_all_kinds(console: ConsoleStand) -> None:
    title = "<script>alert(1)</script> {{ 7*7 }} %s & \"quoted\" 'so'"
    made: Any = courses.create(console.office.desk, Course("ml", title, "cpu", "ines", NOW), "ines")
    assert isinstance(made, Course)
    teacher = ines(console)
    paths = ["courses", "courses/ml", "courses/ml/edit", "courses/ml/roster", "courses/ml/links", "courses/ml/archive"]
    for path in [*paths, f"join/{link(console).token}"]:
        page = teacher.get(path)
        assert page.status_code == 200, path
        assert "<script>alert" not in page.text, path
        assert title in unescape(page.text), path


def test_whoever_was_written_down_is_asked_whether_staff_may_enter(console: ConsoleStand, course: Course) -> None:
    enrol(console, "ann")
    ann = console.signed_in("ann", scopes=OF_PEOPLE)
    assert "has not said yes to staff yet" in text(ines(console).get("courses/ml/roster"))
    asked = ann.get("courses/ml")
    assert "May the staff of this course open your server of it?" in text(asked)
    assert ann.send_form("courses/ml/agree").status_code == 303
    said = ann.get("courses/ml")
    assert "Staff can help you in your seat now." in text(said)
    assert "May the staff" not in text(said)
    assert "has not said yes" not in text(ines(console).get("courses/ml/roster"))
    with console.office.ledger.reading() as books:
        member = books.courses.member("ml", "ann")
    assert member is not None
    assert member.agreed_at is not None
