"""The board of a class on pages: what is shown of which seat, what an open page is sent, and what staff do."""

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx2
import pytest
from markupsafe import Markup
from starlette.requests import Request

from spawner.console.callers import FORM_FIELD, Caller
from spawner.console.class_live import ClassLook
from spawner.console.class_pages import ClassNews, choice_of
from spawner.console.course_access import InCourse
from spawner.console.events import Event, stamp
from spawner.operations import class_board, collections, courses, seats
from spawner.policy.classes import Course, Role, Seat, SeatState, Session, Wish
from spawner.policy.handouts import Collected, Kind
from spawner.settings import Settings

from ..support.classroom import COURSE, class_in_session, end_class, readings_of
from ..support.console import PREFIX, ConsoleStand, Visitor, open_console
from ..support.office import MINUTE, Office
from .test_gpus_pages import EVIL


@pytest.fixture
def console(office: Office, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConsoleStand]:
    settings = Settings(state_dir=tmp_path_factory.mktemp("state"))
    with open_console(office, settings) as stand:
        yield stand


@pytest.fixture
def session(console: ConsoleStand) -> Session:
    made = class_in_session(console.office, 14)
    readings_of(console.office, console.console.readings, 14)
    return made


def send(somebody: Visitor, where: str, **fields: Any) -> httpx2.Response:
    """Send a form, and go where that leads."""
    answer: httpx2.Response = somebody.post(where, data={FORM_FIELD: somebody.form_token, **fields})
    return answer


def words(page: str) -> str:
    return " ".join(Markup(page).striptags().split())


def path(session: Session, more: str = "") -> str:
    return f"courses/{session.course}/sessions/{session.id}/board{more}"


def tiles(page: str) -> list[str]:
    return [words(name) for name in re.findall(r'<h3 id="seat-[^"]*-n">(.*?)</h3>', page)]


def tile(page: str, user: str) -> str:
    return next(
        words(text) for text in page.split("<article")[1:] if f"<bdi>{user}</bdi>" in text.partition("</h3>")[0]
    )


def seat(console: ConsoleStand, session: Session, user: str) -> class_board.SeatView:
    return class_board.class_board(console.office.desk, session.id).by_user[user]


# --- what is shown ----------------------------------------------------------------------------------------------------


def test_a_tile_tells_state_use_and_hand(console: ConsoleStand, session: Session) -> None:
    page = console.signed_in("ines").get(path(session)).text
    assert len(tiles(page)) == 14
    ada = tile(page, "ada")
    for told in ("● working", "GPU", "Memory", "active 13:20 UTC", "Open", "Restart"):
        assert told in ada, ada
    assert "! stuck" in tile(page, "frances")
    assert "The server did not answer within a minute." in tile(page, "frances")
    assert "Open" not in tile(page, "irene")
    assert "not started" in tile(page, "irene")
    assert "1. asks for help since 13:13 UTC" in tile(page, "grace")
    head = words(page[page.index('id="class-head"') : page.index('<div class="seats')])
    assert "11 of 14 ready, the last is expected at" in head
    assert "2 ask for help grace since 13:13 UTC" in head
    assert "ends in 1 h 40 min" in head
    assert 'data-say="2 ask for help: grace, carl. 1 seat is stuck."' in page


def test_seats_are_chosen_and_ordered(console: ConsoleStand, session: Session) -> None:
    staff = console.signed_in("tom")
    assert tiles(staff.get(path(session, "?state=stuck")).text) == ["frances"]
    assert tiles(staff.get(path(session, "?search=A&state=ready")).text) == []
    assert "No seat is like that" in staff.get(path(session, "?state=ended")).text
    assert tiles(staff.get(path(session, "?sort=state")).text)[:3] == ["grace", "carl", "frances"]
    assert tiles(staff.get(path(session, "?hand=1")).text) == ["carl", "grace"]
    for strange in ("?state=x&sort=y&view=z&names=n", "?search=%00"):
        assert staff.get(path(session, strange)).status_code == 200


