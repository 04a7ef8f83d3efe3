"""The process that a command runs in: its end by TERM or Ctrl-C, its log, its metrics port, its garbage collector."""

from __future__ import annotations

import gc
import logging
import os
import signal
import threading
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from workers.config.settings import Settings

_log = logging.getLogger("configdrive.settings")

_AGAIN_SECONDS = 2.0
"""Until Ctrl-C strikes again: long enough for what a command does at its end."""

_PYTHONS_OWN = gc.get_threshold()
_NOT_WHILE_LOADING = 1_000_000

_struck = False


def until_term() -> threading.Event:
    """Return an event that TERM sets. As process 1 of a container, Python would not die of TERM by itself."""
    collect_as_usual()
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda _number, _frame: ended.set())
    return ended


def begin_logging(settings: Settings) -> None:
    """Log as the settings say; the first that is said are the variables that are ignored."""
    from workers.config.unknown_variables import ignored_variables
    from workers.observability.logs import set_up_logging

    set_up_logging(settings.log_format)
    for one in ignored_variables(os.environ):
        _log.warning("%s. %s", one.detail, one.remedy)


def with_metrics_port(settings: Settings, port: int | None) -> Settings:
    """Return the settings with the port that was asked for on the command line, if one was."""
    return settings if port is None else settings.model_copy(update={"metrics_port": port})


def insist_on_ctrl_c() -> None:
    """Let Ctrl-C strike again and again until `ctrl_c_pressed` is asked. A worker's own handlers replace this one.

    Inside pydantic (2.14) a KeyboardInterrupt is swallowed or comes out as another error: of 120 `configdrive watch`
    that were interrupted as they printed, two called it an unforeseen error, and now and then one went on for ever.
    """
    signal.signal(signal.SIGINT, _strike)
    signal.signal(signal.SIGALRM, _strike)


def ctrl_c_pressed() -> bool:
    """Let it strike no more; says whether it was pressed."""
    signal.setitimer(signal.ITIMER_REAL, 0)
    return _struck


def _strike(_number: int, _frame: FrameType | None) -> NoReturn:
    global _struck  # noqa: PLW0603 - a process is interrupted once
    _struck = True
    signal.setitimer(signal.ITIMER_REAL, _AGAIN_SECONDS)
    raise KeyboardInterrupt


def collect_later() -> None:
    """Put Python's garbage collector off until the process holds far more than its modules.

    While modules load next to nothing is garbage. Looking for it took a third of a publish from the shell: 485 ms of
    CPU with Python's own thresholds, 327 ms with these (celery 5.7, Python 3.11, median of 12).
    """
    gc.set_threshold(_NOT_WHILE_LOADING, *_PYTHONS_OWN[1:])


def collect_as_usual() -> None:
    """Collect as Python does: this process goes on until it is asked to end."""
    gc.set_threshold(*_PYTHONS_OWN)


def share_with_children() -> None:
    """Take what is loaded out of the collector's sight, before children are forked.

    It would write to every page that it looks at, and so make each child's own what all could share: a worker with
    four children takes 137 MiB instead of 180.
    """
    gc.collect()
    gc.freeze()
