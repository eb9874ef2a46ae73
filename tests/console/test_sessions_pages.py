"""Sessions on pages: planned with a form that says at once whether they fit, changed, called off, seen by students."""

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, unquote

import httpx2
import pytest
from markupsafe import Markup

from spawner.console.callers import FORM_FIELD
from spawner.console.rendering import ZONE_COOKIE
from spawner.operations import courses, seat_life, session_changes, sessions
from spawner.operations.session_changes import Change
from spawner.operations.sessions import Plan, Planned
from spawner.policy.classes import Course, Late, Phase, Role, Session
from spawner.policy.gpus import SlotKind
from spawner.policy.leases import Lease

from ..support.console import PREFIX, ConsoleStand, Visitor
from ..support.office import HOUR, MINUTE, NOW, Office
from ..support.slots import gpus, shared

COURSE = Course("ml", "Machine learning", "gpu", "", NOW, gpus=1, kinds=frozenset({SlotKind.EXCLUSIVE}))
DAY = timedelta(days=1)


@pytest.fixture
def taught(console: ConsoleStand) -> ConsoleStand:
    """Ines gives a course with three students, on four GPUs; Ida another."""
    office = console.office
    office.fit(gpus(4, model="A100"), shared(8, index=4, model="T4"))
    art = replace(COURSE, id="art", title="Art & <b>craft</b>")
    for course, who in ((COURSE, "ines"), (art, "ida")):
        assert isinstance(courses.create(office.desk, course, who), Course)
    courses.enrol(office.desk, "ml", ["ann", "bob", "cyd"], Role.STUDENT, "ines")
    courses.enrol(office.desk, "ml", ["tara"], Role.ASSISTANT, "ines")
    return console


def reader(console: ConsoleStand, name: str = "ines", zone: str = "UTC") -> Visitor:
    visitor = console.signed_in_admin(name) if name == "olga" else console.signed_in(name)
    visitor.cookies.set(ZONE_COOKIE, zone, path=PREFIX)
    return visitor


def form(**fields: Any) -> dict[str, Any]:
    usual = {"date": "2027-03-02", "begins": "14:00", "ends": "16:00", "seats": "3", "lead": "15", "grace": "15"}
    return {"shown": "1", "late": "first", "zone": "UTC", "terminals": "1", **usual, **fields}


def check(somebody: Visitor, path: str = "courses/ml/sessions/check", **fields: Any) -> str:
    """Give what a form says while it is being filled in."""
    data = {FORM_FIELD: somebody.form_token, **form(**fields)}
    answer = somebody.post(path, data=data, headers={"HX-Request": "true"})
    assert answer.status_code == 200, answer.text
    assert "<html" not in answer.text
    return words(answer.text)


def words(page: str) -> str:
    return " ".join(Markup(page).striptags().split())


def ways(somebody: Visitor, **fields: Any) -> dict[str, dict[str, list[str]]]:
    """Give the buttons that fill the form, with what they fill in."""
    data = {FORM_FIELD: somebody.form_token, **form(**fields)}
    page = somebody.post("courses/ml/sessions/check", data=data, headers={"HX-Request": "true"}).text
    found = re.findall(r'<a class="button quiet small" href="[^"]*\?([^"]*)">(.*?)</a>', page)
    return {words(text): parse_qs(unquote(Markup(query).unescape())) for query, text in found}


def planned(office: Office, starts: datetime, hours: float = 2, seats: int = 4, course: str = "art") -> Session:
    answer = sessions.book(office.desk, Plan(course, [(starts, starts + hours * HOUR)], seats), "ida")
    assert isinstance(answer, Planned), answer
    return answer.sessions[0]


def all_of(office: Office, course: str = "ml") -> list[Session]:
    with office.ledger.reading() as books:
        return books.sessions.of_course(course)


def running(office: Office, user: str, hours: float) -> Lease:
    return office.running(user, hours=hours, kinds=COURSE.kinds)


# --- the form ---------------------------------------------------------------------------------------------------------


def test_the_form_begins_with_the_roster(taught: ConsoleStand) -> None:
    page = reader(taught, zone="Europe/Berlin").get("courses/ml/sessions/new").text
    assert 'name="seats" min="1" value="3"' in page
    assert "By the clocks of Europe/Berlin." in words(page)
    assert "Say the day, when it begins and ends" in words(page)


