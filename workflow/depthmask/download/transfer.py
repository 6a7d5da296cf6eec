"""Transfers a remote file through dropped connections and kills: what has arrived is kept and resumed from."""

from __future__ import annotations

import functools
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from depthmask.base.credentials import mask_secrets
from depthmask.base.durations import format_seconds
from depthmask.base.errors import UserError
from depthmask.base.files import read_json, write_json
from depthmask.base.terminal import BYTES, Bar, note
from depthmask.download.patience import read_with_patience
from depthmask.download.remote import BrokenTransferError, RemoteFile, advise_offline
from depthmask.download.space import require_space

ATTEMPTS = 6  # in a row without progress
WAIT_FIRST_S, WAIT_MAX_S = 1.0, 60.0
WAIT_ASKED_MAX_S = 300.0  # as long as a server may ask for; limits per five minutes are common
FREE_BYTES_MIN = 1 << 30  # disk space left free by a file of unstated size


def transfer(remote: RemoteFile, partial: Path, wait: Callable[[float], None] = time.sleep) -> tuple[str, bool]:
    """Complete `partial` to the whole remote file; PARTIAL.json beside it says which version it belongs to.

    Each broken connection is a line: what happened, which attempt is next, and when.

    Returns the server's name for the file, and whether it took more than one connection.

    Raises:
        UserError: the server refuses, or ATTEMPTS in a row made no progress; `partial` is kept for the next run.
    """
    state = partial.with_name(f"{partial.name}.json")
    most, failures, resumed = _count_bytes(partial), 0, False
    with Bar(f"fetching {remote.url}", BYTES) as bar:
        while True:
            resumed = resumed or _count_bytes(partial) > 0
            try:
                return _resume(remote, partial, state, bar), resumed
            except BrokenTransferError as error:
                if error.start_over:
                    state.unlink(missing_ok=True)
                arrived = _count_bytes(partial)
                failures = 0 if arrived > most else failures + 1
                most = max(most, arrived)
                if failures == ATTEMPTS:
                    raise _give_up(remote.url, error, arrived) from error
                wait_s = _choose_wait(failures, error.retry_after_s)
                note(_describe_retry(remote.url, error, failures, arrived, wait_s))
                wait(wait_s)


def _give_up(url: str, error: BrokenTransferError, arrived: int) -> UserError:
    reason = _find_reason(url, error)
    message = f"{url}: giving up: no progress in {ATTEMPTS} attempts ({reason})"
    if arrived:
        message = (
            f"{url}: giving up: no progress in {ATTEMPTS} attempts ({reason}); {arrived:,} bytes are kept, and the next run"
            " resumes from there"
        )
    return UserError(message, hint=advise_offline() if error.unreachable else None)


def _describe_retry(url: str, error: BrokenTransferError, failures: int, arrived: int, wait_s: float) -> str:
    """The line about the next attempt; failures: how many in a row made no progress."""
    reason = _find_reason(url, error)
    asked = f" (the server asked for {error.retry_after_s:,.0f} s)" if error.retry_after_s else ""
    if failures:
        return f"{url}: {reason}; attempt {failures + 1} of {ATTEMPTS} in {format_seconds(wait_s)}{asked}"
    return f"{url}: {reason}; {arrived:,} bytes have arrived; next attempt in {format_seconds(wait_s)}{asked}"


def _find_reason(url: str, error: BrokenTransferError) -> str:
    """What happened, without the URL before it."""
    return str(error).removeprefix(f"{url}: ")


def _choose_wait(failures: int, wish_s: float | None) -> float:
    """Seconds until the next attempt: twice as long after each failure; a server's wish may only make it longer."""
    own_s = min(WAIT_FIRST_S * 2**failures, WAIT_MAX_S)
    return own_s if wish_s is None else max(own_s, min(wish_s, WAIT_ASKED_MAX_S))


def _resume(remote: RemoteFile, partial: Path, state: Path, bar: Bar) -> str:
    """One connection; returns the file's name once the file is complete."""
    known = _read_state(state, mask_secrets(remote.url))
    have = _count_bytes(partial) if known.get("version") else 0
    if have and have == known["num_bytes"]:  # killed between the last byte and the rename
        return known["name"]
    asked = functools.partial(remote.read_from, have, known.get("version") if have else None)
    with read_with_patience(asked, remote.url) as reply:
        if reply.start and (reply.version, reply.num_bytes) != (known["version"], known["num_bytes"]):
            raise BrokenTransferError(f"{remote.url}: the file has changed on the server", start_over=True)
        require_space(partial.parent, (reply.num_bytes or 0) - reply.start)
        if not reply.start:  # emptied before the new state is written, so that the state never describes older bytes
            state.unlink(missing_ok=True)
            partial.write_bytes(b"")
            stated = {"version": reply.version, "num_bytes": reply.num_bytes, "name": reply.name}
            write_json(state, {"url": mask_secrets(remote.url)} | stated)
        bar.start(reply.start, reply.num_bytes)
        with partial.open("ab") as out:
            for chunk in reply.chunks:
                if reply.num_bytes is None:
                    _require_room_left(remote, partial, state, len(chunk))
                out.write(chunk)
                bar.advance(len(chunk))
    arrived = _count_bytes(partial)
    if reply.num_bytes is not None and arrived != reply.num_bytes:
        raise BrokenTransferError(
            f"{remote.url}: {arrived:,} bytes arrived, but the server announced {reply.num_bytes:,}",
            start_over=arrived > reply.num_bytes,
        )
    return reply.name


def _require_room_left(remote: RemoteFile, partial: Path, state: Path, num_bytes: int) -> None:
    """Stop a file of unstated size before it fills the disk, and remove what has arrived."""
    free = shutil.disk_usage(partial.parent).free
    if free - num_bytes < FREE_BYTES_MIN:
        partial.unlink()
        state.unlink(missing_ok=True)
        raise UserError(
            f"{remote.url}: the server states no size, and the disk of {partial.parent} has {free / 1e9:.1f} GB left; free some"
            " space, or fetch the file yourself and set its path"
        )


def _read_state(state: Path, url: str) -> dict:
    """The state of a partial file; empty if it is damaged or for another URL, so that the file is fetched from the start."""
    try:
        known = read_json(state)
        fits = known["url"] == url and isinstance(known["name"], str) and isinstance(known["version"], str | None)
        return known if fits and isinstance(known["num_bytes"], int | None) else {}
    except (OSError, ValueError, TypeError, KeyError):
        return {}


def _count_bytes(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0