def test_names_are_hidden_before_a_class(console: ConsoleStand, session: Session) -> None:
    page = console.signed_in("ines").get(path(session, "?names=hidden")).text
    for number, user in enumerate(["ada", "bela", "carl", "dora", "edsger", "frances", "grace"], 1):
        assert user not in page.lower().replace("standard", ""), user
        assert f"Seat {number}" in tiles(page)
    assert "Restart" not in page
    assert "/visit" not in page


def test_small_tiles_for_many(console: ConsoleStand, session: Session) -> None:
    page = console.signed_in("ines").get(path(session, "?view=wall")).text
    assert len(tiles(page)) == 14
    assert "small-seats" in page
    assert 'class="pick"' not in page


def test_an_empty_course_says_what_to_do(console: ConsoleStand, session: Session) -> None:
    office = console.office
    courses.expel(office.desk, COURSE.id, [view.user for view in _views(console, session)], "ines")
    with office.ledger.transaction() as books:
        books.courses.insert(replace(COURSE, id="art", title=EVIL.replace("\u202e", "")))
        books.sessions.insert([replace(session, id="other", course="art", reservation="")])
    page = console.signed_in_admin().get("courses/art/sessions/other/board").text
    assert "Nobody is in this course yet" in page
    assert "<script>alert" not in page


def _views(console: ConsoleStand, session: Session) -> tuple[class_board.SeatView, ...]:
    return class_board.class_board(console.office.desk, session.id).seats


# --- who may ----------------------------------------------------------------------------------------------------------


def test_only_its_staff_sees_the_board(console: ConsoleStand, session: Session) -> None:
    courses.create(console.office.desk, replace(COURSE, id="art", title="Art"), "otto")
    expected = {"ines": 200, "tom": 200, "ada": 403, "otto": 404, "eve": 404}
    for more in ("", "/seats/ada", "/do?action=stop&user=ada", "/message", "/files", "/collect", "/guest"):
        for name, status in expected.items():
            assert console.signed_in(name).get(path(session, more)).status_code == status, (name, more)
        assert console.signed_in_admin().get(path(session, more)).status_code == 200
    # Nor is it there below another course.
    wrong = path(session).replace("/ml/", "/art/")
    assert console.signed_in("otto").get(wrong).status_code == 404
    assert console.signed_in("tom").get(path(session, "/end")).status_code == 403  # instructors' only
    for name in ("ada", "otto"):
        answer = send(console.signed_in(name), path(session, "/do"), action="stop", user="bela")
        assert answer.status_code == expected[name]
    assert seat(console, session, "bela").seat.wish is Wish.NONE


# --- what staff do ----------------------------------------------------------------------------------------------------


def test_opening_a_server_is_told_to_its_student(console: ConsoleStand, session: Session) -> None:
    tom = console.signed_in("tom")
    answer = tom.send_form(path(session, "/visit"), user="ada")
    assert (answer.status_code, answer.headers["Location"]) == (303, "/user/ada/ml/")
    with console.office.ledger.reading() as books:
        (told,) = books.handouts.announcements(session.id, "ada")
    assert (told.kind, told.sent_by) == (Kind.VISIT, "tom")
    entry = console.office.audit()[-1]
    assert (entry.actor, entry.action, entry.after) == ("tom", "seat.visit", {"user": "ada"})
    refused = send(tom, path(session, "/visit"), user="irene")
    assert refused.status_code == 409
    assert "does not run" in refused.text


def test_only_what_may_be_opened_is_offered(console: ConsoleStand, session: Session) -> None:
    tom, now = console.signed_in("tom"), console.office.clock.now
    with console.office.ledger.transaction() as books:
        books.sessions.put_seats(
            [
                Seat(session.id, name, asked_at=now, ready_at=now, guest=name == "gast", hand_at=now)
                for name in ("tom", "ines", "gast")
            ]
        )
    page = tom.get(path(session)).text
    for name, offered in (("tom", True), ("ada", True), ("ines", False), ("gast", False)):
        assert ("Open" in tile(page, name)) == offered, name
        assert (f"Open {name}'s server" in Markup(page).unescape()) == offered, name
        of_seat = tom.get(path(session, f"/seats/{name}")).text
        assert ("Open the server" in of_seat) == offered, name
        answer = tom.send_form(path(session, "/visit"), user=name)
        assert answer.status_code == (303 if offered else 409), name


