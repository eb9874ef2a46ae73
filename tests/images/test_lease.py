"""A lease as its holder meets it: JupyterLab in a real browser, the image's server, and a hub at the wire."""

import json
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests
from playwright.sync_api import Browser, Page, Route, expect

from ..support import nvml
from ..support.lease_hub import LeaseHub, answer, message
from ..support.waiting import eventually
from .labs import TOASTS, Lab, browser, hub, open_lab, page, serve, toast, until

__all__ = ["browser", "hub", "page", "serve"]

pytestmark = [pytest.mark.docker, pytest.mark.image, pytest.mark.browser, pytest.mark.timeout(600)]

STATUS = ".berth-Lease-button"
SIMULATED = {"BERTH_GPU_COUNT": "1", "BERTH_GPU_SIMULATED": "1"}
HALF_AN_HOUR = message("end-30", "Your GPU lease ends in 30 minutes.", "extend", "release")


def _save(page: Page, lab: Lab, **body: object) -> dict[str, Any]:
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(lab.ask, "berth/save", "POST", body)
        until(page, asked.done, 30)
        return dict(asked.result().json())


def test_the_lease_and_its_warnings_are_shown(serve: Callable[..., Lab], hub: LeaseHub, page: Page) -> None:
    lab = serve(**SIMULATED)
    hub.answer = answer(simulated=True, left_seconds=5400)
    open_lab(page, lab)
    item = page.locator(STATUS)
    expect(item).to_have_text(
        re.compile(r"^Simulated GPU: NVIDIA A100-SXM4-80GB \(hardware\) · 1 h (29|30) min left$"), timeout=30_000
    )
    expect(page.locator(".berth-Lease-live")).to_have_text(re.compile("^Simulated GPU: NVIDIA A100.* is leased until"))
    assert page.locator(".berth-Lease-live").get_attribute("aria-live") == "polite"
    # Each warning takes the place of the one before, as the hub takes it back.
    for minutes, level in ((30, "info"), (10, "warning"), (2, "error")):
        text = f"Your GPU lease ends in {minutes} minutes."
        hub.answer = answer(
            message(f"end-{minutes}", text, "extend", "release", level=level), left_seconds=minutes * 60
        )
        expect(toast(page, text)).to_be_visible(timeout=15_000)
        expect(page.locator(TOASTS)).to_have_count(1)
        expect(toast(page, text).get_by_role("button", name="Release GPU")).to_be_visible()
        expect(toast(page, text).get_by_role("alert")).to_be_visible()
    expect(item).to_have_text(re.compile(r"· 1:\d\d left$"))
    # What was put away stays away, in this tab and after a reload.
    page.locator(TOASTS).get_by_role("button", name="Hide notification").click()
    expect(page.locator(TOASTS)).to_have_count(0)
    asked = hub.count("GET /hub/api/berth/lease")
    until(page, lambda: hub.count("GET /hub/api/berth/lease") > asked + 1)
    expect(page.locator(TOASTS)).to_have_count(0)
    # By hand and by keyboard: all about the lease.
    item.focus()
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("The whole GPU is yours.")
    expect(dialog).to_contain_text("the server restarts without a GPU")
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    assert "Traceback" not in lab.log


def test_one_click_extends_and_a_refusal_is_told(serve: Callable[..., Lab], hub: LeaseHub, page: Page) -> None:
    lab = serve(**SIMULATED)
    hub.answer = answer(HALF_AN_HOUR, left_seconds=1800, poll_seconds=600)
    open_lab(page, lab)
    hub.extend = (403, {"message": "Two people wait for this GPU.", "reason": "others_wait"})
    toast(page, "ends in 30 minutes").get_by_role("button", name="Extend").click(timeout=30_000)
    expect(toast(page, "Two people wait for this GPU.")).to_be_visible()
    assert hub.heard["extend"] == [{"hours": None}]

    hub.extend = (200, {"ends_at": hub.answer["lease"]["ends_at"], "text": "Extended by two hours."})
    hub.answer = answer(left_seconds=9000, poll_seconds=600)
    page.locator(STATUS).click()
    page.get_by_role("dialog").get_by_role("button", name="Extend").click()
    expect(toast(page, "Extended by two hours.")).to_be_visible()
    # Seen at once, long before the server asks again by itself.
    expect(page.locator(STATUS)).to_have_text(re.compile(r"2 h (29|30) min left$"))
    assert len(hub.heard["extend"]) == 2

    hub.stop()
    page.locator(STATUS).click()
    page.get_by_role("dialog").get_by_role("button", name="Extend").click()
    expect(toast(page, "The hub does not answer at the moment.")).to_be_visible()


