"""`configdrive`: the command line of the fleet, for operators, scripts and supervisors.

One module per command (`workers.cli.program` lists them); what several need lies beside them. A command's module
imports click and its neighbours only, and what it works with when it runs: the help and a publish must start fast.

Exit codes, the same for every command:

| code | meaning                                                                                  |
|------|------------------------------------------------------------------------------------------|
| 0    | done                                                                                     |
| 1    | an event was refused, dropped as stale, parked or skipped; or `doctor` found a failure   |
| 2    | wrong usage: see the command's `--help`                                                  |
| 3    | the time was over while waiting; nothing is lost, the event will still be worked on      |
| 69   | Redis cannot be reached (EX_UNAVAILABLE)                                                 |
| 70   | an error that nobody foresaw: please report it (EX_SOFTWARE)                             |
| 78   | misconfigured: the message says what, and the remedy (EX_CONFIG)                         |
| 130  | interrupted by Ctrl-C                                                                    |

No message ever shows a password, user data or the password in Redis' URL.
"""

from __future__ import annotations

import gc
import resource
from typing import NoReturn

from workers.cli.process import collect_later, insist_on_ctrl_c
from workers.cli.program import program

__all__ = ["main", "program"]


def main() -> NoReturn:
    """Run the command line and end the process with one of the exit codes above."""
    _leave_no_core()
    insist_on_ctrl_c()
    collect_later()
    try:
        program.main(prog_name="configdrive")
    finally:
        gc.freeze()  # or the interpreter would look through all of it several times at its end


def _leave_no_core() -> None:
    """Have no memory image written when this process, or a child of it, crashes: it would hold passwords and keys."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
