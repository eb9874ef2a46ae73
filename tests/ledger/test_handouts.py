"""Join links, messages, pushed files and collections, as both databases keep them."""

from dataclasses import replace

from spawner.ledger import Ledger
from spawner.policy.classes import Role
from spawner.policy.handouts import Announcement, Collected, Delivery, Kind, Outcome, Push
from spawner.policy.joining import Feed, JoinLink

from ..support.office import HOUR, MINUTE, NOW


def test_links(ledger: Ledger) -> None:
    made = JoinLink("t1", "ml", Role.STUDENT, "ines", NOW, NOW + HOUR, 30)
    with ledger.transaction() as books:
        books.links.insert(made)
        books.links.insert(replace(made, token="t2", course="art", cap=None))
        books.links.update(replace(made, used=3, revoked_at=NOW))
    with ledger.reading() as books:
        assert books.links.of_course("ml") == [replace(made, used=3, revoked_at=NOW)]
        assert books.links.get("t2") == replace(made, token="t2", course="art", cap=None)
        assert books.links.get("t3") is None


def test_calendars(ledger: Ledger) -> None:
    with ledger.transaction() as books:
        books.links.put_feed(Feed("ann", "one", NOW))
        books.links.put_feed(Feed("bob", "other", NOW))
        books.links.put_feed(Feed("ann", "two", NOW + HOUR))
        assert not books.links.remove_feed("cyd")
    with ledger.reading() as books:
        assert books.links.feed_of("ann") == books.links.feed("two") == Feed("ann", "two", NOW + HOUR)
        assert (books.links.feed("one"), books.links.feed_of("cyd")) == (None, None)
    with ledger.transaction() as books:
        assert books.links.remove_feed("ann")
    with ledger.reading() as books:
        assert (books.links.feed("two"), books.links.feed("other")) == (None, Feed("bob", "other", NOW))


def test_messages_for_all_and_for_one(ledger: Ledger) -> None:
    def said(name: str, user: str = "", minutes: float = 0, session: str = "s1") -> Announcement:
        return Announcement(name, session, Kind.BROADCAST, "Ünder %s 🙂", "ines", NOW + minutes * MINUTE, user)

    all_of_them = [said("b"), said("a", "ann", 1), said("c", "bob", 2)]
    with ledger.transaction() as books:
        for one in [*reversed(all_of_them), said("d", session="s2")]:
            books.handouts.announce(one)
    with ledger.reading() as books:
        assert books.handouts.announcements("s1") == all_of_them
        assert books.handouts.announcements("s1", "ann") == all_of_them[:2]


def test_files_and_what_became_of_them(ledger: Ledger) -> None:
    push = Push("p1", "ml", "s1", "week 2/data.csv", "ab" * 32, 1 << 40, "ines", NOW)
    first = Delivery("p1", "ann", NOW, Outcome.FAILED, "", "The disk is full.")
    later = Delivery("p1", "ann", NOW + MINUTE, Outcome.BESIDE, "week 2/data.1.csv")
    other = Delivery("p1", "bob", NOW, Outcome.WRITTEN, "week 2/data.csv")
    with ledger.transaction() as books:
        books.handouts.push(push)
        books.handouts.deliver([first, other])
        books.handouts.deliver([later])
        books.handouts.deliver([])
    with ledger.reading() as books:
        assert books.handouts.pushes("ml") == [push]
        assert books.handouts.pushes("art") == []
        assert books.handouts.get_push("p1") == push
        assert books.handouts.get_push("p2") is None
        assert books.handouts.deliveries(["p1"]) == [later, other]
        assert books.handouts.deliveries(["p1", "p2"], "bob") == [other]


def test_collections(ledger: Ledger) -> None:
    ann = Collected("c1", "s1", "ann", "work", NOW, "s1/ann.tar.gz", 12, 1 << 40, "cd" * 32)
    again = replace(ann, id="c2", taken_at=NOW + MINUTE, problem="One file could not be read.")
    with ledger.transaction() as books:
        books.handouts.collect(again)
        books.handouts.collect(ann)
        books.handouts.collect(replace(ann, id="c3", session="s2"))
    with ledger.reading() as books:
        assert books.handouts.collected("s1") == [ann, again]