def test_it_is_said_at_once_whether_seats_fit(taught: ConsoleStand) -> None:
    ines = reader(taught)
    said = check(ines)
    assert "It fits. 3 seats, 2 Mar, 14:00 – 16:00, 2 h." in said
    assert "6.75 GPU-hours are reserved." in said
    assert "Nobody's lease has to end sooner for it." in said
    assert "Say the day" in check(ines, begins="")
    said = check(ines, begins="25:00", seats="no")
    assert "Write the time as 14:00." in said
    assert "A whole number from 1 to 10000." in said
    assert "A session ends after it starts, and not in the past." in check(ines, date="2027-02-28")
    assert all_of(taught.office) == []


def test_who_makes_room_is_counted_and_named_to_admins(taught: ConsoleStand) -> None:
    for user in ("zoe", "yan"):
        running(taught.office, user, 24)
    fields = {"date": "2027-03-01", "begins": "15:00", "ends": "17:00", "seats": "4"}
    said = check(reader(taught), **fields)
    assert "2 leases end sooner for it; their users are told." in said
    assert "zoe" not in said
    assert "zoe: 14:43 instead of 2 Mar, 12:00" in check(reader(taught, "olga"), **fields)


def test_what_does_not_fit_is_told_what_would(taught: ConsoleStand) -> None:
    ines = reader(taught)
    planned(taught.office, NOW + DAY + 2 * HOUR, seats=3)
    said = check(ines)
    assert "It does not fit. On 2 Mar, 14:00: 1 seat is to be had, and 3 are asked for." in said
    assert "At this time, all would fit on other GPUs: T4, shares of GPUs" in said
    found = ways(ines)
    assert found["Fewer seats: 1"]["seats"] == ["1"]
    assert list(found)[:2] == ["Tue 2 Mar, 11:30", "Tue 2 Mar, 16:30"]
    # Each of them holds: the form that it fills fits.
    for query in found.values():
        page = ines.get("courses/ml/sessions/new", params=query).text
        assert "It fits." in words(page), query
        assert f'value="{query["begins"][0]}"' in page


def test_without_a_script_a_button_checks(taught: ConsoleStand) -> None:
    ines = reader(taught)
    page = ines.post("courses/ml/sessions/check", data={FORM_FIELD: ines.form_token, **form(title="<i>Trees")}).text
    assert "It fits." in words(page)
    assert 'value="&lt;i&gt;Trees"' in page
    assert ">Reserve it</button>" in page
    assert all_of(taught.office) == []


def test_a_session_is_planned(taught: ConsoleStand) -> None:
    ines = reader(taught)
    running(taught.office, "zoe", 24)
    answer = ines.send_form("courses/ml/sessions", **form(title="Trees", late="refuse", seats="4", exam="1", grace="5"))
    [made] = all_of(taught.office)
    assert (answer.status_code, answer.headers["Location"]) == (303, f"{PREFIX}courses/ml/sessions/{made.id}")
    assert (made.starts_at, made.ends_at) == (NOW + DAY + 2 * HOUR, NOW + DAY + 4 * HOUR)
    assert (made.title, made.seats, made.late, made.exam, made.terminals) == ("Trees", 4, Late.REFUSE, True, True)
    assert (made.lead, made.grace, made.created_by) == (15 * MINUTE, 5 * MINUTE, "ines")
    page = words(ines.get(f"courses/ml/sessions/{made.id}").text)
    assert "The session is planned. Leases that end sooner for it" not in page  # it ends before by itself
    assert "The session is planned." in page
    assert "Trees" in page
    # What cannot be is said in the form, and nothing is lost of it.
    again = ines.send_form("courses/ml/sessions", **form(title="Once more"))
    assert again.status_code == 409
    assert "Machine learning has another session then" in words(again.text)
    assert 'value="Once more"' in again.text
    wrong = ines.send_form("courses/ml/sessions", **form(date="", seats="0"))
    assert wrong.status_code == 422
    assert "A whole number from 1 to 10000." in words(wrong.text)
    assert len(all_of(taught.office)) == 1


def test_limits_say_what_is_left(taught: ConsoleStand) -> None:
    courses.change(taught.office.desk, "ml", "olga", most_seats=3, most_gpu_hours=10.0, most_ahead=7 * DAY)
    ines = reader(taught)
    assert "This course may have 3 at a time." in words(ines.get("courses/ml/sessions/new").text)
    assert "4 seats asked for; this course may have 3 at a time." in check(ines, seats="4")
    ines.send_form("courses/ml/sessions", **form())
    assert "6.75 GPU-hours are needed, and 3.25 of this course's 10 are left." in check(ines, date="2027-03-03")
    assert "may reserve 168 h ahead; this is further away" in check(ines, date="2027-03-20", seats="1")


