"""The simulated hypervisor of tests: it injects faults, and writes down all that happens.

Workers and commands load it in the product's place through the entry point in `plugin/`, once `plug_in` was called.
"""

import os
import sys
from pathlib import Path
from typing import Final

PLUGIN: Final = str(Path(__file__).parent / "plugin")


def plug_in() -> None:
    """Have this process, and those that it starts, load the rigged driver."""
    if PLUGIN not in sys.path:
        sys.path.insert(0, PLUGIN)
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (PLUGIN, os.environ.get("PYTHONPATH"))))
