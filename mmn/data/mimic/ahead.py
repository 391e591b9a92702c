"""Running a producer a few pieces ahead of its consumer, in a thread, so that two cores have work."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

_T = TypeVar("_T")
_END = object()


def ahead(pieces: Iterable[_T], depth: int = 2) -> Iterator[_T]:
    """The same pieces in the same order; an error of the producer is raised here. At most `depth` pieces wait."""
    waiting: queue.Queue[Any] = queue.Queue(maxsize=depth)
    stop = threading.Event()

    def offer(piece: Any) -> None:
        while not stop.is_set():
            try:
                return waiting.put(piece, timeout=0.1)
            except queue.Full:
                continue

    def produce() -> None:
        try:
            for piece in pieces:
                offer((piece, None))
                if stop.is_set():
                    return
            offer((_END, None))
        except BaseException as error:  # handed over, and raised by the consumer
            offer((_END, error))

    thread = threading.Thread(target=produce, daemon=True)
    thread.start()
    try:
        while True:
            piece, error = waiting.get()
            if error is not None:
                raise error
            if piece is _END:
                return
            yield piece
    finally:
        stop.set()
        thread.join()
