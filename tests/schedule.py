"""Which of the processes that run the tests runs which file next: those that share costly peers stay together."""

import re
from collections import Counter
from pathlib import PurePosixPath
from typing import Final

from typing_extensions import override
from xdist.scheduler import LoadFileScheduling
from xdist.workermanage import WorkerController

_LONG_FIRST: Final = ("e2e", "chaos", "integration", "contract", "fuzz", "unit")


class Schedule(LoadFileScheduling):
    """File by file; the contract's cases rig by rig.

    A process goes on with the folder that it is in, as a folder's peers are started once for each. Then it begins a
    folder of its own, of the kinds that take long first, so that short ones are left for the end; and when all are
    begun, it helps with the one that has most files left.
    """

    @override
    def _split_scope(self, nodeid: str) -> str:
        of_rig = re.match(r"(tests/contract/)[^[]+\[(\w+)", nodeid)
        return f"{of_rig[1]}{of_rig[2]}" if of_rig else super()._split_scope(nodeid)

    @override
    def _assign_work_unit(self, node: WorkerController) -> None:
        begun = {_folder(file) for work in self.assigned_work.values() for file in work}
        mine = _folder(next(reversed(self.assigned_work[node]), ""))
        left = Counter(map(_folder, self.workqueue))

        def rank(file: str) -> tuple[bool, bool, int]:
            folder = _folder(file)
            return folder != mine, folder in begun, -left[folder] if folder in begun else _kind(file)

        self.workqueue.move_to_end(min(self.workqueue, key=rank), last=False)
        super()._assign_work_unit(node)


def _folder(file: str) -> str:
    return str(PurePosixPath(file).parent)


def _kind(file: str) -> int:
    return next((number for number, kind in enumerate(_LONG_FIRST) if f"tests/{kind}/" in file), len(_LONG_FIRST))
