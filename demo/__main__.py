"""`python -m demo`: choose the stage, start the fleet on it, tell the story, take everything down.

The environment variable HYPERVISOR chooses: `kvm`, `xenserver`, `vmware` or `simulated`; without it KVM, where
this machine can run it. KEEP=1 leaves all of it running after the story, until Ctrl-C, to look around in Flower.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from rich.console import Console

from configdrive.errors import FleetError
from demo.narrator import Narrator
from demo.on_kvm import kvm_stage
from demo.on_simulated import simulated_stage
from demo.on_vmware import vmware_stage
from demo.on_xenserver import xenserver_stage
from demo.services import services
from demo.stage import Stage
from demo.story import DemoFailed, Story
from rigs import RigError, RigUnavailable

STAGES: dict[str, Callable[[Path], AbstractContextManager[Stage]]] = {
    "kvm": kvm_stage,
    "simulated": simulated_stage,
    "vmware": vmware_stage,
    "xenserver": xenserver_stage,
}
INTERRUPTED = 130


def main() -> int:
    """Run the demo; returns 0 when every step was as it should be, 1 when one was not, 130 after Ctrl-C."""
    narrator = Narrator(Console(highlight=False))
    asked = os.environ.get("HYPERVISOR", "")
    if asked and asked not in STAGES:
        narrator.failed(f"HYPERVISOR={asked}: there is no such stage; choose one of {', '.join(STAGES)}")
        return 2
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix="cd-") as scratch:
        try:
            run(narrator, Path(scratch), asked)
        except (DemoFailed, RigError, RigUnavailable, FleetError) as error:
            narrator.failed(str(error))
            return 1
        except KeyboardInterrupt:
            narrator.say("\nInterrupted; everything was taken down.")
            return INTERRUPTED
    return 0


def run(narrator: Narrator, scratch: Path, asked: str) -> None:
    """Set the stage and tell the story on it; whatever was started is stopped again."""
    with contextlib.ExitStack() as stack:
        stage = _stage(narrator, scratch, asked, stack)
        narrator.say(f"Hypervisor: {stage.about}.")
        fleet = stack.enter_context(services(stage, scratch))
        narrator.say(f"Running: redis-server, one worker, Flower at {fleet.flower} (until the demo ends).")
        Story(stage, fleet, narrator).tell()
        narrator.done()
        if os.environ.get("KEEP"):
            narrator.say(f"KEEP is set: everything stays up until Ctrl-C. Flower: {fleet.flower}")
            signal.pause()


def _stage(narrator: Narrator, scratch: Path, asked: str, stack: contextlib.ExitStack) -> Stage:
    try:
        return stack.enter_context(STAGES[asked or "kvm"](scratch))
    except RigUnavailable as reason:
        if asked:
            raise
        narrator.say(f"No KVM guest on this machine ({reason}); the simulated hypervisor stands in.")
        return stack.enter_context(simulated_stage(scratch))


if __name__ == "__main__":
    sys.exit(main())
