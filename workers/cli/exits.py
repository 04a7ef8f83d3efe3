"""The exit codes (the table stands in `workers.cli`)."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """What the process says at its end; 69, 70 and 78 as in BSD's sysexits.h."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    TIME_OVER = 3
    UNAVAILABLE = 69
    UNFORESEEN = 70
    MISCONFIGURED = 78
    INTERRUPTED = 130
    READER_GONE = 141
    """128 + SIGPIPE: whoever read our output has stopped, as in `configdrive watch | head`."""
