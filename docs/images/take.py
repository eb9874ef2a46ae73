"""Take the documentation's screenshots from the real pages: ``.venv/bin/python -m docs.images.take``."""

import re
import tempfile
from pathlib import Path

from playwright.sync_api import Page, expect

from tests.support.berth import deployment
from tests.support.browser import chromium, visitor

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


def main() -> None:
    with (
        tempfile.TemporaryDirectory() as directory,
        deployment(Path(directory)) as berth,
        berth.hub(),
        chromium() as browser,
        visitor(browser) as page,
    ):
        page.set_viewport_size({"width": 1200, "height": 560})
        page.goto(berth.url)
        page.get_by_label("Username:").fill("ann")
        page.get_by_label("Password:").fill(berth.credentials.user_password)
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("heading", name="Start your server")).to_be_visible()
        _take(page, "choose.png")
        page.get_by_role("button", name="Start", exact=True).click()
        page.wait_for_url(re.compile(r"/user/ann/lab"), timeout=120_000)
        page.locator(".jp-LauncherCard[data-category='Notebook']").first.click(timeout=60_000)
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