def test_several_seats_at_once(console: ConsoleStand, session: Session) -> None:
    tom = console.signed_in("tom")
    asked = tom.get(path(session, "/do?action=restart&user=ada&user=bela&user=irene"))
    assert "It is about 3 seats: ada, bela, irene" in words(asked.text)
    done = send(tom, path(session, "/do"), action="restart", user=["ada", "bela", "irene"], why="they hang")
    assert done.status_code == 200
    assert "To be restarted: ada, bela." in words(done.text)
    assert "irene: irene's server does not run; start it instead." in words(done.text)
    assert [seat(console, session, name).seat.wish for name in ("ada", "bela", "irene")] == ["restart", "restart", ""]
    assert console.office.audit()[-1].why == "they hang"
    none = send(tom, path(session, "/do"), action="stop")
    assert (none.status_code, "Choose seats first." in none.text) == (422, True)
    assert "To be restarted: ada" not in tom.get(path(session)).text


def test_however_many_are_chosen(console: ConsoleStand, session: Session) -> None:
    tom = console.signed_in("tom")
    page = tom.get(path(session)).text
    assert f'method="post" action="{PREFIX}{path(session, "/ask")}"' in page
    many = [f"somebody.with.a.long.name.{number}@students.example.org" for number in range(900)]
    asked = send(tom, path(session, "/ask"), action="stop", user=["ada", *many])
    assert "It is about 901 seats: ada, somebody" in words(asked.text)
    assert asked.text.count('<input type="hidden" name="user"') == 901
    assert seat(console, session, "ada").seat.wish is Wish.NONE
    nobody = send(tom, path(session, "/ask"), action="stop")
    assert (nobody.status_code, "No seat is chosen." in nobody.text) == (200, True)


def test_more_time_and_memory(console: ConsoleStand, session: Session) -> None:
    tom = console.signed_in("tom")
    send(tom, path(session, "/do"), action="time", user="ada", minutes="30")
    send(tom, path(session, "/do"), action="memory", user="ada", gib="4.5")
    found = seat(console, session, "ada").seat
    assert (found.until, found.memory) == (session.ends_at + 30 * MINUTE, 4608 << 20)
    for fields in ({"action": "time", "minutes": "-5"}, {"action": "memory", "gib": "much"}):
        assert send(tom, path(session, "/do"), user="ada", **fields).status_code == 422
    much = send(tom, path(session, "/do"), action="memory", user="ada", gib="64")
    assert (much.status_code, "6 GiB of memory at most" in much.text) == (409, True)
    admin = console.signed_in_admin()
    assert send(admin, path(session, "/do"), action="memory", user="ada", gib="64").status_code == 200
    page = tom.get(path(session)).text
    assert "until 15:30 UTC · 64 GiB" in tile(page, "ada")


def test_hands_are_lowered(console: ConsoleStand, session: Session) -> None:
    tom = console.signed_in("tom")
    page = send(tom, path(session, "/hand"), user="grace").text
    assert "Hands lowered: grace." in page
    assert "1. asks for help since" in tile(page, "carl")


def test_a_guest(console: ConsoleStand, session: Session) -> None:
    tom, desk = console.signed_in("tom"), console.office.desk
    assert "No seat is left" in tom.get(path(session, "/guest")).text
    assert seats.give_back(desk, session.id) != ()
    console.hub.add_user("eve")
    nobody = send(tom, path(session, "/guest"), user="nobody-knows")
    assert (nobody.status_code, "The hub has no user" in nobody.text) == (422, True)
    page = send(tom, path(session, "/guest"), user="eve").text
    assert "eve has a seat now." in page
    for told in ("to be started", "guest"):
        assert told in tile(page, "eve")
    assert 'value="take-back"' in page
    send(tom, path(session, "/do"), action="take-back", user="eve")
    assert seat(console, session, "eve").state is SeatState.GIVEN_BACK


