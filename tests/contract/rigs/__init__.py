"""The rigs: what the hypervisor of each can show. One module has those of a hypervisor: see `tests/contract/rig.py`."""

from tests.contract.rig import Feature

FEATURES: dict[str, frozenset[Feature]] = {
    "kvm": frozenset(Feature),
    "kvm_sftp": frozenset(),
    "simulated": frozenset(Feature),
    "vmware": frozenset(Feature),
    "xenserver": frozenset({Feature.DRIVES}),  # no lock of the tray: XAPI ejects whatever the guest does
    "xenserver_sftp": frozenset(),
}
