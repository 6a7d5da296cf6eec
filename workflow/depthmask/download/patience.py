"""An end to waiting: a server that sends a byte a minute keeps every timeout of a socket, and would hold a run for ever."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

from depthmask.download.remote import CHUNK_BYTES, BrokenTransferError, Reply

PATIENCE_S = 300.0  # for the first answer, and for each chunk: under 900 bytes a second is no transfer
AHEAD = 4  # chunks that are read before they are asked for
DONE = object()


@contextlib.contextmanager
def read_with_patience(open_reply: Callable[[], AbstractContextManager[Reply]], shown: str) -> Iterator[Reply]:
    """The reply that `open_reply` opens, read by a thread of its own, which is left to itself where it takes too long.

    Raises:
        BrokenTransferError: the answer or one of its chunks took longer than PATIENCE_S; and what `open_reply` raises.
    """
    items: queue.Queue[Any] = queue.Queue(AHEAD)
    stop = threading.Event()

    def put(item: object) -> None:
        while not stop.is_set():
            with contextlib.suppress(queue.Full):
                items.put(item, timeout=0.2)
                return

    def read() -> None:
        try:
            with open_reply() as reply:
                put(reply)
                for chunk in reply.chunks:
                    put(chunk)
                    if stop.is_set():
                        return
                put(DONE)
        except BaseException as error:  # of any kind: it is raised where the reply is asked for
            put(error)

    def take() -> Any:
        try:
            item = items.get(timeout=PATIENCE_S)
        except queue.Empty:
            raise BrokenTransferError(
                f"{shown}: the server sent less than {CHUNK_BYTES // 1024} kB in {PATIENCE_S:.0f} s"
            ) from None
        if isinstance(item, BaseException):
            raise item
        return item

    def list_chunks() -> Iterator[bytes]:
        while (chunk := take()) is not DONE:
            yield chunk

    threading.Thread(target=read, name="transfer", daemon=True).start()
    try:
        yield replace(take(), chunks=list_chunks())
    finally:
        stop.set()