def test_messages(console: ConsoleStand, session: Session) -> None:
    tom = console.signed_in("tom")
    page = send(tom, path(session, "/message"), text=f"Open the notebook. {EVIL.replace(chr(0x202E), '')}").text
    assert "Sent to all seats." in page
    send(tom, path(session, "/message"), text="Well done", user="ada")
    told = tom.get(path(session, "/message")).text
    assert "<script>alert" not in told
    assert "Open the notebook." in told
    assert "Well done" in tom.get(path(session, "/seats/ada")).text
    nothing = send(tom, path(session, "/message"), text="  ")
    assert (nothing.status_code, "some text" in nothing.text) == (409, True)


def test_files_and_collections(console: ConsoleStand, session: Session) -> None:
    tom = console.signed_in("tom")
    sent = tom.post(
        path(session, "/files"),
        data={"csrf": tom.form_token, "folder": "week1"},
        files={"file": ("../x/task.ipynb", b"{}", "application/json")},
    )
    assert "week1/task.ipynb is on its way" in words(sent.text)
    assert "in 0 of 14 homes · 14 are still to come" in words(sent.text)
    missing = tom.post(path(session, "/files"), data={"csrf": tom.form_token})
    assert (missing.status_code, "Choose a file." in missing.text) == (422, True)
    settings = f'href="{PREFIX}courses/ml/edit"'
    for name, may_set in (("ines", True), ("tom", False)):
        page = console.signed_in(name).get(path(session, "/collect")).text
        assert "No folder to collect" in page
        assert (settings in page) == may_set
    tom = console.signed_in("tom")
    refused = send(tom, path(session, "/collect"))
    assert (refused.status_code, "names no folder" in refused.text) == (409, True)
    courses.change(console.office.desk, "ml", "ines", collect="week1")
    assert "being collected" in send(tom, path(session, "/collect")).text
    with console.office.ledger.reading() as books:
        found = books.sessions.get(session.id)
    assert found is not None
    assert found.collect_at == console.office.clock.now


def test_a_hidden_file_has_to_be_meant(console: ConsoleStand, session: Session) -> None:
    tom = console.signed_in("tom")
    courses.change(console.office.desk, "ml", "ines", folder="ml")

    def send_it(**fields: str) -> httpx2.Response:
        answer: httpx2.Response = tom.post(
            path(session, "/files"),
            data={"csrf": tom.form_token, **fields},
            files={"file": (".condarc", b"{}", "text/plain")},
        )
        return answer

    assert 'name="folder" value="ml"' in tom.get(path(session, "/files")).text
    refused = send_it(folder="")
    assert (refused.status_code, "say that it is meant" in refused.text) == (409, True)
    assert 'name="folder" value=""' in refused.text
    assert 'name="hidden" value="1">' in refused.text
    assert ".condarc is on its way" in words(send_it(folder="", hidden="1").text)
    again = send_it(folder="../x", hidden="1")
    assert again.status_code == 409
    assert 'name="hidden" value="1" checked>' in again.text


def test_what_can_be_done_afterwards(console: ConsoleStand, session: Session) -> None:
    tom, office = console.signed_in("tom"), console.office
    courses.change(office.desk, "ml", "ines", collect="week1")
    end_class(office, session)
    for archive, sha256 in (("", ""), ("s/ada-20270301T140000Z.tar.gz", "c0ffee")):
        one = Collected("", session.id, "ada", "week1", office.clock.now, archive, 2, 20, sha256)
        made = collections.note(office.desk, one)
    board = tom.get(path(session)).text
    assert "Message to all" not in board
    assert "Seat for a guest" not in board
    for page, told in ((board, "/files"), (board, "/collect"), (tom.get(path(session, "/../report")).text, "/collect")):
        assert f'href="{PREFIX}{path(session, told)}"' in page
    page = tom.get(path(session, "/collect")).text
    exports = f"{PREFIX}api/v1/courses/ml/sessions/{session.id}/collections"
    for address in (f"{exports}/export", f"{exports}/{made.id}"):
        assert f'href="{address}"' in page
    assert "being collected" in send(tom, path(session, "/collect")).text
    office.clock.now = session.ends_at + timedelta(hours=6)
    late = send(tom, path(session, "/collect"))
    assert (late.status_code, "other work by now" in late.text) == (409, True)
    assert f'href="{exports}/export"' in late.text


