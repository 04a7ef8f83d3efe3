"""The JSON documents of a drive, in the forms of OpenStack (`openstack/latest/`) and EC2 (`ec2/latest/`). Pure.

Sources: Nova's metadata documentation ("config drive", "network_data.json"), and what cloud-init
(`sources/helpers/openstack.py`) and cloudbase-init (`baseopenstackservice.py`) make of it. Values come here checked
(`configdrive.contents.render`). The network has a module of its own.
"""

from __future__ import annotations

import json
from typing import Any, Final, TypeAlias

from configdrive.contents.network_data import network_data
from configdrive.contents.vendor_data import vendor_data
from configdrive.drive_data import VmData
from configdrive.model import AdminPass, DriveSettings, GuestOs, Vm

Json: TypeAlias = dict[str, Any]

_NOT_AT_THE_TOP: Final = frozenset(
    {
        *("uuid", "name", "hostname", "public_keys", "keys", "admin_pass", "availability_zone", "launch_index"),
        *("random_seed", "meta", "devices", "files", "network_config", "project_id", "dedicated_cpus"),
        *(
            "instance_id",
            "local_hostname",
            "instance_type",
            "dsmode",
            "vendor_data",
            "vendordata",
            "user_data",
            "userdata",
        ),
    }
)
"""What `meta_data.json` has of OpenStack's own at its top, and what cloud-init and others take from there: with `files`
and `network_config`, cloud-init writes files."""


def files(vm: Vm, data: VmData, password: str | None, settings: DriveSettings) -> dict[str, bytes]:
    """Return the documents, and the user data once more, by their path on the drive.

    Raises:
        PermanentError: `INVALID_CONTENT`, for a network configuration that contradicts itself.
    """
    admin_pass = password if reads_admin_pass(vm, settings.admin_pass) else None
    vendor = vendor_data(data, password, settings.vendor_data)
    found: dict[str, Json] = {
        "openstack/latest/meta_data.json": meta_data(vm, data, admin_pass),
        # The only way to let cloud-init set a password: it ignores `admin_pass`.
        "openstack/latest/vendor_data.json": {} if vendor is None else {"cloud-init": vendor},
        "ec2/latest/meta-data.json": ec2_meta_data(vm, data),
    }
    network = network_data(data.nics or ())
    if network is not None:
        found["openstack/latest/network_data.json"] = network
    # ASCII only, so that a reader's idea of the encoding does not matter.
    files = {path: json.dumps(document, separators=(",", ":")).encode("ascii") for path, document in found.items()}
    return files | ({} if data.user_data is None else {"openstack/latest/user_data": data.user_data.get_secret_value()})


def reads_admin_pass(vm: Vm, admin_pass: AdminPass) -> bool:
    """Say whether a guest is one that gets its password by `admin_pass`.

    cloudbase-init takes it from nowhere else. cloud-init does not take it: it copies the document's top level into
    `/run/cloud-init/instance-data.json`, which every user of the guest may read.
    """
    match admin_pass:
        case AdminPass.NEVER:
            return False
        case AdminPass.ALWAYS:
            return vm.guest_os in {None, GuestOs.WINDOWS}
        case AdminPass.WINDOWS:
            return vm.guest_os is GuestOs.WINDOWS


def meta_data(vm: Vm, data: VmData, admin_pass: str | None) -> Json:
    """Return `meta_data.json`. cloud-init takes `uuid` for the instance id.

    `admin_pass` is the password for cloudbase-init; for it are keys too that begin with `admin_`, which other guests
    would show to all their users.
    """
    metadata = data.metadata
    is_windows = vm.guest_os is GuestOs.WINDOWS
    meta = {key: value for key, value in sorted(metadata.extra.items()) if is_windows or not _is_of_admin(key)}
    document: Json = {
        "uuid": data.instance_id or vm.uuid,
        "name": vm.instance_name,
        "hostname": metadata.local_hostname,
        "availability_zone": metadata.availability_zone,
        "public_keys": {key.name: key.key for key in data.ssh_keys},
        "keys": [{"name": key.name, "type": "ssh", "data": key.key} for key in data.ssh_keys],
        "admin_pass": admin_pass,
        "random_seed": data.random_seed,
        "meta": meta,
    }
    # At the top too, where CloudStack has them: `{{ ds.meta_data.role }}` in user data is written for that.
    top = {key: value for key, value in meta.items() if not _is_of_admin(key) and _plain(key) not in _NOT_AT_THE_TOP}
    return top | _known(document)


def _is_of_admin(key: str) -> bool:
    return _plain(key).startswith("admin_")


def _plain(key: str) -> str:
    return key.lower().replace("-", "_")


def ec2_meta_data(vm: Vm, data: VmData) -> Json:
    """Return the EC2 form. It cannot do without an instance id: the VM's uuid stands in where none was given."""
    metadata = data.metadata
    document: Json = {
        "instance-id": metadata.instance_id or vm.uuid,
        "instance-type": metadata.service_offering,
        "hostname": metadata.local_hostname,
        "local-hostname": metadata.local_hostname,
        "local-ipv4": metadata.local_ipv4,
        "public-hostname": metadata.public_hostname,
        "public-ipv4": metadata.public_ipv4,
        "placement": _known({"availability-zone": metadata.availability_zone}),
        "public-keys": {
            str(index): {"_name": f"{index}={key.name}", "openssh-key": key.key}
            for index, key in enumerate(data.ssh_keys)
        },
    }
    return _known(document)


def _known(document: Json) -> Json:
    """Leave out what has no value."""
    return {key: value for key, value in document.items() if value not in (None, "", {}, [])}