def _edit_notebook(page: Page, lab: Lab, name: str, text: str) -> None:
    cell: dict[str, Any] = {
        "cell_type": "code",
        "id": "a",
        "metadata": {},
        "outputs": [],
        "execution_count": None,
        "source": "",
    }
    kernel = {"name": "python3", "display_name": "TensorFlow 2.9", "language": "python"}
    content = {"cells": [cell], "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}
    assert lab.ask(f"api/contents/{name}", "PUT", {"type": "notebook", "format": "json", "content": content}).ok
    open_lab(page, lab, f"lab/tree/{name}?reset")
    editor = page.locator(".jp-Notebook:visible .cm-content").first
    expect(editor).to_be_visible(timeout=30_000)
    expect(page.locator("#jp-main-statusbar")).to_contain_text("| Idle", timeout=60_000)
    editor.fill(text)
    expect(page.locator(".jp-mod-dirty").first).to_be_visible()


def _source(lab: Lab, name: str) -> str:
    return str(lab.ask(f"api/contents/{name}").json()["content"]["cells"][0]["source"])


def test_saving_saves_what_has_changed(serve: Callable[..., Lab], hub: LeaseHub, browser: Browser, page: Page) -> None:
    lab = serve(**SIMULATED)
    assert lab.ask("berth/save", "POST").json() == {"pages": 0, "answered": 0, "saved": 0, "failed": 0, "unsaved": []}
    _edit_notebook(page, lab, "train.ipynb", "epochs = 41")
    editor = page.locator(".jp-Notebook:visible .cm-content").first
    editor.fill("epochs = 42")
    expect(page.locator(".jp-mod-dirty").first).to_be_visible()
    done = _save(page, lab, seconds=10, reason="The GPU lease has ended.")
    assert done == {"pages": 1, "answered": 1, "saved": 1, "failed": 0, "unsaved": []}
    assert _source(lab, "train.ipynb") == "epochs = 42"
    expect(toast(page, "The GPU lease has ended.")).to_be_visible()

    # What cannot be saved is named, here and there.
    assert lab.container.exec_run(["chmod", "a-w", "/home/jovyan/train.ipynb", "/home/jovyan"]).exit_code == 0
    editor.fill("epochs = 43")
    done = _save(page, lab, seconds=5)
    assert (done["saved"], done["failed"], done["unsaved"]) == (0, 1, ["train.ipynb"])
    expect(toast(page, "Not saved: train.ipynb")).to_be_visible()

    # Nobody in particular may not have it saved.
    assert requests.post(f"{lab.url}berth/save", json={}, timeout=30).status_code == 403
    assert lab.ask("berth/save", "POST", {"seconds": "soon"}).status_code == 400


def test_release_saves_first_and_leads_to_the_hub(serve: Callable[..., Lab], hub: LeaseHub, page: Page) -> None:
    lab = serve(**SIMULATED)
    hub.answer = answer(HALF_AN_HOUR, left_seconds=1800)
    _edit_notebook(page, lab, "work.ipynb", "kept = True")
    toast(page, "ends in 30 minutes").get_by_role("button", name="Release GPU").click(timeout=30_000)
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("Kernels stop")
    dialog.get_by_role("button", name="Keep the GPU").click()
    assert hub.heard["release"] == []
    page.locator(STATUS).click()
    dialog.get_by_role("button", name="Release GPU…").click()
    dialog.get_by_role("button", name="Release and go on without").click()
    until(page, lambda: hub.heard["release"] == [{"at_end": "cpu"}])
    assert _source(lab, "work.ipynb") == "kept = True"
    lab.container.stop(timeout=5)
    page.wait_for_url(re.compile(r"/hub/spawn-pending/ada$"), timeout=30_000, wait_until="commit")


def test_a_hub_that_goes_and_comes_back(serve: Callable[..., Lab], hub: LeaseHub, page: Page) -> None:
    lab = serve(**SIMULATED)
    open_lab(page, lab)
    item = page.locator(STATUS)
    expect(item).to_have_text(re.compile("left$"), timeout=30_000)
    hub.stop()
    expect(item).to_have_text(re.compile("left · hub away$"), timeout=30_000)
    hub.answer = answer(message("hello", "The hub was restarted.", level="info"), left_seconds=4000)
    hub.start()
    expect(toast(page, "The hub was restarted.")).to_be_visible(timeout=60_000)
    expect(item).to_have_text(re.compile("1 h 06 min left$"))
    assert "Traceback" not in lab.log


def test_a_part_that_is_lost_on_its_way_is_fetched_again(serve: Callable[..., Lab], hub: LeaseHub, page: Page) -> None:
    # As a browser loses what it loads when its computer changes networks.
    lab = serve(**SIMULATED)
    lost: list[str] = []

    def lose(route: Route) -> None:
        if len(lost) < 2:
            lost.append(route.request.url)
            route.abort("internetdisconnected")
        else:
            route.fallback()

    page.context.route("**/berth-lab/static/words.js*", lose)
    open_lab(page, lab)
    expect(page.locator(STATUS)).to_have_text(re.compile("left$"), timeout=30_000)
    assert len(lost) == 2


def test_a_hub_without_leases_leaves_no_trace(serve: Callable[..., Lab], hub: LeaseHub, page: Page) -> None:
    hub.answer = None
    lab = serve()
    errors: list[str] = []
    page.on("console", lambda entry: errors.append(entry.text) if entry.type == "error" else None)
    open_lab(page, lab)
    until(page, lambda: hub.count("GET /hub/api/berth/lease") == 1)
    expect(page.locator(".jp-Launcher")).to_be_visible(timeout=30_000)
    expect(page.locator(STATUS)).to_be_hidden()
    expect(page.locator(TOASTS)).to_have_count(0)
    assert lab.ask("berth/lease").json() == {"on": False}
    assert lab.ask("berth/extend", "POST", {}).status_code == 404
    assert not [text for text in errors if "berth" in text]
    assert "berth:" not in lab.log
    assert not any(hub.heard.values())


def test_a_lost_gpu_is_told_and_a_restart_offered(serve: Callable[..., Lab], hub: LeaseHub, page: Page) -> None:
    # A lease of a GPU that is not simulated, in a container into which no driver was put.
    lab = serve(BERTH_GPU_COUNT="1")
    _edit_notebook(page, lab, "long.ipynb", "kept = 1")
    told = toast(page, "libnvidia-ml.so.1 is not in this container")
    expect(told).to_be_visible(timeout=30_000)
    expect(page.locator(STATUS)).to_have_text(re.compile("GPU lost$"))
    assert lab.ask("berth/check").json()["lost"]
    until(page, lambda: any(report["gpu"]["problem"] for report in hub.heard["report"]))
    told.get_by_role("button", name="Save and restart").click()
    page.get_by_role("dialog").get_by_role("button", name="Save and restart").click()
    until(page, lambda: hub.heard["restart"] == [{}])
    assert _source(lab, "long.ipynb") == "kept = 1"
    lab.container.stop(timeout=5)
    page.wait_for_url(re.compile(r"/hub/spawn-pending/ada$"), timeout=30_000, wait_until="commit")


def test_unknown_error_is_a_gpu_lost_and_found_again(
    serve: Callable[..., Lab], hub: LeaseHub, page: Page, tmp_path: Path
) -> None:
    if nvml.why_not():
        pytest.skip(nvml.why_not())
    library = nvml.build(tmp_path)
    script = tmp_path / "script"
    one_gpu = "gpu GPU-1\nname NVIDIA A100-SXM4-80GB\n"
    script.write_text(one_gpu)
    place = f"/usr/lib/x86_64-linux-gnu/{nvml.NAME}"
    mounts = {str(library): {"bind": place, "mode": "ro"}, str(script): {"bind": "/nvml-script", "mode": "ro"}}
    lab = serve(BERTH_GPU_COUNT="1", volumes=mounts, **{nvml.SCRIPT_VARIABLE: "/nvml-script"})
    seen = lab.ask("berth/check").json()
    assert (seen["expected"], seen["seen"], seen["lost"], seen["problem"]) == (1, 1, False, "")
    assert [device["model"] for device in seen["devices"]] == ["NVIDIA A100-SXM4-80GB"]
    open_lab(page, lab)
    expect(page.locator(STATUS)).to_have_text(re.compile("left$"), timeout=30_000)

    script.write_text(f"fail nvmlInit_v2 999\n{one_gpu}")
    assert lab.ask("berth/check").json()["lost"]
    expect(toast(page, "NVML: Unknown Error. This server has lost its GPU")).to_be_visible()
    expect(page.locator(STATUS)).to_have_text(re.compile("GPU lost$"))
    hub.offers_restart = False
    with page.context.expect_page() as opened:
        toast(page, "Unknown Error").get_by_role("button", name="Save and restart").click()
        page.get_by_role("dialog").get_by_role("button", name="Save and restart").click()
    opened.value.wait_for_url(re.compile("/hub/home$"), wait_until="commit")

    script.write_text(one_gpu)
    assert not lab.ask("berth/check").json()["lost"]
    expect(page.locator(STATUS)).to_have_text(re.compile("left$"))
    expect(toast(page, "Unknown Error")).to_have_count(0)


@pytest.mark.parametrize("command", ["berth-singleuser", "jupyterhub-singleuser"])
def test_reports_tell_of_kernels_that_nobody_watches(serve: Callable[..., Lab], hub: LeaseHub, command: str) -> None:
    lab = serve(command, **SIMULATED)
    eventually(lambda: hub.heard["report"], 30)
    first = hub.heard["report"][0]
    assert (first["busy_kernels"], first["last_kernel_activity"]) == (0, None)  # their manager's own start is none
    eventually(lambda: any(report["selfcheck"] for report in hub.heard["report"]), 60)
    (verdict,) = [report["selfcheck"] for report in hub.heard["report"] if report["selfcheck"]]
    assert verdict["ok"], verdict["problems"]
    assert verdict["gpu"]["simulated"]
    assert hub.heard["report"][-1]["gpu"]["seen"] == 1

    kernel = lab.ask("api/kernels", "POST", {"name": "python3"}).json()["id"]
    client = _kernel_script(lab, kernel, "import time; time.sleep(8)")
    assert client.exit_code == 0, client.output
    eventually(lambda: hub.heard["report"][-1]["busy_kernels"] == 1, 30)
    busy = hub.heard["report"][-1]["last_kernel_activity"]
    eventually(lambda: hub.heard["report"][-1]["busy_kernels"] == 0, 60)
    assert hub.heard["report"][-1]["last_kernel_activity"] > busy
    lab.container.stop(timeout=10)
    assert "Traceback" not in lab.log
    assert "pending" not in lab.log


def _kernel_script(lab: Lab, kernel: str, code: str) -> Any:
    """Hand code to a running kernel from beside the server, and leave."""
    program = f"""
import jupyter_client
path = "/home/jovyan/.local/share/jupyter/runtime/kernel-{kernel}.json"
client = jupyter_client.BlockingKernelClient(connection_file=path)
client.load_connection_file()
client.start_channels(hb=False)  # a heartbeat that is late on a busy machine would pass for a death
client.wait_for_ready(timeout=60)
client.execute({json.dumps(code)})
import time; time.sleep(1)
"""
    return lab.container.exec_run(["/opt/jupyter/bin/python", "-c", program])
