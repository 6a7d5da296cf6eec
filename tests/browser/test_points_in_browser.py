"""The turnable view of points in headless Chromium: mouse, touch, keyboard, widths. Needs chromium and chromium-driver."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from making_points import FIGURE, WALL, make_scene
from PIL import Image

from depthmask.point_clouds.viewer import render_frame, render_page

pytestmark = pytest.mark.browser
READ_CANVAS = "return document.querySelector('canvas').toDataURL('image/png').split(',')[1]"


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    """The view as a page, and in a frame of a page that says nothing of its encoding."""
    root = tmp_path_factory.mktemp("points")
    (root / "page.html").write_text(render_page(make_scene(), "a <red> square"), encoding="utf-8")
    (root / "frame.html").write_text(
        f"<!DOCTYPE html><body>{render_frame(make_scene(), 'a <red> square')}</body>", encoding="utf-8"
    )
    return root


@pytest.fixture
def show(chromium, paths):
    """Opens the page anew at a width; afterwards the console must be empty."""

    def open_page(name: str = "page.html", width: int = 800):
        screen = {"width": width, "height": 700, "deviceScaleFactor": 1, "mobile": width < 500}
        chromium.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
        chromium.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": width < 500})
        chromium.get((paths / name).as_uri())
        return chromium

    yield open_page
    chromium.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": False})
    assert chromium.get_log("browser") == []


def read_canvas(chrome) -> np.ndarray:
    """uint8 H x W x 4, after what was asked for has been drawn."""
    chrome.execute_async_script("const done = arguments[0]; requestAnimationFrame(() => requestAnimationFrame(done))")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(chrome.execute_script(READ_CANVAS)))).convert("RGBA"))


def measure(picture: np.ndarray, colour: tuple[int, int, int]) -> tuple[int, float]:
    """How many pixels have a colour, and the mean of their columns relative to the width."""
    rows, columns = np.nonzero((picture[..., :3] == colour).all(axis=2) & (picture[..., 3] == 255))
    return len(rows), float(columns.mean() / picture.shape[1]) if len(rows) else float("nan")


def read_status(chrome) -> str:
    return chrome.find_element("css selector", ".points-status").text


def test_keys_turn_move_come_nearer_and_go_back_to_the_photo(show):
    from selenium.webdriver.common.keys import Keys

    chrome = show()
    view = chrome.find_element("css selector", ".points-view")
    assert (
        view.get_attribute("aria-label") == "a <red> square"
        and not chrome.find_element("css selector", ".points-missing").is_displayed()
    )
    view.send_keys(Keys.HOME)
    photo = read_canvas(chrome)
    red, where = measure(photo, FIGURE)
    blue, _ = measure(photo, WALL)
    assert read_status(chrome) == "as photographed" and where == pytest.approx(0.5, abs=0.01)
    # a third of the photo's width and height, but for what was left out at its edge
    assert red / (red + blue) == pytest.approx(1 / 9, abs=0.03)
    view.send_keys(Keys.ARROW_RIGHT)
    assert read_status(chrome) == "10° from the left"
    assert measure(read_canvas(chrome), WALL)[1] < 0.5 - 0.02  # what is behind the pivot goes where the camera went
    view.send_keys(Keys.HOME, "+", "+")
    assert read_status(chrome) == "1.6 times as near"
    assert measure(read_canvas(chrome), FIGURE)[0] > 2 * red
    view.send_keys(Keys.HOME, Keys.SHIFT + Keys.ARROW_RIGHT)
    assert measure(read_canvas(chrome), FIGURE)[1] == pytest.approx(0.55, abs=0.01)
    view.send_keys(Keys.NULL, Keys.HOME)
    assert (read_canvas(chrome) == photo).all()


def test_mouse_turns_and_its_wheel_comes_nearer_only_once_the_view_was_clicked(show):
    from selenium.webdriver import ActionChains
    from selenium.webdriver.common.actions.wheel_input import ScrollOrigin

    chrome = show()
    view = chrome.find_element("css selector", ".points-view")
    chrome.find_element("css selector", "[data-action=reset]").click()
    photo = read_canvas(chrome)
    wheel = ScrollOrigin.from_element(view)
    ActionChains(chrome).scroll_from_origin(wheel, 0, -300).perform()
    assert (read_canvas(chrome) == photo).all()
    ActionChains(chrome).move_to_element(view).click_and_hold().move_by_offset(80, 40).release().perform()
    assert (read_canvas(chrome) != photo).any()
    ActionChains(chrome).scroll_from_origin(wheel, 0, -300).move_to_element(
        chrome.find_element("css selector", "button")
    ).perform()
    assert read_status(chrome) == "40° from the left, 20° from above, 1.6 times as near"


def test_depth_under_the_pointer(show):
    from selenium.webdriver import ActionChains

    chrome = show()
    view = chrome.find_element("css selector", ".points-view")
    chrome.find_element("css selector", "[data-action=reset]").click()
    ActionChains(chrome).move_to_element(view).perform()
    assert read_status(chrome) == "depth 2.00 m"
    ActionChains(chrome).move_to_element_with_offset(view, 0, round(-0.4 * view.size["height"])).perform()
    assert read_status(chrome) == "depth 4.00 m"


def test_foreground_and_scene_apart(show):
    from selenium.webdriver.support.select import Select

    chrome = show()
    choice = Select(chrome.find_element("css selector", "select"))
    seen = {}
    for name in ("everything", "the foreground", "the scene without it"):
        choice.select_by_visible_text(name)
        picture = read_canvas(chrome)
        seen[name] = measure(picture, FIGURE)[0] > 0, measure(picture, WALL)[0] > 0
    assert seen == {"everything": (True, True), "the foreground": (True, False), "the scene without it": (False, True)}


def test_fingers_turn_and_spread_at_phone_width(show):
    chrome = show(width=390)
    assert chrome.execute_script("return document.documentElement.scrollWidth") <= 390
    chrome.find_element("css selector", "[data-action=reset]").click()
    box = chrome.execute_script(
        "const b = document.querySelector('.points-view').getBoundingClientRect(); return [b.x, b.y, b.width, b.height]"
    )
    middle = box[0] + box[2] / 2, box[1] + box[3] / 2

    def touch(kind: str, *offsets: int) -> None:
        points = [{"x": middle[0] + offset, "y": middle[1], "id": number} for number, offset in enumerate(offsets)]
        chrome.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    touch("touchStart", 0)
    for offset in (20, 40, 60):
        touch("touchMove", offset)
    touch("touchEnd")
    assert read_status(chrome) == "30° from the left"
    before = measure(read_canvas(chrome), FIGURE)[0]
    touch("touchStart", -20, 20)
    touch("touchMove", -40, 40)
    touch("touchEnd")
    assert read_status(chrome) == "30° from the left, 2.0 times as near"
    assert measure(read_canvas(chrome), FIGURE)[0] > 2 * before


def test_view_works_inside_a_frame_of_another_page(show):
    chrome = show("frame.html")
    chrome.switch_to.frame(chrome.find_element("css selector", "iframe"))
    picture = read_canvas(chrome)
    chrome.switch_to.default_content()
    assert measure(picture, FIGURE)[0] > 100 and measure(picture, WALL)[0] > 1000


def test_damaged_points_are_reported_in_their_place(chromium, tmp_path):
    page = render_page(make_scene(), "scene")
    start = page.index('data-points="') + len('data-points="')
    (tmp_path / "page.html").write_text(page[:start] + page[start + 4 :], encoding="utf-8")
    chromium.get((tmp_path / "page.html").as_uri())
    assert chromium.find_element("css selector", ".points-missing").text == "Not shown: the points are damaged."
    assert chromium.get_log("browser") == []
