"""Starts `depthmask app` in a process of its own, and drives its page in a browser."""

from __future__ import annotations

import base64
import io
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

PATIENCE_S = 120  # of a busy machine
WIDTH, HEIGHT = 160, 120
# runs the command with a network that reaches this machine alone; whatever else is asked for is written down
GUARD = """
import ipaddress, socket, sys
log, argv = sys.argv[1], sys.argv[2:]
def check(host):
    try:
        local = host in (None, "", "localhost") or ipaddress.ip_address(host).is_loopback
    except ValueError:
        local = False
    if not local:
        with open(log, "a") as file:
            print(host, file=file)
        raise OSError(f"no network: {host}")
def guard(name, owner, place):
    real = getattr(owner, name)
    def call(*args, **options):
        address = args[place]
        if not (isinstance(address, str) and owner is not socket):
            check(address[0] if isinstance(address, tuple) else address)
        return real(*args, **options)
    setattr(owner, name, call)
guard("getaddrinfo", socket, 0)
guard("connect", socket.socket, 1)
guard("connect_ex", socket.socket, 1)
from depthmask.cli import main
sys.exit(main(argv))
"""


class Server:
    """The command in a process of its own, below `folder`."""

    def __init__(self, folder: Path, *argv: str):
        self.folder, self.asked, self.temporary = folder, folder / "asked.txt", folder / "tmp"
        self.temporary.mkdir()
        environment = os.environ | {"TMPDIR": str(self.temporary), "GRADIO_SHARE": "True", "GRADIO_ANALYTICS_ENABLED": "True"}
        command = [sys.executable, "-c", GUARD, str(self.asked), "app", "--port", "0", "--device", "cpu", *argv]
        self.errors = (folder / "errors.txt").open("w+")
        self.process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=self.errors, text=True
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        found = re.fullmatch(r"(http://127\.0\.0\.1:\d+): open it in a browser; Ctrl-C ends it\n", line)
        assert found, (line, self.read_errors())
        self.address = found[1]

    def read_errors(self) -> str:
        self.errors.flush()
        return (self.folder / "errors.txt").read_text()

    def stop(self, number: int = signal.SIGINT) -> int:
        self.process.send_signal(number)
        try:
            return self.process.wait(PATIENCE_S)
        finally:
            self.process.kill()
            self.process.wait()


def wait_for(find, what: str):
    """What `find` finds, once it is neither an error nor nothing."""
    end, last = time.monotonic() + PATIENCE_S, None
    while time.monotonic() < end:
        try:
            found = find()
            if found:
                return found
        except Exception as error:  # of selenium: the page is being drawn
            last = error
        time.sleep(0.1)
    raise AssertionError(f"{what}: not within {PATIENCE_S} s ({last})")


def find_all(chrome, selector: str) -> list:
    return chrome.find_elements("css selector", selector)


def find(chrome, selector: str):
    return wait_for(lambda: next(iter(find_all(chrome, selector)), None), selector)


def set_screen(chrome, width: int, height: int = 900) -> None:
    screen = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
    chrome.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)


def draw_pair(folder: Path, name: str = "dog", place: int = 60) -> tuple[Path, Path]:
    """A photo of a red box before a striped wall, and the wall."""
    wall = Image.new("RGB", (WIDTH, HEIGHT), (190, 200, 180))
    pen = ImageDraw.Draw(wall)
    for x in range(0, WIDTH, 20):
        pen.rectangle((x, 0, x + 8, 70), fill=(150, 160, 200))
    photo = wall.copy()
    ImageDraw.Draw(photo).rectangle((place, 40, place + 30, 110), fill=(200, 40, 30))
    paths = folder / f"{name}.png", folder / f"{name}_background.png"
    for path, picture in zip(paths, (photo, wall), strict=True):
        picture.save(path)
    return paths


def choose_model(chrome, text: str) -> None:
    from selenium.webdriver.common.keys import Keys

    field = find(chrome, "#model input")
    field.click()
    option = wait_for(lambda: next(one for one in find_all(chrome, "ul[role=listbox] li") if text in one.text), text)
    option.click()
    field.send_keys(Keys.ESCAPE)
    wait_for(lambda: text in find(chrome, "#model input").get_attribute("value"), text)


def upload(chrome, place: str, path: Path) -> None:
    for remove in find_all(chrome, f"#{place} button[aria-label='Remove Image']"):
        remove.click()
    find(chrome, f"#{place} input[type=file]").send_keys(str(path))
    wait_for(lambda: find_all(chrome, f"#{place} img"), f"preview of {path.name}")


def predict(chrome, name: str) -> None:
    """Press the button, and wait for the result of a photo."""
    find(chrome, "#predict").click()
    wait_for_result(chrome, name)


def wait_for_result(chrome, name: str) -> None:
    """Until the result of a photo is shown; fails at once if an error is."""

    def look() -> str:
        said = [one.text for one in find_all(chrome, "#status [role=alert]")]
        shown = [one.text for one in find_all(chrome, ".dm-note") if one.text.startswith(f"{name},")]
        return (shown or said or [""])[0]

    found = wait_for(look, f"result of {name}")
    assert found.startswith(f"{name},"), found


def read_canvas(chrome, name: str) -> np.ndarray:
    """uint8 H x W x 4."""
    url = chrome.execute_script(f"return document.querySelector('.dm-{name} canvas').toDataURL('image/png')")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))).convert("RGBA"))


def find_button(chrome, place: str, what: str):
    """The button of a place for pictures whose text, label or title says `what`."""
    for button in find_all(chrome, f"#{place} button"):
        said = f"{button.text} {button.get_attribute('aria-label')} {button.get_attribute('title')}"
        if button.is_displayed() and what in said.lower():
            return button
    return None


def read_code(address: str) -> int:
    try:
        with urllib.request.urlopen(address) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code