# --- series and clocks ------------------------------------------------------------------------------------------------


def test_a_series_keeps_its_hour_when_clocks_change(taught: ConsoleStand) -> None:
    ines = reader(taught, zone="Europe/Berlin")
    series = {"weekly": "1", "weekday": ["0", "3"], "last": "2027-04-05", "skipped": "2027-03-25, 2027-03-29"}
    fields = form(date="2027-03-22", begins="09:00", ends="11:00", zone="Europe/Berlin", **series)
    assert "3 sessions, each with 3 seats, 22 Mar, 09:00 – 5 Apr, 09:00" in check(ines, **fields)
    answer = ines.send_form("courses/ml/sessions", **fields)
    assert answer.headers["Location"] == f"{PREFIX}courses/ml/sessions"
    made = all_of(taught.office)
    # Summer time begins on 28 March.
    assert [f"{one.starts_at:%d %H}" for one in made] == ["22 08", "01 07", "05 07"]
    assert {one.length for one in made} == {2 * HOUR}
    assert len({one.series for one in made}) == 1
    page = words(ines.get("courses/ml/sessions").text)
    assert page.count("09:00 – 11:00") == 3


def test_a_series_that_collides_says_where(taught: ConsoleStand) -> None:
    planned(taught.office, datetime(2027, 3, 9, 13, tzinfo=UTC), seats=4)
    ines = reader(taught)
    found = ways(ines, weekly="1", last="2027-03-16")
    assert found["Leave out Tuesday 9 Mar"]["skipped"] == ["2027-03-09"]
    assert found["Begin at 15:30 each time"]["begins"] == ["15:30"]
    for words_of in ("Leave out Tuesday 9 Mar", "Begin at 15:30 each time"):
        page = ines.get("courses/ml/sessions/new", params=found[words_of]).text
        assert "It fits." in words(page)
    assert "before the first" in check(ines, weekly="1", last="2027-02-01")
    assert "Write days as 2027-03-29" in check(ines, weekly="1", last="2027-03-16", skipped="Easter")


def test_times_that_clocks_leave_out_or_show_twice(taught: ConsoleStand) -> None:
    ines = reader(taught)
    zone = {"zone": "Europe/Berlin", "seats": "1"}
    said = check(ines, date="2027-03-28", begins="02:30", ends="04:00", **zone)
    assert "There is no 02:30 on that day, for clocks are put forward; 03:30 is meant." in said
    said = check(ines, date="2027-10-31", begins="02:30", ends="04:00", **zone)
    assert "There is 02:30 twice on that day" in said
    said = check(ines, date="2027-03-28", begins="01:00", ends="05:00", **zone)
    assert "Clocks are changed meanwhile: it takes 180 minutes." in said
    ines.send_form("courses/ml/sessions", **form(date="2027-03-28", begins="22:00", ends="01:00", **zone))
    [made] = all_of(taught.office)
    assert (made.starts_at, made.length) == (datetime(2027, 3, 28, 20, tzinfo=UTC), 3 * HOUR)
    assert "no time zone called Mars" in check(ines, date="2027-03-28", zone="Mars/Phobos")


def test_a_series_says_what_clocks_do(taught: ConsoleStand) -> None:
    ines = reader(taught)
    series = {"weekly": "1", "zone": "Europe/Berlin", "seats": "1"}
    said = check(ines, date="2027-03-21", begins="02:30", ends="04:00", last="2027-04-04", **series)
    assert "2027-03-28: There is no 02:30 on that day, for clocks are put forward; 03:30 is meant." in said
    assert "2027-03-28: Clocks are changed meanwhile: it ends at 05:00." in said
    assert "2027-03-21: " not in said
    assert "2027-04-04: " not in said
    said = check(ines, date="2027-03-21", begins="01:00", ends="05:00", last="2027-04-04", **series)
    assert "2027-03-28: Clocks are changed meanwhile: it ends at 06:00." in said
    said = check(ines, date="2027-10-24", begins="02:30", ends="04:00", last="2027-11-07", **series)
    assert "2027-10-31: There is 02:30 twice on that day" in said
    assert "2027-10-31: Clocks are changed meanwhile: it ends at 03:00." in said
    assert "Clocks" not in check(ines, date="2027-03-22", begins="09:00", ends="11:00", last="2027-04-05", **series)


