"""The page in headless Chromium: mouse, keyboard, widths and themes. Needs Debian's chromium and chromium-driver."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path

import numpy as np
import pytest
from making_reports import CONTEXT, make_reports, write_picture
from PIL import Image

from depthmask.base.files import read_csv, read_json, write_csv, write_json
from depthmask.params import ReportParams
from depthmask.pictures.colours import CAPTIONS
from depthmask.reporting.inputs import read_inputs
from depthmask.reporting.page import build_page, write_page

pytestmark = pytest.mark.browser
NUM_SAMPLES, NUM_FIRST = 12, 10
KINDS = ("animal", "person", "object")
WIDTHS = (375, 800, 1440)


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Path:
    """A page with a gallery of NUM_SAMPLES: the mask IoU of sample n is n / 20, kinds take turns, the last has no depth."""
    root = tmp_path_factory.mktemp("page")
    reports, split = make_reports(root)
    index, rows = read_json(reports / "samples" / "index.json"), read_csv(reports / "per_image.csv")
    files = {key: write_picture(reports / "samples" / f"all_{key}.png", 32) for key in CAPTIONS}
    Image.fromarray(np.tile(np.linspace(10_000, 30_000, 32).astype(np.uint16)[:, None], (1, 32))).save(
        reports / "samples/scene.png"
    )
    samples, names = {}, [f"{number:06d}" for number in range(NUM_SAMPLES)]
    lines = []
    for number, name in enumerate(names):
        kind, delta1 = KINDS[number % 3], "" if number == NUM_SAMPLES - 1 else (number * 7 % 12) / 12
        scores = {"mask": {"iou": number / 20}, "depth": {"delta1": delta1 or None}}
        samples[name] = {
            "key": name,
            "background": f"room{number}",
            "cutout": "x",
            "kind": kind,
            "scores": scores,
            "files": files,
        }
        lines.append(rows[0] | {"key": name, "kind": kind, "mask_iou": number / 20, "depth_delta1": delta1})
    groups = {"shown": names[:NUM_FIRST], "worst_mask": names[:2], "best_mask": names[:-3:-1]}
    write_json(reports / "samples" / "index.json", index | {"groups": groups, "samples": samples})
    write_csv(reports / "per_image.csv", list(lines[0]), lines)
    path = root / "index.html"
    write_page(build_page(read_inputs(reports, split), reports, ReportParams(title="In a browser", num_worst=2), CONTEXT), path)
    return path


@pytest.fixture
def show(chromium, page):
    """Opens the page anew at a width, in a theme; afterwards the console must be empty."""

    def open_page(width: int = 1000, theme: str = "light"):
        chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": theme}]})
        screen = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
        chromium.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
        chromium.get(page.as_uri())
        return chromium

    yield open_page
    assert chromium.get_log("browser") == []


# for each element with text of its own: its colour and the first opaque background under it
FIND_LOW_CONTRAST = """
const parse = (text) => text.match(/[\\d.]+/g).map(Number);
const linear = (v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
const light = ([r, g, b]) => 0.2126 * linear(r / 255) + 0.7152 * linear(g / 255) + 0.0722 * linear(b / 255);
const under = (element) => {
  for (let e = element; e; e = e.parentElement) {
    const rgb = parse(getComputedStyle(e).backgroundColor);
    if (rgb.length === 3 || rgb[3] === 1) return rgb;
  }
};
const low = [];
for (const element of document.querySelectorAll("body *")) {
  const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
  if (!own || element.closest("script, svg, :disabled") || !element.getClientRects().length) continue;
  const pair = [light(parse(getComputedStyle(element).color)), light(under(element))].sort((a, b) => b - a);
  const ratio = (pair[0] + 0.05) / (pair[1] + 0.05);
  if (ratio < 4.5) low.push(`${ratio.toFixed(2)} ${element.tagName} ${element.textContent.trim().slice(0, 40)}`);
}
return low;
"""


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_page_fits_every_width_and_is_readable_in_both_themes(show, tmp_path, width, theme):
    chrome = show(width, theme)
    wide, height = chrome.execute_script("const e = document.documentElement; return [e.scrollWidth, e.scrollHeight]")
    assert wide <= width  # nothing to scroll sideways but what says so
    assert chrome.execute_script(FIND_LOW_CONTRAST) == []
    clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
    shot = chrome.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True, "clip": clip})
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(shot["data"]))).convert("L"))
    (tmp_path / f"{theme}_{width}.png").write_bytes(base64.b64decode(shot["data"]))
    assert picture.shape == (height, width) and picture.std() > 10
    assert (np.median(picture) > 200) == (theme == "light")


def test_scene_turns_by_keyboard_under_the_page_s_own_policy(show):
    from selenium.webdriver.common.keys import Keys

    chrome = show()
    view = chrome.find_element("css selector", "#scene .points-view")
    chrome.execute_script("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", view)

    def read() -> str:
        chrome.execute_async_script("const done = arguments[0]; requestAnimationFrame(() => requestAnimationFrame(done))")
        return chrome.execute_script("return arguments[0].querySelector('canvas').toDataURL()", view)

    before = read()
    view.send_keys(Keys.ARROW_RIGHT)
    assert read() != before
    assert chrome.find_element("css selector", "#scene .points-status").text.startswith("10° from the right")
    view.send_keys(Keys.HOME)
    assert chrome.find_element("css selector", "#scene .points-status").text == "as photographed"


def test_slider_by_keyboard(show):
    from selenium.webdriver.common.keys import Keys

    chrome = show()
    slider = chrome.find_element("css selector", ".viewer input")
    truth, prediction = (slider.find_element("xpath", f"ancestor::div//img[@class='{name}']") for name in ("truth", "prediction"))
    assert slider.get_attribute("aria-valuetext") == "prediction"
    chrome.execute_script("arguments[0].focus()", slider)
    slider.send_keys(Keys.ARROW_LEFT)
    assert slider.get_attribute("aria-valuetext") == "95 % prediction, the rest truth"
    assert prediction.value_of_css_property("clip-path") == "inset(0px 5% 0px 0px)"
    slider.send_keys(Keys.HOME)
    assert slider.get_attribute("aria-valuetext") == "photo"
    assert truth.value_of_css_property("clip-path") == "inset(0px 100% 0px 0px)"
    ring = chrome.execute_script("const s = getComputedStyle(arguments[0]); return [s.outlineStyle, s.outlineWidth]", slider)
    assert ring == ["solid", "3px"]


def test_slider_by_mouse_alone_and_all_together(show):
    from selenium.webdriver import ActionChains

    chrome = show()
    first, second = chrome.find_elements("css selector", ".viewer input")[:2]
    chrome.execute_script("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", first)

    def click_at(slider, part: float) -> None:
        width = slider.size["width"]
        ActionChains(chrome).move_to_element_with_offset(slider, round((part - 0.5) * width), 0).click().perform()

    click_at(first, 0.5)
    assert (first.get_attribute("aria-valuetext"), second.get_attribute("aria-valuetext")) == ("truth", "prediction")
    box = chrome.find_element("id", "together")
    chrome.execute_script("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", box)
    box.click()
    chrome.execute_script("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", first)
    click_at(first, 0.02)
    every = {slider.get_attribute("aria-valuetext") for slider in chrome.find_elements("css selector", ".viewer input")}
    assert every == {"photo"}


def list_shown(chrome) -> list[str]:
    return [element.text for element in chrome.find_elements("css selector", ".sample .what") if element.is_displayed()]


def choose(chrome, name: str, text: str) -> None:
    from selenium.webdriver.support.select import Select

    Select(chrome.find_element("id", name)).select_by_visible_text(text)


def test_samples_are_sorted_by_any_score_worst_or_best_first(show):
    chrome = show()
    status = chrome.find_element("id", "num-shown")
    assert status.text == "8 of 12 samples shown" and list_shown(chrome)[0] == "animal x in room0"
    assert not chrome.find_element("id", "order").is_enabled()
    choose(chrome, "sort", "mask IoU")
    choose(chrome, "order", "best first")
    assert [text.split()[-1] for text in list_shown(chrome)] == [f"room{number}" for number in range(11, 3, -1)]
    choose(chrome, "sort", "depth δ < 1.25")
    choose(chrome, "order", "worst first")
    by_delta1 = sorted(range(1, NUM_SAMPLES - 1), key=lambda number: number * 7 % 12)  # 0: a score of 0; the last: none
    assert [text.split()[-1] for text in list_shown(chrome)] == [f"room{number}" for number in [0, *by_delta1]][:8]
    choose(chrome, "sort", "depth RMSE, in the foreground, aligned")
    assert "depth RMSE, in the foreground, aligned: 1.500" in chrome.find_element("css selector", ".sample figcaption").text


def test_samples_are_filtered_by_kind_and_by_group(show):
    chrome = show()
    choose(chrome, "kind", "person")
    assert [text.split()[-1] for text in list_shown(chrome)] == ["room1", "room4", "room7", "room10"]
    choose(chrome, "group", "best masks")
    assert list_shown(chrome) == ["person x in room10"]
    choose(chrome, "kind", "animal")
    assert list_shown(chrome) == [] and "choose another kind" in chrome.find_element("id", "num-shown").text


def test_more_samples_by_keyboard(show):
    from selenium.webdriver.common.keys import Keys

    chrome = show()
    more = chrome.find_element("id", "more")
    assert more.text == "Show 4 more"
    more.send_keys(Keys.ENTER)
    assert len(list_shown(chrome)) == NUM_SAMPLES and not more.is_displayed()
    focused = chrome.switch_to.active_element.find_element("xpath", "ancestor::figure//*[@class='what']")
    assert focused.text.endswith("room8")  # the first new one


def test_charts_show_their_values_under_the_pointer_and_by_keyboard(show):
    from selenium.webdriver import ActionChains
    from selenium.webdriver.common.keys import Keys

    chrome = show()
    plot = chrome.find_element("css selector", "#curves .plot")
    tip = plot.find_element("css selector", ".tip")
    assert not tip.is_displayed()
    chrome.execute_script("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", plot)
    ActionChains(chrome).move_to_element_with_offset(plot, round(0.48 * plot.size["width"]), 0).perform()
    printed = tip.text.split()
    assert (
        tip.is_displayed() and printed[printed.index("step") + 1] == "60" and "0.333" in printed
    )  # the last epoch of the last phase
    ActionChains(chrome).move_to_element(chrome.find_element("id", "curves-title")).perform()
    assert not tip.is_displayed()
    plot.send_keys(Keys.HOME, Keys.ARROW_RIGHT)
    assert "step 20" in plot.get_attribute("aria-valuetext") and tip.is_displayed()
    plot.send_keys(Keys.ESCAPE)
    assert not tip.is_displayed()


def test_keyboard_reaches_the_skip_link_first_and_every_section(show):
    from selenium.webdriver.common.keys import Keys

    chrome = show()
    chrome.find_element("tag name", "body").send_keys(Keys.TAB)
    skip = chrome.switch_to.active_element
    assert skip.text == "Skip to the scores" and skip.is_displayed()
    for link in chrome.find_elements("css selector", "nav a"):
        link.send_keys(Keys.ENTER)
        assert chrome.execute_script("return location.hash") == link.get_attribute("hash")


def test_without_script_everything_is_there_to_see(show, chromium):
    chromium.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        chrome = show()
        assert len(list_shown(chrome)) == NUM_SAMPLES
        assert not chrome.find_element("id", "sort").is_displayed()
        boxes = [image.rect for image in chrome.find_elements("css selector", ".sample img")[:5]]
        assert len({json.dumps([box["x"], box["y"]]) for box in boxes}) == 5  # beside each other, none on top of another
    finally:
        chromium.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
