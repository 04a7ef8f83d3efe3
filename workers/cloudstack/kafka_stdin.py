"""The entry point for Kafka, pipes and files: one payload per line, as `kcat -C -t cloudstack` prints them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from workers.cloudstack.adapter import Adapter, Taken
from workers.cloudstack.notices import MAX_PAYLOAD_BYTES
from workers.cloudstack.retrying import Life, patiently, take


def take_lines(stream: BinaryIO, adapter: Adapter, life: Life) -> Iterator[tuple[int, Taken]]:
    """Take the payloads of a stream in order; yields the number of each line and what became of it.

    A line that cannot be taken now holds up the next, and with them whoever writes into the pipe.

    Raises:
        PermanentError: a person has to do something first; this line and those behind it have to come again.
    """
    number = 0
    while life.goes_on() and (line := stream.readline(MAX_PAYLOAD_BYTES + 2)):
        number += 1
        if not line.strip():
            continue
        taken = patiently(lambda line=line: take(adapter, line), life)  # type: ignore[misc]  # the default is the line
        if taken is None:
            return
        yield number, taken
        if not line.endswith(b"\n") and len(line) > MAX_PAYLOAD_BYTES:
            _skip(stream)


def _skip(stream: BinaryIO) -> None:
    """Pass the rest of a line that is too long."""
    while (rest := stream.readline(MAX_PAYLOAD_BYTES)) and not rest.endswith(b"\n"):
        pass
