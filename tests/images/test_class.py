"""A class as a student meets it in JupyterLab: help, messages, sent files, materials, visitors, the end."""

import hashlib
import re
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests
from playwright.sync_api import Browser, Page, expect

from ..support.browser import axe, visitor
from ..support.lease_hub import TOKEN, LeaseHub, announcement, answer, class_answer, message
from ..support.waiting import eventually
from .labs import TOASTS, Lab, browser, hub, open_lab, page, serve, toast, until

__all__ = ["browser", "hub", "page", "serve"]

pytestmark = [pytest.mark.docker, pytest.mark.image, pytest.mark.browser, pytest.mark.timeout(600)]

TITLE = ".berth-Class-title"
HAND = ".berth-Class-hand"
PANEL = ".berth-ClassPanel"
COURSE = {"BERTH_COURSE": "ml", "BERTH_COURSE_FOLDER": "ml"}


def _git(folder: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=Ines", "-c", "user.email=ines@example.org"]
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


class Course:
    """A course's directory, as the janitor keeps it and a seat's container sees it."""

    def __init__(self, path: Path) -> None:
        self._pushes, self._bare, self._work = path / "pushes", path / "materials.git", path / "work"
        for folder in (self._pushes, self._work):
            folder.mkdir(parents=True)
        _git(self._work, "init", "--quiet", "-b", "main")
        _git(path, "init", "--quiet", "--bare", "-b", "main", str(self._bare))
        self._path = path

    @property
    def volumes(self) -> dict[str, Any]:
        return {
            str(self._pushes): {"bind": "/opt/berth/course/pushes", "mode": "ro"},
            str(self._bare): {"bind": "/opt/berth/course/materials.git", "mode": "ro"},
        }

    def teach(self, **files: str) -> None:
        """Change the materials."""
        for name, content in files.items():
            (self._work / f"{name}.txt").write_text(content)
        _git(self._work, "add", ".")
        _git(self._work, "commit", "--quiet", "-m", "new")
        _git(self._work, "push", "--quiet", str(self._bare), "main")

    def push(self, name: str, path: str, content: bytes) -> dict[str, Any]:
        sha256 = hashlib.sha256(content).hexdigest()
        (self._pushes / sha256).write_bytes(content)
        (self._pushes / sha256).chmod(0o644)
        return {"id": name, "path": path, "sha256": sha256, "size": len(content)}


@pytest.fixture
def course(tmp_path: Path) -> Course:
    return Course(tmp_path / "course")


def _sent(push: dict[str, Any], outcome: str, path: str, problem: str = "") -> dict[str, Any]:
    values = {"path": path, "sent_as": push["path"], "by": "ines", "outcome": outcome, "problem": problem}
    return {"id": push["id"], **values, "at": announcement("", "")["at"]}


def _files(lab: Lab, *names: str) -> list[str]:
    return [_shell(lab, f"cat ~/{name}") for name in names]


def _shell(lab: Lab, script: str) -> str:
    done = lab.container.exec_run(["sh", "-c", script])
    assert isinstance(done.output, bytes)
    assert done.exit_code == 0, done.output
    return done.output.decode()


def test_hands_messages_and_the_end(serve: Callable[..., Lab], hub: LeaseHub, page: Page) -> None:
    hub.answer = class_answer()
    lab = serve(**COURSE)
    open_lab(page, lab)
    title, hand, panel = page.locator(TITLE), page.locator(HAND), page.locator(PANEL)
    expect(title).to_have_text(re.compile(r"^Machine learning · 4[12] min left$"), timeout=30_000)
    expect(hand).to_have_text("Raise hand")
    expect(hand).to_have_attribute("aria-pressed", "false")
    expect(page.locator(".berth-Lease-button")).to_be_hidden()

    # By keyboard; the place is shown, and told to those who do not see it.
    hub.hand = (200, {"raised": True, "place": 2})
    hand.focus()
    page.keyboard.press("Enter")
    hub.answer = class_answer(hand={"raised": True, "place": 2})
    expect(hand).to_have_text("Hand raised: you are 2nd")
    expect(hand).to_have_attribute("aria-pressed", "true")
    expect(page.locator(".berth-Class-live")).to_have_text("Your hand is raised. You are 2nd.")
    assert hub.heard["hand"] == [{"raised": True, "by": "ada"}]
    hub.answer = class_answer(hand={"raised": True, "place": 1})
    expect(hand).to_have_text("Hand raised: you are 1st")
    hub.hand = (200, {"raised": False, "place": None})
    hand.click()
    hub.answer = class_answer()
    expect(hand).to_have_text("Raise hand")
    assert hub.heard["hand"][1:] == [{"raised": False, "by": "ada"}]
    hub.hand = (403, {"message": "This server is no seat of a class that meets now.", "reason": "no_session"})
    hand.click()
    refused = toast(page, "This server is no seat")
    expect(refused).to_be_visible()
    refused.get_by_role("button", name="Hide notification").click()

    # Four messages: the last three are shown, and all of them are kept.
    said = [announcement(f"m{number}", f"Open part {number}.", ago=60 - number) for number in range(1, 5)]
    said[2] = announcement("m3", "Save\nyour work.", "personal", ago=57)
    # Of Berth's own only the last counts.
    said.insert(2, announcement("n1", "The session ends in 50 minutes.", "notice", "janitor", ago=58))
    hub.answer = class_answer(
        messages=[*said, announcement("n2", "The session ends in 40 minutes.", "notice", "janitor", ago=1)]
    )
    expect(toast(page, "Berth: The session ends in 40 minutes.")).to_be_visible()
    expect(toast(page, "50 minutes")).to_have_count(0)
    hub.answer = class_answer(messages=said)
    expect(toast(page, "ines: Open part 4.")).to_be_visible()
    expect(toast(page, "ines, to you: Save")).to_be_visible()
    expect(toast(page, "Open part 1.")).to_have_count(0)
    expect(title).to_have_text(re.compile(r"5 new$"))
    title.focus()
    page.keyboard.press("Enter")
    expect(panel.get_by_role("listitem")).to_have_count(5)
    expect(panel.get_by_role("listitem").first).to_contain_text("Open part 4.")
    expect(panel).to_contain_text("Machine learning: Week 2")
    assert axe(page, within=[PANEL, ".berth-Class"]) == []
    expect(title).not_to_have_text(re.compile("new"))
    expect(page.locator(TOASTS)).to_have_count(0)
    hub.hand = (200, {"raised": True, "place": 1})
    panel.get_by_role("button", name="Raise hand").click()
    until(page, lambda: len(hub.heard["hand"]) == 4)

    # The end is told without a lease.
    warning = message("end-2", "Machine learning ends in 2 min: open documents are saved, and this server stops.")
    hub.answer = class_answer(warning, messages=said, left_seconds=115)
    expect(toast(page, "ends in 2 min")).to_be_visible()
    expect(title).to_have_text(re.compile(r"^Machine learning · 1:\d\d left$"))
    hub.answer = {**class_answer(), "class": None}
    expect(title).to_be_hidden()
    expect(panel).to_have_count(0)
    expect(page.locator(TOASTS)).to_have_count(0)
    assert "Traceback" not in lab.log


def test_what_a_notification_cannot_show_can_be_read(serve: Callable[..., Lab], hub: LeaseHub, page: Page) -> None:
    long = "Put the data beside the notebook. " * 10
    said = [announcement("m1", f"{long}Then begin."), announcement("m2", "Short.")]
    hub.answer = class_answer(messages=said)
    lab = serve(**COURSE)
    open_lab(page, lab)
    told = toast(page, "Put the data")
    expect(told).to_be_visible(timeout=30_000)
    expect(told).not_to_contain_text("Then begin.")
    expect(toast(page, "Short.").get_by_role("button", name="Read it all")).to_have_count(0)
    told.get_by_role("button", name="Read it all").click()
    expect(page.locator(PANEL)).to_contain_text("Then begin.")
    # What the panel does not have is shown by itself.
    expect(page.locator(TOASTS)).to_have_count(0)
    hub.answer = class_answer(message("l1", f"{long}The lease ends."), messages=said)
    toast(page, "Put the data").get_by_role("button", name="Read it all").click()
    whole = page.get_by_role("dialog")
    expect(whole).to_contain_text("The lease ends.")
    whole.get_by_role("button", name="Close").click()
    expect(whole).to_have_count(0)


def test_a_lease_tells_the_time_for_both(serve: Callable[..., Lab], hub: LeaseHub, page: Page) -> None:
    lease = answer(simulated=True, left_seconds=2520)
    hub.answer = {**class_answer(), "lease": lease["lease"]}
    lab = serve(BERTH_GPU_COUNT="1", BERTH_GPU_SIMULATED="1")
    open_lab(page, lab)
    expect(page.locator(TITLE)).to_have_text("Machine learning", timeout=30_000)
    expect(page.locator(".berth-Lease-button")).to_have_text(re.compile("4[12] min left$"))
    hub.answer = {**class_answer(staff=True), "lease": lease["lease"]}
    expect(page.locator(HAND)).to_be_hidden()


def test_sent_files_come_and_are_told(serve: Callable[..., Lab], hub: LeaseHub, page: Page, course: Course) -> None:
    hub.answer = class_answer()
    lab = serve(volumes=course.volumes, **COURSE)
    assert lab.ask("api/contents/mine.txt", "PUT", {"type": "file", "format": "text", "content": "my work"}).ok
    new, known = course.push("p1", "week2/data.csv", b"1,2\n"), course.push("p2", "mine.txt", b"theirs")
    late = {**course.push("p3", "late.csv", b"x"), "sha256": "0" * 64}
    hub.answer = class_answer(pushes=[new, known, late])
    eventually(lambda: hub.heard["deliveries"], 30)
    assert hub.heard["deliveries"][0]["items"] == [
        {"push": "p1", "outcome": "written", "path": "week2/data.csv", "problem": ""},
        {"push": "p2", "outcome": "beside", "path": "mine.1.txt", "problem": ""},
        {"push": "p3", "outcome": "failed", "path": "late.csv", "problem": "The file is not there yet."},
    ]
    assert _files(lab, "week2/data.csv", "mine.txt", "mine.1.txt") == ["1,2\n", "my work", "theirs"]
    # Where the word was lost it is said again, and nothing is put there a second time; a failure is not repeated.
    eventually(lambda: len(hub.heard["deliveries"]) > 2, 30)
    assert [item["outcome"] for item in hub.heard["deliveries"][-1]["items"]] == ["written", "beside"]

    files = [_sent(new, "written", "week2/data.csv"), _sent(known, "beside", "mine.1.txt")]
    hub.answer = class_answer(files=[*files, _sent(late, "failed", "late.csv", "The disk is full.")])
    open_lab(page, lab)
    expect(toast(page, "You have a file of that name, which stays; the new one is mine.1.txt.")).to_be_visible(
        timeout=30_000
    )
    expect(toast(page, "could not be put into your home: The disk is full.")).to_be_visible()
    toast(page, "ines has sent week2/data.csv.").get_by_role("button", name="Open").click()
    expect(page.get_by_role("tab", name="data.csv")).to_be_visible()
    page.locator(TITLE).click()
    page.locator(PANEL).get_by_role("button", name="Open mine.1.txt").click()
    expect(page.get_by_role("tab", name="mine.1.txt")).to_be_visible()
    hub.answer = class_answer(withheld=2)
    expect(page.locator(".berth-ClassPanel-withheld")).to_contain_text("2 files of your class wait for your yes")
    assert "Traceback" not in lab.log


def test_who_is_there_is_told_to_both(serve: Callable[..., Lab], hub: LeaseHub, browser: Browser, page: Page) -> None:
    hub.visitors["ines-token"] = "ines"
    hub.answer = class_answer()
    lab = serve(**COURSE)
    eventually(lambda: hub.heard["report"], 30)
    assert {name: hub.heard["report"][-1][name] for name in ("present", "visitors", "active_seconds")} == {
        "present": False,
        "visitors": [],
        "active_seconds": None,
    }
    open_lab(page, lab)
    until(page, lambda: hub.heard["report"][-1]["present"])
    assert hub.heard["report"][-1]["active_seconds"] < 30
    with visitor(browser) as other:
        other.context.set_extra_http_headers({"Authorization": "token ines-token"})
        open_lab(other, lab)
        until(other, lambda: hub.heard["report"][-1]["visitors"] == ["ines"])
        visit = announcement("v1", "ines has opened your server.", "visit")
        hub.answer = class_answer(messages=[visit], hand={"raised": True, "place": 1})
        expect(toast(page, "ines has opened your server.")).to_be_visible()
        page.locator(TITLE).click()
        expect(page.locator(".berth-ClassPanel-visitors")).to_have_text("ines is in your server.")
        # She sees whose it is, is not told of herself, and may lower the hand.
        expect(other.locator(HAND)).to_have_text("Lower the hand of ada")
        other.locator(TITLE).click()
        expect(other.locator(".berth-ClassPanel-visitors")).to_have_text("You are in the server of ada, who is told.")
        expect(other.locator(TOASTS)).to_have_count(0)
        # In her own name; raising it is not offered.
        other.locator(HAND).click()
        until(other, lambda: hub.heard["hand"] == [{"raised": False, "by": "ines"}])
        hub.answer = class_answer(messages=[visit])
        expect(other.locator(HAND)).to_be_hidden()
    until(page, lambda: hub.heard["report"][-1]["visitors"] == [], 90)
    expect(page.locator(".berth-ClassPanel-visitors")).to_be_hidden(timeout=30_000)
    # A page that comes back by itself, as when a server has started anew, is nobody.
    lab.container.restart(timeout=5)
    eventually(lab.answers, 60)
    hub.heard["report"].clear()
    until(page, lambda: lab.ask("berth/lease").json()["on"], 60)
    with ThreadPoolExecutor(1) as pool:
        back = pool.submit(eventually, lambda: lab.ask("berth/save", "POST", {}).json()["pages"] == 1, 90)
        until(page, back.done, 100)
        back.result()
    until(page, lambda: len(hub.heard["report"]) >= 3, 60)
    assert not hub.heard["report"][-1]["present"]
    page.mouse.click(640, 400)
    until(page, lambda: hub.heard["report"][-1]["present"])


def test_nobody_comes_unseen(serve: Callable[..., Lab], hub: LeaseHub) -> None:
    """Who asks for a file needs no page; a short visit is told like a long one, and by a hub that was away."""
    hub.visitors["ines-token"] = "ines"
    hub.answer = class_answer()
    lab = serve(**COURSE)
    eventually(lambda: hub.heard["report"], 30)

    def visit(token: str) -> int:
        headers = {"Authorization": f"token {token}"}
        return requests.get(f"{lab.url}api/contents", headers=headers, timeout=30).status_code

    def visitors() -> list[list[str]]:
        return [report["visitors"] for report in hub.heard["report"]]

    # Neither the owner, nor the seat with its own token, nor who is not let in.
    assert [visit(TOKEN), visit("nobodys"), requests.get(f"{lab.url}api", timeout=30).status_code] == [200, 403, 200]
    reports = len(hub.heard["report"])
    eventually(lambda: len(hub.heard["report"]) >= reports + 2, 30)
    assert not any(visitors())
    assert visit("ines-token") == 200
    eventually(lambda: ["ines"] in visitors(), 10)
    # Many requests are few reports.
    reports = len(hub.heard["report"])
    assert {visit("ines-token") for _ in range(100)} == {200}
    assert len(hub.heard["report"]) - reports < 20
    eventually(lambda: visitors()[-1] == [], 90)
    hub.stop()
    assert visit("ines-token") == 200  # it is remembered who she is
    hub.heard["report"].clear()
    time.sleep(40)
    hub.start()
    eventually(lambda: ["ines"] in visitors(), 90)


def test_materials_come_and_are_merged(serve: Callable[..., Lab], hub: LeaseHub, page: Page, course: Course) -> None:
    course.teach(first="one\n", second="two\n")
    hub.answer = class_answer()
    lab = serve(volumes=course.volumes, **COURSE)
    eventually(lambda: lab.ask("berth/lease").json().get("class", {}).get("materials", {}).get("state") == "new", 60)
    assert _files(lab, "ml/first.txt", "ml/second.txt") == ["one\n", "two\n"]
    _shell(lab, "cd ~/ml && echo mine > first.txt && rm second.txt && echo own > third.txt")
    course.teach(first="changed\n", third="three\n")
    open_lab(page, lab)
    page.locator(TITLE).click(timeout=30_000)
    panel = page.locator(PANEL)
    expect(panel).to_contain_text("The course's materials are in the folder ml.")
    panel.get_by_role("button", name="Get them again").click()
    expect(toast(page, "have been brought up to date")).to_be_visible(timeout=30_000)
    assert _files(lab, "ml/first.txt", "ml/second.txt", "ml/third.txt") == ["mine\n", "two\n", "three\n"]
    assert _files(lab, "ml/third__*.txt") == ["own\n"]
    panel.get_by_role("button", name="Open the folder").click()
    expect(page.locator(".jp-DirListing-item").filter(has_text="first.txt")).to_be_visible()
    # The ordinary link of nbgitpuller reads them too.
    page.goto(f"{lab.url}git-pull?repo=file:///opt/berth/course/materials.git&targetpath=link&urlpath=lab/tree/link")
    page.wait_for_url(re.compile("/lab/tree/link"), timeout=60_000)
    assert _files(lab, "link/first.txt") == ["changed\n"]
    assert "Traceback" not in lab.log


def test_what_was_typed_meanwhile_is_merged_and_what_is_new_is_shown(
    serve: Callable[..., Lab], hub: LeaseHub, page: Page, course: Course
) -> None:
    lines = [f"line {number}" for number in range(20)]
    course.teach(first="\n".join(lines), second="two\n")
    hub.answer = class_answer()
    lab = serve(volumes=course.volumes, **COURSE)
    eventually(lambda: lab.ask("berth/lease").json().get("class", {}).get("materials", {}).get("state") == "new", 60)
    open_lab(page, lab, "lab/tree/ml/second.txt?reset")
    open_lab(page, lab, "lab/tree/ml/first.txt")
    text = page.locator(".jp-FileEditor:visible .cm-content")
    text.click(timeout=30_000)
    page.keyboard.press("Control+Home")
    page.keyboard.type("typed just now, ")
    course.teach(first="\n".join([*lines[:-1], "by staff"]), second="two, by staff\n")
    page.locator(TITLE).click()
    page.locator(PANEL).get_by_role("button", name="Get them again").click()
    expect(toast(page, "have been brought up to date")).to_be_visible(timeout=30_000)
    [merged] = _files(lab, "ml/first.txt")
    assert merged.startswith("typed just now, line 0\n")
    assert merged.endswith("\nby staff")
    expect(text).to_contain_text("typed just now, line 0")
    expect(text).to_contain_text("by staff")
    # It can be gone on with: nobody is asked which of the two it shall be.
    text.click()
    page.keyboard.press("Control+Home")
    page.keyboard.type("and more, ")
    page.keyboard.press("Control+s")
    until(page, lambda: _files(lab, "ml/first.txt")[0].startswith("and more, typed just now"), 30)
    expect(page.get_by_role("dialog")).to_have_count(0)
    assert "Traceback" not in lab.log


def test_what_cannot_be_saved_is_not_merged(
    serve: Callable[..., Lab], hub: LeaseHub, page: Page, course: Course
) -> None:
    course.teach(first="one\n")
    hub.answer = class_answer()
    lab = serve(volumes=course.volumes, **COURSE)
    eventually(lambda: lab.ask("berth/lease").json().get("class", {}).get("materials", {}).get("state") == "new", 60)
    open_lab(page, lab, "lab/tree/ml/first.txt?reset")
    page.locator(".jp-FileEditor .cm-content").click(timeout=30_000)
    page.keyboard.type("mine, ")
    _shell(lab, "chmod a-w ~/ml ~/ml/first.txt")
    course.teach(first="staff\n")
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(lab.ask, "berth/materials", "POST", {})
        until(page, asked.done, 60)
        answer = asked.result().json()
    problem = "These files are open and could not be saved: ml/first.txt."
    assert answer == {"state": "failed", "folder": "ml", "problem": problem}
    expect(toast(page, f"could not be fetched. {problem}")).to_be_visible()
    assert _files(lab, "ml/first.txt") == ["one\n"]


def test_what_is_wrong_with_materials_is_told_and_stops_nobody(
    serve: Callable[..., Lab], hub: LeaseHub, page: Page, course: Course
) -> None:
    course.teach(first="one\n")
    hub.answer = class_answer()
    lab = serve(
        "sh", "-c", "mkdir ~/ml; echo own > ~/ml/own.txt; exec berth-singleuser", volumes=course.volumes, **COURSE
    )
    open_lab(page, lab)
    told = toast(page, "There is something else named ml in your home, which stays as it is.")
    expect(told).to_be_visible(timeout=60_000)
    assert _files(lab, "ml/own.txt") == ["own\n"]
    _shell(lab, "mv ~/ml ~/old")
    told.get_by_role("button", name="Try again").click()
    expect(toast(page, "The course's materials are in the folder ml.")).to_be_visible(timeout=30_000)
    expect(told).to_have_count(0)
    assert _files(lab, "ml/first.txt", "old/own.txt") == ["one\n", "own\n"]


def test_a_full_home_is_told(output: Callable[..., str], course: Course) -> None:
    """And nothing is left of what did not fit."""
    push = course.push("p1", "big.bin", b"x" * 200_000)
    program = f"""
import sys; sys.path.insert(0, "/opt/jupyter/lib/python3.11/site-packages")
import json, os, pathlib
from berth_lab import pushes
home = pathlib.Path("/small")
print(json.dumps(pushes.put({push!r}, home)), os.listdir(home))
"""
    said = output(
        "/opt/jupyter/bin/python",
        "-I",
        "-c",
        program,
        volumes=course.volumes,
        tmpfs={"/small": "size=64k,uid=1000"},
    )
    assert said.strip() == ('{"push": "p1", "outcome": "failed", "path": "big.bin", "problem": "The disk is full."} []')
