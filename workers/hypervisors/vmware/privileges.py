"""Privileges: the least that the fleet's user needs on a vCenter or ESXi host, and on which objects.

The ids are vSphere's own, as its API pages say what a call needs. `System.Anonymous`, `System.View` and `System.Read`
are in every role that is made; the user needs them from the root folder downwards. `deploy/vsphere/privileges.txt` is
the same list for `govc role.create`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pyVmomi import vim

if TYPE_CHECKING:
    from collections.abc import Mapping

ON_VMS: Final[Mapping[str, str]] = {
    "VirtualMachine.Config.AddRemoveDevice": "add a CD drive to a VM that has none free, and take it away again",
    "VirtualMachine.Config.EditDevice": "connect a drive at each power-on, and no more",
    "VirtualMachine.Interact.SetCDMedia": "put an image into a drive, and take it out",
    "VirtualMachine.Interact.DeviceConnection": "connect and disconnect it while the VM runs",
    "VirtualMachine.Interact.AnswerQuestion": "answer when a guest holds the tray",
}
"""What is needed on VMs: the privilege -> what for."""

ON_DATASTORES: Final[Mapping[str, str]] = {
    "Datastore.Browse": "look for images, and read them back",
    "Datastore.FileManagement": "upload, rename and delete them, and make their folder",
}
"""What is needed on the datastores on which images lie."""

ON_OBJECT_STORES: Final[Mapping[str, str]] = {
    "Datastore.Config": "on vSAN and vVols: make the folder as an object, and delete a directory that a VM has left",
}
"""What is needed besides on datastores that take objects only at their top."""

Missing = list[tuple[vim.ManagedEntity, tuple[str, ...]]]
"""Objects, with the privileges that are missing on each."""


def missing_of(fault: vim.fault.NoPermission) -> Missing:
    """Read what a refusal says: since vSphere 7 it names every privilege, before only the first."""
    several = getattr(fault, "missingPrivileges", None) or ()
    found = [(one.entity, tuple(map(str, one.privilegeIds))) for one in several]
    return found or [(fault.object, (str(fault.privilegeId or "(which one is not said)"),))]
