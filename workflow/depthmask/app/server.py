"""Serves the page on this machine alone, unless another address is asked for: socket, signals, environment."""

from __future__ import annotations

import errno
import ipaddress
import logging
import os
import socket
import tempfile
import threading
import webbrowser
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from depthmask.base.errors import UserError, format_install_command

GET_APP = format_install_command("app")
STOP_S, STOP_MAX_S = 2, 60  # that open pages are given at the end; until it is left to itself, on a busy machine


def require_gradio() -> None:
    """Raise UserError if the extra `app` is not installed."""
    lacking = [name for name in ("gradio", "uvicorn", "fastapi") if find_spec(name) is None]
    if lacking:
        raise UserError(f"app: the page needs the package {lacking[0]}: {GET_APP}")


def isolate(folder: Path) -> None:
    """Set the environment for Gradio before it is loaded: uploads go to `folder`, and nothing is sent or asked elsewhere.

    Whatever the environment says to Gradio is dropped, such as GRADIO_SHARE, GRADIO_SERVER_NAME or GRADIO_ALLOWED_PATHS.
    """
    for name in [name for name in os.environ if name.startswith("GRADIO_")]:
        del os.environ[name]
    os.environ |= {
        "GRADIO_ANALYTICS_ENABLED": "False",
        "GRADIO_TEMP_DIR": str(folder),
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_OFFLINE": "1",
    }
    tempfile.tempdir = str(folder)  # where uploads are received


def open_socket(host: str, port: int) -> socket.socket:
    """A socket that listens there; port 0: any free one.

    Raises:
        UserError: the port is in use or not allowed, or the host is no address of this machine.
    """
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return socket.create_server(address[:2], family=family)
    except (socket.gaierror, UnicodeError) as error:
        raise UserError(f"--host {host}: no such address; use one of this machine, such as 127.0.0.1") from error
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise UserError(f"--port {port}: in use by another program; choose another, or 0 for any that is free") from error
        if error.errno == errno.EACCES:
            raise UserError(f"--port {port}: permission denied; choose one above 1023") from error
        if error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
            raise UserError(f"--host {host}: not an address of this machine; use one that is, such as 127.0.0.1") from error
        raise


def is_local(host: str) -> bool:
    """Whether only this machine can reach an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def format_address(listening: socket.socket) -> str:
    """The URL of the page; of a socket that listens on every address, that of this machine."""
    host, port = listening.getsockname()[:2]
    if ipaddress.ip_address(host).is_unspecified:
        host = "127.0.0.1" if listening.family == socket.AF_INET else "::1"
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def list_hosts(address: str) -> list[str]:
    """The names to which a page that only this machine can reach answers: the usual ones, and that of its URL."""
    own = urlsplit(address).netloc.rpartition(":")[0]
    return sorted({"127.0.0.1", "localhost", "[::1]", own})


def serve(app: Any, listening: socket.socket, announce: Callable[[str], None], open_page: bool) -> None:
    """Serve until a signal: KeyboardInterrupt, which is passed on once the server has ended.

    announce: called with the address once the page can be opened; open_page: open it in the browser.
    """
    import uvicorn

    address = format_address(listening)
    config = uvicorn.Config(app, log_config=None, log_level="warning", access_log=False, timeout_graceful_shutdown=STOP_S)
    server = uvicorn.Server(config)
    # not Thread.join: Python before 3.13 takes a thread for ended once Ctrl-C has interrupted its join
    ended = threading.Event()

    def run() -> None:
        try:
            server.run([listening])
        finally:
            ended.set()

    try:
        # in a thread, so that signals are ours, as in every command
        threading.Thread(target=run, name="server", daemon=True).start()
        while not (server.started or ended.wait(0.02)):
            pass
        if server.started:
            announce(address)
            if open_page:
                webbrowser.open(address)
        while not ended.wait(0.5):
            pass
    finally:
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)  # open pages are cut off, which is no error
        server.should_exit = True
        ended.wait(STOP_MAX_S)  # before the socket is closed, which it uses
    raise UserError("app: the server ended by itself; start it again")