# --- changed and called off -------------------------------------------------------------------------------------------


def test_a_session_is_no_series_whatever_an_address_says(taught: ConsoleStand) -> None:
    ines = reader(taught)
    made = planned(taught.office, NOW + DAY, seats=2, course="ml")
    path = f"courses/ml/sessions/{made.id}"
    fields = form(weekly="1", last="2027-03-30", seats="4", version=str(made.version))
    assert "It fits." in words(ines.get(f"{path}/change", params=fields).text)
    assert "It fits. 4 seats" in check(ines, f"{path}/check", **fields)
    assert ines.send_form(f"{path}/change", **fields).status_code == 303
    assert [one.seats for one in all_of(taught.office)] == [4]


def test_a_session_is_changed(taught: ConsoleStand) -> None:
    ines = reader(taught)
    made = planned(taught.office, NOW + DAY, seats=2, course="ml")
    path = f"courses/ml/sessions/{made.id}"
    page = ines.get(f"{path}/change").text
    assert 'value="2027-03-02"' in page
    assert "Again each week" not in page
    fields = form(begins="15:00", ends="18:00", seats="4", version=str(made.version))
    assert "It fits. 4 seats, 2 Mar, 15:00" in check(ines, f"{path}/check", **fields)
    assert ines.send_form(f"{path}/change", **fields).status_code == 303
    [after] = all_of(taught.office)
    assert (after.starts_at, after.length, after.seats, after.version) == (NOW + DAY + 3 * HOUR, 3 * HOUR, 4, 2)
    # Somebody who saw another version is told.
    late = ines.send_form(f"{path}/change", **fields)
    assert late.status_code == 412
    assert "Somebody has changed this session meanwhile" in words(late.text)
    planned(taught.office, NOW + 2 * DAY, seats=3)
    taken = ines.send_form(f"{path}/change", **form(date="2027-03-03", begins="12:00", ends="13:00", version="2"))
    assert taken.status_code == 409
    assert "1 seat is to be had" in words(taken.text)
    assert all_of(taught.office) == [after]


