"""Take the documentation's screenshots from the real pages: ``.venv/bin/python -m docs.images.take``."""

import io
import json
import re
import tempfile
from datetime import timedelta
from pathlib import Path

from playwright.sync_api import Browser, Page, expect

from spawner.course_directory import Places
from spawner.operations import announcements, courses, handouts, sessions
from spawner.operations.desk import utc_now
from spawner.operations.sessions import Plan
from spawner.policy.classes import Course, Role
from spawner.policy.model import Deny
from tests.support.berth import Berth, deployment, eventually
from tests.support.browser import chromium, visitor
from tests.support.ledger_of import ledger_of

FOLDER = Path(__file__).parent

TRAINING = """\
import tensorflow as tf
x = tf.random.normal((2048, 4)); y = tf.reduce_sum(x, axis=1)
model = tf.keras.Sequential([
    tf.keras.layers.Dense(16, activation="relu"),
    tf.keras.layers.Dense(1),
])
model.compile("adam", "mse")
model.fit(x, y, epochs=2, verbose=2)
print(tf.__version__)"""

GPUS = """\
gpus:
  - {model: A100, memory: 40 GiB, count: 2}
  - {model: A100, memory: 40 GiB, mig: [1g.5gb, 1g.5gb, 1g.5gb]}
"""

PROFILES = [
    {"slug": "cpu", "name": "CPU", "description": "For notebooks and small models.", "cpu": 1, "memory": "2 GiB"},
    {"slug": "small", "name": "Small GPU", "description": "For classes and first tries.", "cpu": 2, "memory": "4 GiB"}
    | {"gpus": 1, "gpu_kinds": ["mig"]},
    {"slug": "gpu", "name": "GPU", "description": "For training.", "cpu": 2, "memory": "6 GiB"}
    | {"gpus": 1, "gpu_kinds": ["exclusive"]},
]


def main() -> None:
    with chromium() as browser:
        take_the_walk(browser)
        take_the_choice(browser)
        take_the_seat(browser)


def take_the_choice(browser: Browser) -> None:
    """The spawn form of a hub with several kinds of GPUs, of which others hold some."""
    with tempfile.TemporaryDirectory() as directory, visitor(browser) as page:
        gpus = Path(directory) / "gpus.yaml"
        gpus.write_text(GPUS, encoding="utf-8")
        variables = {
            "BERTH_GPUS": f"sim:{gpus}",
            "BERTH_PROFILES": json.dumps(PROFILES),
            "BERTH_LIMITS": json.dumps({"default": {"gpus": 2, "gpu_hours": 40}}),
        }
        with deployment(Path(directory) / "berth", **variables) as berth, berth.hub():
            for user, profile, count in (("bob", "gpu", 2), ("cyd", "small", 1)):
                berth.add_user(user)
                options = {"profile": profile, "gpus": count, "hours": 2, "if_busy": "refuse"}
                eventually(lambda user=user, options=options: berth.start_server(user, options).ok)
            page.set_viewport_size({"width": 1200, "height": 1020})
            _sign_in(page, berth)
            _until_gpus_are_known(page)
            page.get_by_role("radio", name="GPU", exact=True).check()
            expect(page.get_by_role("group", name="If nothing is free")).to_be_visible()
            _take(page, "choose-gpu.png")


def take_the_seat(browser: Browser) -> None:
    """JupyterLab in a lesson: a hand that is raised, what was said, and a file that was sent."""
    with tempfile.TemporaryDirectory() as directory, visitor(browser) as page:
        variables = {"BERTH_GPUS": "none", "BERTH_PROFILES": json.dumps(PROFILES[:1])}
        with deployment(Path(directory), **variables) as berth, berth.hub():
            for user in ("ann", "ines"):
                berth.add_user(user)
            begins = utc_now() - timedelta(minutes=15)
            with ledger_of(berth) as desk:
                courses.create(desk, Course("ml", "Machine learning", "cpu", "", begins), "ines")
                courses.enrol(desk, "ml", ["ann"], Role.STUDENT, "ines", agreed=True)
                planned = sessions.book(desk, Plan("ml", [(begins, begins + timedelta(hours=1))], 1), "ines")
                if isinstance(planned, Deny):
                    raise SystemExit(planned.reason)
                session = planned.sessions[0].id
                announcements.announce(desk, session, "Have a look at week2/data.csv, and plot its second row.", "ines")
                sent = io.BytesIO(b"1,2\n3,4\n")
                handouts.push(desk, Places(berth.state.courses), "ml", session, "week2/data.csv", sent, "ines")
            berth.start_server("ann", {}, "ml")
            eventually(lambda: berth.ready("ann", "ml"))
            page.set_viewport_size({"width": 1200, "height": 640})
            _sign_in(page, berth)
            page.goto(f"{berth.url}/user/ann/ml/lab")
            title = page.locator(".berth-Class-title")
            expect(title).to_contain_text("Machine learning", timeout=60_000)
            title.click()
            expect(page.locator(".berth-ClassPanel")).to_contain_text("data.csv", timeout=60_000)
            page.locator(".berth-Class-hand").click()
            expect(page.locator(".berth-Class-hand")).to_contain_text("1st")
            news = page.get_by_role("button", name="No", exact=True)
            if news.is_visible():
                news.click()
            page.wait_for_timeout(10_000)  # what popped up has gone
            _take(page, "lab-class.png")


def _sign_in(page: Page, berth: Berth) -> None:
    page.goto(berth.url)
    page.get_by_label("Username:").fill("ann")
    page.get_by_label("Password:").fill(berth.credentials.user_password)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", name="Start your server")).to_be_visible()


def _until_gpus_are_known(page: Page) -> None:
    """The janitor brings them in some seconds after the hub's start."""
    eventually(lambda: page.reload() and page.get_by_text("free now").count())


def take_the_walk(browser: Browser) -> None:
    """A newcomer's first minutes."""
    with (
        tempfile.TemporaryDirectory() as directory,
        deployment(Path(directory)) as berth,
        berth.hub(),
        visitor(browser) as page,
    ):
        page.set_viewport_size({"width": 1200, "height": 640})
        _sign_in(page, berth)
        _until_gpus_are_known(page)
        _take(page, "choose.png")
        page.get_by_role("button", name="Start", exact=True).click()
        page.wait_for_url(re.compile(r"/user/ann/lab"), timeout=120_000)
        page.locator(".jp-LauncherCard[data-category='Notebook']").first.click(timeout=60_000)
        # Until the kernel answers, the page may still put the file's contents in the place of what was typed.
        expect(page.locator("#jp-main-statusbar")).to_contain_text("| Idle", timeout=60_000)
        page.locator(".jp-Notebook:visible .jp-Cell.jp-mod-active .cm-content").click(timeout=60_000)
        page.keyboard.insert_text(TRAINING)
        page.keyboard.press("Control+Enter")
        expect(page.locator(".jp-Notebook:visible")).to_contain_text("2.9.3", timeout=90_000)
        news = page.get_by_role("button", name="No", exact=True)
        if news.is_visible():
            news.click()
        _take(page, "lab.png")


def _take(page: Page, name: str) -> None:
    page.wait_for_timeout(1500)  # fonts and transitions
    page.screenshot(path=FOLDER / name)


if __name__ == "__main__":
    main()