def test_another_end(console: ConsoleStand, session: Session) -> None:
    ines = console.signed_in("ines")
    assert "The session has another end now." in send(ines, path(session, "/end"), minutes="later:15").text
    with console.office.ledger.reading() as books:
        assert books.sessions.get(session.id).ends_at == session.ends_at + 15 * MINUTE  # type: ignore[union-attr]
    send(ines, path(session, "/end"), minutes="in:5")
    with console.office.ledger.reading() as books:
        ends_at = books.sessions.get(session.id).ends_at  # type: ignore[union-attr]
    assert ends_at == console.office.clock.now + 5 * MINUTE
    for wrong in ("", "later:x", "in:99999"):
        assert send(ines, path(session, "/end"), minutes=wrong).status_code == 422


def test_a_seat_has_a_page(console: ConsoleStand, session: Session) -> None:
    tom = console.signed_in("tom")
    page = tom.get(path(session, "/seats/ada")).text
    for told in ("working", "Open the server", "Restart", "Stop", "Give more time", "The last 15 minutes"):
        assert told in page, told
    assert ">Start…" not in page
    assert tom.get(path(session, "/seats/ada/now")).status_code == 200
    assert tom.get(path(session, "/seats/nobody")).status_code == 404


# --- what an open page is sent ----------------------------------------------------------------------------------------


def open_page(console: ConsoleStand, session: Session, query: str = "") -> ClassNews:
    """Look on as a page does."""
    page = console.signed_in("ines").get(path(session, f"?{query}")).text
    [(known, shown)] = re.findall(r'sse-connect="[^"]*since=([^"&]*)&amp;shown=([^"&]*)"', page)
    scope = {"type": "http", "headers": [], "path": PREFIX + path(session, "/live"), "app": console.app}
    found = InCourse(
        Caller("ines", "user", frozenset(), frozenset(), "t"),
        courses.find(console.office.desk, "ml"),
        Role.INSTRUCTOR,
    )
    choice = choice_of(**dict(part.split("=") for part in query.split("&") if part))
    return ClassNews(Request(scope), console.console, found, choice, session.id, known, shown)


def look(console: ConsoleStand, session: Session) -> ClassLook:
    return console.console.classes.watch(session.id).board.look()


def test_only_what_changes_is_sent(console: ConsoleStand, session: Session) -> None:
    news = open_page(console, session)
    first = look(console, session)
    assert news(first) == []
    seats.note(console.office.desk, session.id, "ada", heard_at=console.office.clock.now)  # as each does all the time
    assert look(console, session).number == first.number
    seats.raise_hand(console.office.desk, session.id, "ada")
    (changed,) = news(look(console, session))
    assert changed.name == "changed"
    assert tiles(changed.data) == ["ada"]
    assert 'id="class-head"' in changed.data
    # By time alone: who is at work no longer.
    console.office.wait(timedelta(minutes=11))
    (later,) = news(look(console, session))
    assert "idle" in later.data


def test_where_others_are_shown_all_is_sent(console: ConsoleStand, session: Session) -> None:
    news = open_page(console, session, "state=stuck")
    assert news(look(console, session)) == []
    seats.note(console.office.desk, session.id, "ada", problem="It hangs.")
    (event,) = news(look(console, session))
    assert event.name == "board"
    assert tiles(event.data) == ["ada", "frances"]


def test_who_comes_from_another_process_is_told_all(console: ConsoleStand, session: Session) -> None:
    watch = console.console.classes.watch(session.id)
    found = watch.board.look()
    assert stamp(watch, found).startswith(f"{watch.board.epoch}-")
    news = open_page(console, session)
    news._known = None  # what `since` gives for another epoch
    events: list[Event] = news(found)
    assert [event.name for event in events] == ["board"]


def test_a_class_on_cpus_has_a_board(console: ConsoleStand) -> None:
    office = console.office
    session = class_in_session(office, 3)
    with office.ledger.transaction() as books:
        books.courses.update(replace(books.courses.get("ml") or Course("", "", "", "", office.clock.now), gpus=0))
        for lease in books.leases.open():
            books.leases.update(replace(lease, state="closed"), lease)  # type: ignore[arg-type]
    page = console.signed_in("ines").get(path(session)).text
    assert len(tiles(page)) == 3
    assert "No readings" not in page
