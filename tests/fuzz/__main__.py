"""`make fuzz`: cases for every target, spread evenly, and what came of them."""

import argparse
import logging
import sys

from tests.fuzz.runner import HEADINGS, FoundError, run
from tests.fuzz.targets import TARGETS


def main() -> int:
    """Run, print a table, and fail when something was found."""
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    parser.add_argument("--cases", type=int, default=20_000, help="of all targets together")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--target", choices=sorted(TARGETS), help="only this one")
    parser.add_argument("--case", type=int, help="only the case with this number")
    chosen = parser.parse_args()
    names = [chosen.target] if chosen.target else list(TARGETS)
    cases = 1 if chosen.case is not None else -(-chosen.cases // len(names))
    logging.disable(logging.CRITICAL)  # what is refused is told by the thousand
    sys.stdout.write(HEADINGS + "\n")
    found = 0
    total = 0
    for name in names:
        try:
            report = run(name, TARGETS[name], cases, chosen.seed, chosen.case or 0)
        except FoundError as error:
            found += 1
            sys.stdout.write(f"{name:16} FOUND {error}\n")
        else:
            total += report.cases
            sys.stdout.write(f"{report}\n")
        sys.stdout.flush()
    sys.stdout.write(f"{total} cases of seed {chosen.seed}, {found} targets with a finding\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