def test_what_a_colleague_changed_meanwhile_is_shown(taught: ConsoleStand) -> None:
    ines, desk = reader(taught), taught.office.desk
    made = planned(taught.office, NOW + DAY, seats=3, course="ml")
    path = f"courses/ml/sessions/{made.id}/change"
    fields = form(begins="12:00", ends="14:00", title="Trees", version=str(made.version), why="as we said")
    session_changes.change(desk, made.id, Change(seats=4, late=Late.REFUSE, exam=True), "ida")
    late = ines.send_form(path, **fields)
    assert late.status_code == 412
    assert "Somebody has changed this session meanwhile. Nothing was overwritten." in words(late.text)
    assert "(ida, 12:00)" in words(late.text)
    table = late.text.split('<table class="versus">')[1].split("</table>")[0]
    cells = [words(cell) for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", table)]
    assert [tuple(cells[place : place + 3]) for place in range(0, len(cells), 3)] == [
        ("What", "There now", "Yours"),
        ("Title", "–", "Trees"),
        ("Seats", "4", "3"),
        ("Who comes late", "Is refused", "Goes first in the queue"),
        ("Exam", "yes", "no"),
    ]
    assert 'id="why" name="why" value="as we said"' in late.text
    assert all_of(taught.office)[0].seats == 4
    # Whoever has seen both and goes on means it.
    assert ines.send_form(path, **{**fields, "version": "2"}).status_code == 303
    [after] = all_of(taught.office)
    assert (after.seats, after.title, after.exam, after.version) == (3, "Trees", False, 3)
    assert taught.office.audit()[-1].why == "as we said"


def test_a_reason_is_not_lost_when_a_change_is_refused(taught: ConsoleStand) -> None:
    ines = reader(taught)
    made = planned(taught.office, NOW + DAY, seats=2, course="ml")
    path, version = f"courses/ml/sessions/{made.id}", str(made.version)
    for where, wanted, status in (
        ("change", {"seats": "40"}, 409),
        ("change", {"seats": "none"}, 422),
        ("check", {}, 200),
    ):
        fields = {FORM_FIELD: ines.form_token, **form(version=version, why='a "holiday"', **wanted)}
        answer = ines.post(f"{path}/{where}", data=fields)
        assert answer.status_code == status
        assert 'name="why" value="a &#34;holiday&#34;"' in answer.text, where


def test_one_that_runs_only_ends_at_another_time(taught: ConsoleStand) -> None:
    ines = reader(taught)
    made = planned(taught.office, NOW + HOUR, seats=2, course="ml")
    seat_life.asked(taught.office.desk, made.id, "ann")
    taught.office.wait(70 * MINUTE)
    path = f"courses/ml/sessions/{made.id}"
    assert "readonly" in ines.get(f"{path}/change").text
    assert "Make it longer" in ines.get(path).text
    assert ines.send_form(f"{path}/longer", minutes="30").status_code == 303
    assert all_of(taught.office)[0].ends_at == NOW + 3.5 * HOUR
    planned(taught.office, NOW + 4 * HOUR, seats=4)
    refused = ines.send_form(f"{path}/longer", minutes="60")
    assert refused.status_code == 409
    assert "It can last until 15:43 UTC" in words(refused.text)
    said = check(ines, f"{path}/check", **form(date="2027-03-01", begins="13:00", ends="15:00", seats="3"))
    assert "number of seats cannot change any more" in said


def test_calling_off_names_what_it_does(taught: ConsoleStand) -> None:
    ines = reader(taught)
    ines.send_form("courses/ml/sessions", **form(weekly="1", last="2027-03-16"))
    first, second, third = all_of(taught.office)
    seat_life.asked(taught.office.desk, second.id, "ann")
    page = words(ines.get(f"courses/ml/sessions/{second.id}/cancel").text)
    assert "Its GPUs go back to everybody at once" in page
    assert "1 seat has been started and is stopped." in page
    assert "This one and the one after it (until 16 Mar, 14:00)" in page
    ines.send_form(f"courses/ml/sessions/{second.id}/cancel", which="this", why="a holiday")
    now = taught.office.clock.now
    assert [one.phase(now) for one in all_of(taught.office)] == [Phase.PLANNED, Phase.CANCELLED, Phase.PLANNED]
    ines.send_form(f"courses/ml/sessions/{first.id}/cancel", which="following")
    assert {one.phase(now) for one in all_of(taught.office)} == {Phase.CANCELLED}
    again = ines.send_form(f"courses/ml/sessions/{third.id}/cancel")
    assert again.status_code == 409
    assert taught.office.audit()[-1].action == "session.cancel"


# --- who sees what ----------------------------------------------------------------------------------------------------


def test_students_see_when_and_assistants_how_many(taught: ConsoleStand) -> None:
    made = planned(taught.office, NOW + DAY, seats=2, course="ml")
    ann, tara = reader(taught, "ann"), reader(taught, "tara")
    page = ann.get("courses/ml/sessions").text
    assert "2 Mar, 12:00 – 14:00" in words(page)
    assert "Seats" not in page
    assert "Plan a session" not in page
    assert "Your seat is started by itself" in words(ann.get(f"courses/ml/sessions/{made.id}").text)
    assert "Live board" in words(tara.get(f"courses/ml/sessions/{made.id}").text)
    for somebody in (ann, tara):
        assert somebody.get("courses/ml/sessions/new").status_code == 403
        assert somebody.send_form("courses/ml/sessions", **form()).status_code == 403
        assert somebody.send_form(f"courses/ml/sessions/{made.id}/cancel").status_code == 403
    for path in ("sessions", f"sessions/{made.id}"):
        assert reader(taught, "eve").get(f"courses/ml/{path}").status_code == 404
    # A session is found in its own course alone.
    assert reader(taught, "ida").get(f"courses/art/sessions/{made.id}").status_code == 404


def test_the_start_page_says_what_is_next(taught: ConsoleStand) -> None:
    made = planned(taught.office, NOW + 2 * HOUR, seats=3, course="ml")
    taught.hub.add_user("ann")
    ann = reader(taught, "ann")

    def card() -> str:
        text: str = ann.get("mine/now").text
        return words(text.split('<section class="panel server"')[0])

    assert "Machine learning Planned today 14:00 – 16:00. Your seat starts by itself." in card()
    seat_life.asked(taught.office.desk, made.id, "ann")
    assert "Your seat is being started." in card()
    taught.office.wait(2 * HOUR)
    assert "until 16:00. Start my seat" in card()
    server = {"name": "ml", "ready": True, "pending": None, "stopped": False, "url": "/user/ann/ml/"}
    taught.hub.add_user("ann", servers={"ml": {**server, "started": None, "last_activity": None, "user_options": {}}})
    assert "Your seat runs. Open" in card()
    assert 'href="/user/ann/ml/"' in ann.get("mine/now").text
    # An admin who looks at Ann's page does not open her seat.
    assert "Your seat runs" not in reader(taught, "olga").get("people/ann").text


def test_staff_start_their_seats_themselves(taught: ConsoleStand) -> None:
    made = planned(taught.office, NOW + 2 * HOUR, seats=3, course="ml")
    for name in ("tara", "ines"):
        taught.hub.add_user(name)
    tara = reader(taught, "tara")

    def card() -> str:
        text: str = tara.get("mine/now").text
        return text.split('<section class="panel server"')[0]

    start, seat = "/hub/spawn/tara/ml", "/user/tara/ml/"
    assert "Machine learning Planned today 14:00 – 16:00. Open the board" in words(card())
    assert start not in card()
    assert seat not in tara.get("courses/ml").text
    taught.office.wait(110 * MINUTE)
    seat_life.asked(taught.office.desk, made.id, "ann")  # it is being warmed up, but no seat of hers
    assert "Your seat" not in words(card())
    assert start in card()
    assert seat in tara.get("courses/ml").text
    taught.office.wait(20 * MINUTE)
    assert "until 16:00. Start my seat" in words(card())
    for name in ("tara", "ines", "ann"):
        page = reader(taught, name).get("courses/ml")
        assert f'href="/user/{name}/ml/">Go to my seat' in page.text, name
        assert ("Your seat starts by itself" in words(page.text)) == (name == "ann")
    # Admins who are not in the course have no seat there.
    assert "Go to my seat" not in reader(taught, "olga").get("courses/ml").text


def test_names_of_courses_are_for_who_is_in_them(taught: ConsoleStand) -> None:
    planned(taught.office, NOW + DAY, seats=3)
    planned(taught.office, NOW + DAY + 3 * HOUR, seats=2, course="ml")
    running(taught.office, "zoe", 5)

    def week(name: str, which: str = "2027-03-04") -> str:
        answer: httpx2.Response = reader(taught, name).get("calendar", params={"week": which})
        assert answer.status_code == 200
        return answer.text

    page = week("ann")
    assert "Machine learning: 2 of 4, 14:45 to 17:00" in page
    assert "reserved: 3 of 4, 11:45 to 14:00" in page
    assert "craft" not in page
    assert "zoe" not in page
    assert "1 March – 7 March 2027" in page
    assert "reserved (3)" in page  # in the table, too
    assert "Art &amp; &lt;b&gt;craft" in week("ida")
    assert "Art &amp; &lt;b&gt;craft" in week("olga")
    assert "no class has reserved any in this week" in week("ann", "2027-03-15")
    assert "1 March – 7 March 2027" in week("ann", "nonsense")
    # A week that is over has what classes had, and no more.
    taught.office.wait(7 * DAY)
    [before] = re.findall(r'href="\?week=([^"]*)" rel="prev"', week("ann", "2027-03-08"))
    past = week("ann", before)
    assert "1 March – 7 March 2027" in past
    assert "Machine learning: 2 of 4, 14:45 to 17:00" in past
    assert "in use" not in past


def test_a_week_in_which_clocks_change(taught: ConsoleStand) -> None:
    made = datetime(2027, 3, 28, 0, tzinfo=UTC)  # 01:00 in Berlin, until 05:00 by its clocks
    answer = sessions.book(taught.office.desk, Plan("art", [(made, made + 3 * HOUR)], 2, lead=timedelta(0)), "ida")
    assert isinstance(answer, Planned)
    page = reader(taught, "ida", "Europe/Berlin").get("calendar?week=2027-03-28").text
    blocks = re.findall(r'<svg x="0%" y="([\d.]+)%" width="50%" height="([\d.]+)%"><title>', page)
    assert blocks == [("4.17", "4.17"), ("12.5", "8.33")]  # 1 to 2, and 3 to 5


def test_a_hub_without_gpus_has_a_calendar(console: ConsoleStand) -> None:
    assert "This hub has no GPUs" in words(reader(console, "ann").get("calendar").text)
