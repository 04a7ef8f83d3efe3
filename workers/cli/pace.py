"""Python's garbage collector and a process that lives for a third of a second.

While modules load next to nothing is garbage, and at the end all of it is. Looking for it took a third of a publish
from the shell: 485 ms of CPU with Python's own thresholds, 327 ms with these (celery 5.7, Python 3.11, median of 12).
"""

from __future__ import annotations

import gc

_PYTHONS_OWN = gc.get_threshold()
_NOT_WHILE_LOADING = 1_000_000


def begin() -> None:
    """Put the collector off until a process holds far more than its modules."""
    gc.set_threshold(_NOT_WHILE_LOADING, *_PYTHONS_OWN[1:])


def stay() -> None:
    """Collect as usual: this process goes on until it is told to end."""
    gc.set_threshold(*_PYTHONS_OWN)


def share() -> None:
    """Take what is loaded out of the collector's sight, before children are forked.

    It would write to every page that it looks at, and so make each child's own what all could share: a worker with
    four children takes 137 MiB instead of 180.
    """
    gc.collect()
    gc.freeze()


def end() -> None:
    """Leave everything as it is for the interpreter's end, which would look through all of it several times."""
    gc.freeze()
