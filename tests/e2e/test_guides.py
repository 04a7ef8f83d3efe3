"""The commands that the guides for XenServer and VMware show for a first VM, typed at a terminal before the stand-ins.

The VM's uuid and name are put in their place, as a reader does; hosts are called as in the guides.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Final

import pytest

from demo.on_vmware import vmware_stage
from demo.on_xenserver import xenserver_stage
from demo.stage import Stage
from docs.blocks import PAGES, commands_for
from rigs.fleet import Fleet
from rigs.terminal import PASSWORD, furnish, type_in
from tests.support import require_rig

UUID: Final = "6f1d2c3b-5a41-4c58-9d0e-3f7c1b2a9d10"


@pytest.mark.parametrize(("guide", "set_up"), [("xenserver.md", xenserver_stage), ("vmware.md", vmware_stage)])
def test_a_vm_gets_its_drive_and_loses_it_again_as_the_guide_says(
    guide: str, set_up: Callable[[Path], AbstractContextManager[Stage]], tmp_path: Path
) -> None:
    furnish(tmp_path / "home")
    deploy_and_start, away = (
        text.replace("--name web", "--name $NAME").replace(UUID, "$VM")
        for text in commands_for(__file__, PAGES / "how-to" / guide)
    )
    with ExitStack() as stack:
        with require_rig():
            stage = stack.enter_context(set_up(tmp_path))
            options = ["--pool", "solo"]
            fleet = Fleet(tmp_path / "fleet", stage.inventory(), hypervisor=stage.hypervisor, options=options)
        stack.enter_context(fleet)
        environment = {"VM": stage.vm_uuid, "NAME": stage.instance_name, **fleet.environment}
        code, screen = type_in(deploy_and_start, tmp_path / "home", environment)
        assert code == 0, screen
        assert b"hello" in stage.power_on().files["cloudstack/userdata/user_data.txt"]
        assert len(stage.images()) == 1
        stage.power_off()
        code, said = type_in(f"{deploy_and_start.splitlines()[0]}\n{away}", tmp_path / "home", environment)
        assert code == 0, said
        assert stage.images() == []
    assert PASSWORD not in screen
