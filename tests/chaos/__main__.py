"""The command: storms of one seed or a range of them. On a failure it says how to have the same again."""

import argparse
import logging
import shutil
import sys
import tempfile
import traceback
from dataclasses import replace
from pathlib import Path

from tests.chaos.plan import MIXED, Plan
from tests.chaos.plan_from_seed import make_plan
from tests.chaos.storm import Storm
from tests.chaos.verdict import verdict

SHOWN = 20


def _say(text: str) -> None:
    """Print at once, also into a file: twenty storms take a while."""
    sys.stdout.write(text)
    sys.stdout.flush()


def seeds(text: str) -> range:
    """Read `7` or `1..20`."""
    first, _, last = text.partition("..")
    return range(int(first), int(last or first) + 1)


def storm(seed: int, seconds: float, pool: str | None) -> bool:
    """Let one storm rage; says whether all was well afterwards. Its directory stays when it was not."""
    directory = Path(tempfile.mkdtemp(prefix=f"chaos-{seed}-"))
    logging.basicConfig(filename=directory / "storm.log", level=logging.INFO, force=True)
    plan = make_plan(seed, seconds)
    plan = plan if pool is None else replace(plan, pools=MIXED if pool == "mixed" else (pool,) * len(plan.pools))
    try:
        well = _raged(plan, directory)
    except Exception:  # noqa: BLE001  # the storm itself broke down: the other seeds follow
        well = False
        _say(f"seed {seed} broke down:\n{traceback.format_exc()}")
    if well:
        shutil.rmtree(directory)
        return True
    chosen = "" if pool is None else f" POOL={pool}"
    _say(f"  again: make chaos SEED={seed} SECONDS={seconds:g}{chosen}\n  all of it: {directory}\n")
    return False


def _raged(plan: Plan, directory: Path) -> bool:
    left = Storm(plan, directory).run()
    findings = verdict(left)
    counted = f"{len(plan.lives)} lives, {len(left.outcomes)} outcomes, {sum(left.chronicle.counts.values())} troubles"
    word = f"{len(findings)} findings" if findings else "well"
    _say(f"seed {plan.seed}: {counted}, pools {'/'.join(sorted(set(plan.pools)))}, {left.seconds:.1f} s: {word}\n")
    for finding in findings[:SHOWN]:
        life = "" if finding.vm is None else f" (life {finding.vm}, {plan.lives[finding.vm].uuid}, {finding.step})"
        _say(f"  {finding.check}: {finding.what}{life}\n")
    return not findings


def main() -> int:
    """Run the storms that the command line asks for; 1 when one of them found something."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seeds", type=seeds, default=seeds("1..20"), help="one, or a range: 1..20 (the default)")
    parser.add_argument("--seconds", type=float, default=3.0, help="how long lives begin, for each (3: 48 lives)")
    parser.add_argument("--pool", choices=(*MIXED, "mixed"), help="of the workers; the seed's otherwise")
    arguments = parser.parse_args()
    failed = [seed for seed in arguments.seeds if not storm(seed, arguments.seconds, arguments.pool)]
    if failed:
        _say(f"failed: {', '.join(map(str, failed))}\n")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
