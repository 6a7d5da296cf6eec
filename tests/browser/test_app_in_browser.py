"""`depthmask app` in headless Chromium: uploads, results, slider, pointer, keyboard, errors, two pages at once, and no network.

Needs Gradio besides chromium: make test-app.
"""

from __future__ import annotations

import io
import json
import re
import signal
import urllib.error
import urllib.request
import zipfile
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
from driving_app import (
    HEIGHT,
    WIDTH,
    Server,
    choose_model,
    draw_pair,
    find,
    find_all,
    find_button,
    predict,
    read_canvas,
    read_code,
    set_screen,
    upload,
    wait_for,
    wait_for_result,
)
from making_models import save_small_model
from PIL import Image
from starting_chromium import FLAGS, start_chromium
from test_page_in_browser import FIND_LOW_CONTRAST

import depthmask
from depthmask.commands.predict import main as run_predict
from depthmask.serving.predictor import PhotoPrediction

pytestmark = pytest.mark.browser
pytest.importorskip("gradio", reason="make test-app, or pip install -e '.[app]'")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """In a folder with a trained model, which takes the photo alone."""
    folder = tmp_path_factory.mktemp("app")
    (folder / "data" / "models").mkdir(parents=True)
    save_small_model(folder / "data" / "models" / "finetune.safetensors")
    running = Server(folder, "--threads", "1")
    yield running
    running.stop()


