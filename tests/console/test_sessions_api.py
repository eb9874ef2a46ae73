"""Sessions and the calendar through the API; calendars read back as programs read them."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
from icalendar import Calendar

from spawner.operations import courses
from spawner.policy.classes import Course, Role
from spawner.policy.gpus import SlotKind

from ..support.console import PREFIX, ConsoleStand, Visitor
from ..support.office import HOUR, NOW
from ..support.slots import gpus, shared

COURSE = Course("ml", "Machine learning", "gpu", "", NOW, gpus=1, kinds=frozenset({SlotKind.EXCLUSIVE}))
BASE = "api/v1/courses/ml/sessions"


@pytest.fixture
def taught(console: ConsoleStand) -> ConsoleStand:
    office = console.office
    office.fit(gpus(4, model="A100"), shared(8, index=4, model="T4"))
    for course, who in ((COURSE, "ines"), (replace(COURSE, id="art", title="Art"), "ida")):
        assert isinstance(courses.create(office.desk, course, who), Course)
    courses.enrol(office.desk, "ml", ["ann"], Role.STUDENT, "ines")
    console.hub.add_user("ann")
    return console


@pytest.fixture
def ines(taught: ConsoleStand) -> Visitor:
    return taught.as_instructor()


def times(*starts: float, hours: float = 2) -> list[dict[str, str]]:
    begins = [NOW + one * HOUR for one in starts]
    return [{"starts_at": one.isoformat(), "ends_at": (one + hours * HOUR).isoformat()} for one in begins]


def booked(visitor: Visitor, base: str = BASE, **said: Any) -> list[dict[str, Any]]:
    answer = visitor.post(base, json={"seats": 2, "times": times(2), **said})
    assert answer.status_code == 201, answer.text
    found: list[dict[str, Any]] = answer.json()["sessions"]
    return found


def test_sessions_are_reserved(ines: Visitor, taught: ConsoleStand) -> None:
    held = taught.office.running("zoe", hours=12, kinds=COURSE.kinds)
    said: dict[str, Any] = {"seats": 4, "times": times(2), "title": "Trees", "grace_minutes": 5, "late": "queue"}
    would = ines.post(f"{BASE}/preview", json=said).json()
    assert (would["fits"], would["shortened"], would["leases"]) == (True, 1, None)
    admin = taught.as_admin().post(f"{BASE}/preview", json=said).json()
    assert admin["leases"] == [
        {"lease": held.id, "user": "zoe", "ends_at": "2027-03-01T13:43:00Z", "ended_at": "2027-03-02T00:00:00Z"}
    ]
    [made] = booked(ines, **said)
    assert (made["title"], made["phase"], made["grace_minutes"], made["gpu_hours"]) == ("Trees", "planned", 5, 9.0)
    assert taught.office.lease(held.id).ending == "reserved"
    assert ines.get(BASE).json() == {"items": [made], "next": None}
    assert taught.as_user("ann").get("api/v1/users/ann/sessions").json() == [made]
    assert taught.as_user("eve").get(f"{BASE}/{made['id']}").status_code == 404


def test_what_does_not_fit_says_what_would(ines: Visitor, taught: ConsoleStand) -> None:
    booked(taught.as_instructor("ida"), "api/v1/courses/art/sessions", seats=3)
    would = ines.post(f"{BASE}/preview", json={"seats": 2, "times": times(2)}).json()
    assert (would["fits"], would["code"], would["seats"], would["starts_at"]) == (
        False,
        "no_capacity",
        1,
        "2027-03-01T14:00:00Z",
    )
    refused = ines.post(BASE, json={"seats": 2, "times": times(2)})
    assert (refused.status_code, refused.json()["code"]) == (409, "no_capacity")
    first = datetime.fromisoformat(refused.json()["times"][0])
    span = {"starts_at": first.isoformat(), "ends_at": (first + 2 * HOUR).isoformat()}
    assert ines.post(f"{BASE}/preview", json={"seats": 2, "times": [span]}).json()["fits"]
    assert refused.json()["kinds"] == [
        {"model": "T4", "kind": "shared", "memory": would["kinds"][0]["memory"], "seats": 8}
    ]
    for wrong in ({"seats": 2}, {"seats": 0, "times": times(2)}, {"seats": 1, "times": times(2), "colour": "red"}):
        assert ines.post(BASE, json=wrong).status_code == 422
    courses.change(taught.office.desk, "ml", "olga", most_seats=1)
    over = ines.post(BASE, json={"seats": 2, "times": times(8)})
    assert (over.status_code, over.json()["code"]) == (409, "course_limit")


def test_weekly_by_the_clocks_of_a_zone(ines: Visitor) -> None:
    weekly = {
        "weekdays": [0],
        "begins": "09:00",
        "minutes": 90,
        "zone": "Europe/Berlin",
        "first": "2027-03-15",
        "last": "2027-04-12",
        "skipped": ["2027-03-29"],
    }
    made = booked(ines, times=[], weekly=weekly)
    assert [one["starts_at"] for one in made] == [
        "2027-03-15T08:00:00Z",
        "2027-03-22T08:00:00Z",
        "2027-04-05T07:00:00Z",
        "2027-04-12T07:00:00Z",
    ]
    assert {one["ends_at"][11:16] for one in made} == {"09:30", "08:30"}
    for wrong in ({"zone": "Mars"}, {"weekdays": [7]}, {"begins": "09:00Z"}):
        assert ines.post(BASE, json={"seats": 1, "weekly": {**weekly, **wrong}}).status_code == 422, wrong
    empty = ines.post(BASE, json={"seats": 1, "weekly": {**weekly, "last": "2027-03-01"}})
    assert (empty.status_code, empty.json()["code"]) == (409, "invalid_option")


def test_changed_by_who_has_seen_it(ines: Visitor) -> None:
    [made] = booked(ines)
    path = f"{BASE}/{made['id']}"
    seen = ines.get(path).headers["ETag"]
    assert ines.patch(path, json={"seats": 3}).status_code == 428
    assert ines.post(f"{path}/preview", json={"seats": 3}).json()["sessions"][0]["seats"] == 3
    changed = ines.patch(path, json={"seats": 3, "title": "Trees"}, headers={"If-Match": seen})
    assert (changed.json()["seats"], changed.json()["title"], changed.json()["version"]) == (3, "Trees", 2)
    assert ines.patch(path, json={"seats": 1}, headers={"If-Match": seen}).status_code == 412
    assert ines.get(path).headers["ETag"] == changed.headers["ETag"]
    longer = ines.post(f"{path}/extend", json={"minutes": 30}).json()
    assert longer["ends_at"] == "2027-03-01T16:30:00Z"
    many = ines.patch(path, json={"seats": 9}, headers={"If-Match": "*"})
    assert (many.status_code, many.json()["code"], many.json()["seats"]) == (409, "no_capacity", 4)
    off = ines.post(f"{path}/cancel", json={}).json()
    assert [one["phase"] for one in off] == ["cancelled"]
    again = ines.post(f"{path}/cancel", json={})
    assert (again.status_code, again.json()["code"]) == (409, "session_over")


def test_the_list_goes_on(ines: Visitor) -> None:
    made = booked(ines, times=times(2, 26, 50))
    first = ines.get(BASE, params={"limit": 2}).json()
    rest = ines.get(BASE, params={"limit": 2, "cursor": first["next"]}).json()
    assert [one["id"] for one in [*first["items"], *rest["items"]]] == [one["id"] for one in made]
    assert rest["next"] is None
    assert ines.get(BASE, params={"phase": "cancelled"}).json()["items"] == []


def test_who_has_what_when(ines: Visitor, taught: ConsoleStand) -> None:
    [made] = booked(ines)
    kinds = ines.get("api/v1/calendar").json()["kinds"]
    [mine] = next(one for one in kinds if one["kind"] == "exclusive")["bookings"]
    assert (mine["title"], mine["session"], mine["count"]) == ("Machine learning", made["id"], 2)
    kinds = taught.as_user("eve").get("api/v1/calendar", params={"until": "2027-03-02T00:00:00Z"}).json()["kinds"]
    found = next(one for one in kinds if one["kind"] == "exclusive")
    assert [(one["course"], one["title"], one["session"]) for one in found["bookings"]] == [("", "", "")]
    assert [step["reserved"] for step in found["steps"]] == [0, 2, 0]
    for wrong in ({"until": "2027-02-01T00:00:00Z"}, {"until": "2027-06-01T00:00:00Z"}):
        assert ines.get("api/v1/calendar", params=wrong).status_code == 422


# --- calendars --------------------------------------------------------------------------------------------------------


def events(visitor: Visitor, path: str) -> Mapping[str, Any]:
    """Read a calendar back; its events by UID."""
    answer = visitor.get(path)
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "text/calendar; charset=utf-8"), answer.text
    found = Calendar.from_ical(answer.content)
    assert found["METHOD"] == "PUBLISH"
    for name in ("REFRESH-INTERVAL;VALUE=DURATION", "X-PUBLISHED-TTL"):
        assert f"{name}:PT30M" in answer.text.splitlines()
    return {str(event["UID"]): event for event in found.walk("VEVENT")}


def test_a_calendar_follows_changes(ines: Visitor, taught: ConsoleStand) -> None:
    first, second = booked(ines, times=times(2, 26), title="Trees; forests, 🌲")
    made = taught.as_user("ann").post("api/v1/users/ann/calendar")
    assert made.status_code == 201
    address = urlsplit(made.json()["address"]).path.removeprefix(PREFIX)
    assert address.startswith("calendar/feeds/")
    # Whoever has the address needs no sign-in.
    program = taught.anonymous()
    before = events(program, address)
    assert before.keys() == {f"session-{first['id']}@berth", f"session-{second['id']}@berth"}
    event = before[f"session-{first['id']}@berth"]
    assert event["SUMMARY"] == "Machine learning: Trees; forests, 🌲"
    assert (event["DTSTART"].dt, event["DTEND"].dt) == (NOW + 2 * HOUR, NOW + 4 * HOUR)
    assert event["DTSTART"].to_ical() == b"20270301T140000Z"
    assert (event["SEQUENCE"], event["STATUS"]) == (0, "CONFIRMED")
    assert event["URL"] == f"http://console.test{PREFIX}courses/ml/sessions/{first['id']}"

    moved = {"starts_at": (NOW + 5 * HOUR).isoformat(), "ends_at": (NOW + 6 * HOUR).isoformat()}
    assert ines.patch(f"{BASE}/{first['id']}", json=moved, headers={"If-Match": "*"}).status_code == 200
    assert ines.post(f"{BASE}/{second['id']}/cancel", json={}).status_code == 200
    after = events(program, address)
    assert after.keys() == before.keys()
    event = after[f"session-{first['id']}@berth"]
    assert (event["DTSTART"].dt, event["SEQUENCE"]) == (NOW + 5 * HOUR, 1)
    event = after[f"session-{second['id']}@berth"]
    assert (event["STATUS"], event["SEQUENCE"]) == ("CANCELLED", 1)
    # What is long over leaves it; what others have is never in it.
    booked(taught.as_instructor("ida"), "api/v1/courses/art/sessions", times=times(60))
    assert events(program, address).keys() == before.keys()
    taught.office.wait(timedelta(days=70))
    assert events(program, address) == {}


def test_the_address_of_a_calendar_is_a_secret(ines: Visitor, taught: ConsoleStand) -> None:
    booked(ines)
    ann, path = taught.as_user("ann"), "api/v1/users/ann/calendar"
    assert ann.get(path).status_code == 404
    first = ann.post(path).json()
    assert ann.get(path).json() == first
    program, address = taught.anonymous(), urlsplit(first["address"]).path.removeprefix(PREFIX)
    assert events(program, address)
    for other in (taught.as_admin(), ines, taught.as_service("cron", ["custom:berth:self"])):
        assert other.get(path).status_code == 403
        assert other.post(path).status_code == 403
        assert other.delete(path).status_code == 403
    feed_id, _, mark = address.removeprefix("calendar/feeds/").removesuffix(".ics").partition("-")
    for wrong in (f"{feed_id}-{mark[:-1]}0.ics", f"{feed_id}-.ics", f"{feed_id}.ics", "-.ics", "é-ü.ics", "%00-x"):
        assert program.get(f"calendar/feeds/{wrong}").status_code == 404, wrong
    # The ledger alone opens none: what it has is only half of the address.
    assert mark not in str(taught.office.tables()["feeds"])
    second = ann.post(path).json()
    assert second["address"] != first["address"]
    assert program.get(address).status_code == 404
    address = urlsplit(second["address"]).path.removeprefix(PREFIX)
    assert events(program, address)
    assert ann.delete(path).status_code == 204
    assert program.get(address).status_code == 404
    assert ann.delete(path).status_code == 404
    actions = [one.action for one in taught.office.audit() if one.subject == "calendar ann"]
    assert actions == ["calendar.make", "calendar.renew", "calendar.withdraw"]


def test_whoever_the_hub_no_longer_knows_has_no_calendar(ines: Visitor, taught: ConsoleStand) -> None:
    address = taught.as_user("gus").post("api/v1/users/gus/calendar").json()["address"]
    path = urlsplit(address).path.removeprefix(PREFIX)
    del taught.hub.users["gus"]
    assert taught.anonymous().get(path).status_code == 404


def test_a_course_is_exported(ines: Visitor, taught: ConsoleStand) -> None:
    made = booked(ines, times=times(2, 26))
    assert ines.post(f"{BASE}/{made[0]['id']}/cancel", json={}).status_code == 200
    found = events(ines, f"{BASE}.ics")
    assert [str(one["STATUS"]) for one in found.values()] == ["CANCELLED", "CONFIRMED"]
    assert found[f"session-{made[1]['id']}@berth"]["DESCRIPTION"].startswith("Seats: 2")
    answer = taught.as_user("ann").get(f"{BASE}.ics")
    assert answer.headers["Content-Disposition"] == 'attachment; filename="ml.ics"'
    assert taught.as_user("eve").get(f"{BASE}.ics").status_code == 404
    # A link on the page leads there.
    page = taught.signed_in("ann")
    assert f"{PREFIX}{BASE}.ics" in page.get("courses/ml/sessions").text
    assert events(page, f"{BASE}.ics").keys() == found.keys()
