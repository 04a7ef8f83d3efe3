"""How the commands that go on begin to log."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from workers.config.settings import Settings

_log = logging.getLogger("configdrive.settings")


def begin_logging(settings: Settings) -> None:
    """Log as the settings say; the first that is said are the variables that are ignored."""
    from workers.config.unknown_variables import ignored_variables
    from workers.observability.logs import set_up_logging

    set_up_logging(settings.log_format)
    for one in ignored_variables(os.environ):
        _log.warning("%s. %s", one.detail, one.remedy)