@pytest.fixture(scope="module")
def chrome(tmp_path_factory):
    """A browser with a webcam that films a moving pattern, which logs its requests."""
    flags = (*FLAGS, "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
    with start_chromium(tmp_path_factory.mktemp("profile"), flags, {"browser": "ALL", "performance": "ALL"}) as started:
        yield started


@pytest.fixture
def page(chrome, server):
    """The page, opened anew."""
    set_screen(chrome, 1280)
    chrome.get(server.address)
    find(chrome, "#photo input[type=file]")
    find(chrome, ".dm-empty")
    return chrome


def open_shipped(chrome, paths: tuple[Path, Path]) -> PhotoPrediction:
    """Predict a pair on the page with the models that come with depthmask; returns what Python gets for it."""
    choose_model(chrome, "comes with depthmask")
    wait_for(lambda: find_all(chrome, "#background input[type=file]"), "the place for the background")
    upload(chrome, "photo", paths[0])
    upload(chrome, "background", paths[1])
    predict(chrome, paths[0].name)
    return depthmask.load_shipped(True, device="cpu").predict(*paths)


def read_mask(chrome) -> np.ndarray:
    return read_canvas(chrome, "mask")[..., 0]


def count_requests(chrome) -> int:
    return chrome.execute_script("return performance.getEntriesByType('resource').length")


def find_seam(prediction: PhotoPrediction, threshold: float) -> np.ndarray:
    """Where the mask is so near a threshold that rounding to 16 bits may decide."""
    return np.abs(prediction.mask - threshold) < 1e-4


def test_upload_results_slider_and_archive(page, tmp_path):
    from selenium.webdriver.common.keys import Keys

    paths = draw_pair(tmp_path)
    prediction = open_shipped(page, paths)
    sure = ~find_seam(prediction, 0.5)
    assert 0.01 < (prediction.mask >= 0.5).mean() < 0.5
    assert (read_mask(page) == np.where(prediction.mask >= 0.5, 255, 0))[sure].all()
    assert (read_canvas(page, "cutout")[..., 3] == np.where(prediction.mask >= 0.5, 255, 0))[sure].all()
    inside = prediction.mask >= 0.6
    shown, photo = read_canvas(page, "cutout")[..., :3].astype(int), np.asarray(Image.open(paths[0])).astype(int)
    assert np.abs(shown - photo)[inside].mean() < 6  # through JPEG
    # another threshold is another mask, and nothing is asked of the server
    num_requests = count_requests(page)
    slider = find(page, "#threshold")
    slider.send_keys(Keys.HOME)
    assert (read_mask(page) == 255).all()
    slider.send_keys(*[Keys.ARROW_RIGHT] * 30)
    assert find(page, "output[for=threshold]").text == "0.30"
    assert (read_mask(page) == np.where(prediction.mask >= 0.3, 255, 0))[~find_seam(prediction, 0.3)].all()
    assert count_requests(page) == num_requests
    # the archive has that mask, and what predict writes
    address = find(page, ".dm-download").get_attribute("href")
    with urllib.request.urlopen(address) as answer, zipfile.ZipFile(io.BytesIO(answer.read())) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    assert address.split("?")[0].endswith("/dog.zip")
    binary = np.asarray(Image.open(io.BytesIO(files["dog_mask_at_threshold.png"])))
    assert (binary == np.where(prediction.mask >= 0.3, 255, 0)).all()
    grey = np.asarray(Image.open(io.BytesIO(files["dog_mask.png"])))
    assert np.abs(grey.astype(int) - np.round(prediction.mask * 255)).max() <= 1  # another number of threads
    (entry,) = json.loads(files["predictions.json"])["photos"]
    assert (entry["photo"], entry["background"]) == ("dog.png", "dog_background.png")
    # soft edges: the probability as it is
    find(page, "#soft").click()
    assert np.abs(read_mask(page).astype(int) - np.round(prediction.mask * 255)).max() <= 1
    assert not slider.is_enabled() and "soft=true" in find(page, ".dm-download").get_attribute("href")


def test_values_under_the_pointer_and_by_arrow_keys(page, tmp_path):
    from selenium.webdriver import ActionChains
    from selenium.webdriver.common.keys import Keys

    prediction = open_shipped(page, draw_pair(tmp_path))
    frame = find(page, ".dm-depth")
    page.execute_script("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", frame)
    readout = find(page, ".dm-readout")
    assert "Point at a picture" in readout.text

    def read() -> tuple[int, int, float, float]:
        found = re.fullmatch(r"x (\d+), y (\d+): +depth ([\d.]+) m, +mask ([\d.]+)", readout.text)
        assert found, readout.text
        return int(found[1]), int(found[2]), float(found[3]), float(found[4])

    def check(x: int, y: int, depth: float, mask: float) -> None:
        assert depth == pytest.approx(float(prediction.depth[y, x]), abs=0.01)
        assert mask == pytest.approx(float(prediction.mask[y, x]), abs=0.001)

    box = page.execute_script("const b = arguments[0].getBoundingClientRect(); return [b.width, b.height]", frame)
    offset = round((75 - WIDTH / 2) / WIDTH * box[0]), round((90 - HEIGHT / 2) / HEIGHT * box[1])
    ActionChains(page).move_to_element_with_offset(frame, *offset).perform()
    x, y, *values = read()
    assert abs(x - 75) <= 1 and abs(y - 90) <= 1
    check(x, y, *values)
    crosses = find_all(page, ".dm-cross")
    assert len(crosses) == 4 and all(cross.get_attribute("hidden") is None for cross in crosses)
    frame.send_keys(Keys.ARROW_RIGHT, Keys.ARROW_UP, Keys.SHIFT + Keys.ARROW_LEFT)
    assert read()[:2] == (x + 1 - 10, y - 1)
    check(*read())
    frame.send_keys(*[Keys.SHIFT + Keys.ARROW_LEFT] * 20)
    assert read()[:2] == (0, y - 1)


def test_by_keyboard_alone(page, tmp_path):
    from selenium.webdriver.common.keys import Keys

    choose_model(page, "finetune")
    upload(page, "photo", draw_pair(tmp_path, "cat")[0])
    reached = []
    page.execute_script("document.querySelector('#model input').focus()")
    for _ in range(25):
        active = page.switch_to.active_element
        reached.append(active.get_attribute("id"))
        if reached[-1] == "predict":
            break
        active.send_keys(Keys.TAB)
    assert reached[-1] == "predict"
    page.switch_to.active_element.send_keys(Keys.ENTER)
    wait_for_result(page, "cat.png")
    kinds = []
    for _ in range(12):
        page.switch_to.active_element.send_keys(Keys.TAB)
        active = page.switch_to.active_element
        kinds.append(active.get_attribute("id") or active.get_attribute("class") or active.tag_name)
    assert [kind for kind in kinds if "dm-frame" in kind] and {"threshold", "soft", "dm-download"} <= set(kinds), kinds


def test_what_predict_refuses_is_one_line_on_the_page_and_the_last_result_is_gone(page, server, tmp_path, monkeypatch, capfd):
    photo, wall = draw_pair(tmp_path)
    open_shipped(page, (photo, wall))
    archive = find(page, ".dm-download").get_attribute("href")
    damaged = tmp_path / "damaged.png"
    damaged.write_bytes(photo.read_bytes()[:120])
    upload(page, "photo", damaged)
    find(page, "#predict").click()
    alert = find(page, "#status [role=alert]")
    monkeypatch.chdir(tmp_path)
    assert run_predict(["damaged.png", "--background", str(wall), "--out", "out", "--device", "cpu"]) == 1
    expected = capfd.readouterr().err
    assert f"error: {alert.text}" in expected.splitlines() and alert.text.startswith("damaged.png: damaged image")
    wait_for(lambda: find_all(page, ".dm-empty") and not find_all(page, ".dm-grid"), "an empty page")
    with pytest.raises(urllib.error.HTTPError) as raised:
        urllib.request.urlopen(archive)
    assert raised.value.code == 404
    assert raised.value.read() == b"this result is no longer kept; predict the photo again"
    assert "Traceback" not in server.read_errors()


def test_models_that_take_the_photo_alone_have_no_place_for_a_background(page):
    assert find(page, "#model input").get_attribute("value").endswith("finetune.safetensors")  # trained here: the first
    assert not any(one.is_displayed() for one in find_all(page, "#background"))
    choose_model(page, "comes with depthmask")
    wait_for(lambda: find(page, "#background").is_displayed(), "the place for the background")
    assert "Optional, and better with it" in find(page, "#clean").text


def test_no_photo_is_said_on_the_page(page):
    find(page, "#predict").click()
    assert find(page, "#status [role=alert]").text == "no photo yet; drop one, or take it with the webcam"


def test_two_pages_at_once_get_their_own(page, server, tmp_path):
    first, addresses, expected = page.current_window_handle, [], []
    page.switch_to.new_window("tab")
    second = page.current_window_handle
    page.get(server.address)
    try:
        for window, name, place in ((first, "left", 20), (second, "right", 100)):
            page.switch_to.window(window)
            photo = draw_pair(tmp_path, name, place)[0]
            upload(page, "photo", photo)
            expected.append((f"{name}.png", np.asarray(Image.open(photo)).astype(int)))
        for window in (first, second):  # the second while the first is under way
            page.switch_to.window(window)
            find(page, "#predict").click()
        for window, (name, photo) in zip((first, second), expected, strict=True):
            page.switch_to.window(window)
            wait_for_result(page, name)
            assert np.abs(read_canvas(page, "photo")[..., :3] - photo).mean() < 6  # through JPEG
            addresses.append(find(page, ".dm-download").get_attribute("href"))
        for address, (name, photo) in zip(addresses, expected, strict=True):
            with urllib.request.urlopen(address) as answer, zipfile.ZipFile(io.BytesIO(answer.read())) as archive:
                stem = name.removesuffix(".png")
                cutout = np.asarray(Image.open(io.BytesIO(archive.read(f"{stem}_cutout.png"))))
            assert (cutout[..., :3] == photo).all()
    finally:
        page.switch_to.window(second)
        page.close()
        page.switch_to.window(first)
    # a closed page's result goes with it, the other stays
    wait_for(lambda: read_code(addresses[1]) == 404, "the end of the closed page's result")
    assert read_code(addresses[0]) == 200


def test_scene_can_be_turned(page, tmp_path):
    from selenium.webdriver.common.keys import Keys

    open_shipped(page, draw_pair(tmp_path))
    frame = find(page, ".dm-scene")
    page.execute_script("arguments[0].scrollIntoView()", frame)
    page.switch_to.frame(frame)
    try:
        view = find(page, ".points-view")
        view.send_keys(Keys.HOME)
        before = page.execute_script("return document.querySelector('canvas').toDataURL()")
        view.send_keys(Keys.ARROW_RIGHT)
        assert find(page, ".points-status").text == "10° from the left"
        after = page.execute_script("return document.querySelector('canvas').toDataURL()")
        assert before != after and len(before) > 2000  # an empty canvas is shorter
    finally:
        page.switch_to.default_content()


def test_photo_and_background_with_the_webcam(page):
    choose_model(page, "comes with depthmask")
    for place in ("photo", "background"):
        for what in ("capture from camera", "access webcam", "capture photo"):
            wait_for(lambda place=place, what=what: find_button(page, place, what), what).click()
        wait_for(lambda place=place: find_all(page, f"#{place} img"), f"{place} of the webcam")
    find(page, "#predict").click()
    assert "with its clean background" in wait_for(lambda: find(page, ".dm-note").text, "the result")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_fits_a_phone_in_both_themes(page, server, tmp_path, theme):
    set_screen(page, 375, 800)
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": theme}]})
    page.get(server.address)
    open_shipped(page, draw_pair(tmp_path))
    assert page.execute_script("return document.documentElement.scrollWidth") <= 375
    assert page.execute_script(FIND_LOW_CONTRAST.replace("body *", ".dm *, .dm-head *, .dm-hint, .dm-foot")) == []
    assert find(page, ".dm-grid").rect["x"] >= 0 and find(page, ".dm-download").is_displayed()


def test_nothing_is_fetched_from_elsewhere(page, server, tmp_path):
    open_shipped(page, draw_pair(tmp_path))
    hosts, own = set(), urlsplit(server.address).netloc
    for entry in page.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        if message["method"] in ("Network.requestWillBeSent", "Network.webSocketCreated"):
            params = message["params"]
            address = urlsplit(params["request"]["url"] if "request" in params else params["url"])
            hosts |= {address.netloc} if address.scheme not in ("data", "blob", "chrome", "about") else set()
    assert hosts == {own}
    faults = [entry["message"] for entry in page.get_log("browser") if entry["level"] == "SEVERE"]
    assert [line for line in faults if "404" not in line and "favicon" not in line] == []
    assert not server.asked.exists()  # nor did the server ask for anything
    with urllib.request.urlopen(server.address) as answer:
        assert "default-src 'self'" in answer.headers["Content-Security-Policy"]
    asked = urllib.request.Request(server.address, headers={"Host": "elsewhere.example"})
    with pytest.raises(urllib.error.HTTPError, match="400"):
        urllib.request.urlopen(asked)


def test_files_of_the_machine_and_other_results_are_not_served(page, server, tmp_path):
    upload(page, "photo", draw_pair(tmp_path)[0])
    predict(page, "dog.png")
    uploaded = next(server.temporary.rglob("dog.png"))
    arrays = list(server.temporary.rglob("mask.npy"))
    assert read_code(f"{server.address}/gradio_api/file={uploaded}") == 200
    for path in (
        *arrays,
        server.folder / "data/models/finetune.safetensors",
        Path("/etc/hostname"),
        server.folder / "errors.txt",
    ):
        assert path.exists() and read_code(f"{server.address}/gradio_api/file={path}") in (403, 404)
    assert arrays


@pytest.mark.parametrize(("number", "code", "name"), [(signal.SIGINT, 130, "Ctrl-C"), (signal.SIGTERM, 143, "SIGTERM")])
def test_ends_on_a_signal_with_one_line_and_leaves_nothing(chrome, tmp_path, number, code, name):
    running = Server(tmp_path)
    chrome.get(running.address)
    upload(chrome, "photo", draw_pair(tmp_path)[0])
    predict(chrome, "dog.png")
    assert list(running.temporary.rglob("dog.png")) and list(running.temporary.rglob("mask.npy"))
    assert running.stop(number) == code
    assert running.read_errors() == f"error: {running.address}: stopped by {name}; what was uploaded is removed\n"
    assert list(running.temporary.iterdir()) == []
    chrome.get("about:blank")
