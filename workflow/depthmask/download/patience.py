"""A limit on waiting: a server that sends a byte a minute never triggers a socket timeout and could block a run forever."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

from depthmask.download.remote import CHUNK_BYTES, BrokenTransferError, Reply

PATIENCE_S = 300.0  # for the first response, and for each chunk: under 900 bytes a second is not a transfer
AHEAD = 4  # chunks read ahead
DONE = object()


@contextlib.contextmanager
def read_with_patience(open_reply: Callable[[], AbstractContextManager[Reply]], shown: str) -> Iterator[Reply]:
    """Yield the reply of `open_reply`, read by its own thread, which is abandoned if it takes too long.

    Raises:
        BrokenTransferError: the response or one of its chunks took longer than PATIENCE_S; also whatever `open_reply` raises.
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
        except BaseException as error:  # of any kind: re-raised in the caller
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
