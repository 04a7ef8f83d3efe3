"""The JSON documents of a drive, in the forms of OpenStack (`openstack/latest/`) and EC2 (`ec2/latest/`). Pure.

Sources: Nova's metadata documentation ("config drive", "network_data.json"), and what cloud-init
(`sources/helpers/openstack.py`) and cloudbase-init (`baseopenstackservice.py`) make of it. Values come here checked
(`configdrive.contents.render`). The network has a module of its own.
"""

from __future__ import annotations

import json
from typing import Any, Final, TypeAlias

from configdrive.contents.network_data import network_data
from configdrive.model import AdminPass, GuestOs, Vm, VmData

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


def files(vm: Vm, data: VmData, password: str | None, admin_pass: AdminPass) -> dict[str, bytes]:
    """Return the documents, and the user data once more, by their path on the drive.

    Raises:
        PermanentError: `INVALID_CONTENT`, for a network configuration that contradicts itself.
    """
    found = {
        "openstack/latest/meta_data.json": meta_data(vm, data, password if reads_admin_pass(vm, admin_pass) else None),
        "openstack/latest/vendor_data.json": vendor_data(password),
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
    """Return `meta_data.json`. cloud-init insists on `uuid`; `admin_pass` is the password for cloudbase-init.

    So are keys that begin with `admin_`, which other guests would show to all their users.
    """
    metadata = data.metadata
    is_windows = vm.guest_os is GuestOs.WINDOWS
    meta = {key: value for key, value in sorted(metadata.extra.items()) if is_windows or not _is_of_admin(key)}
    document: Json = {
        "uuid": vm.uuid,
        "name": vm.instance_name,
        "hostname": metadata.local_hostname,
        "availability_zone": metadata.availability_zone,
        "public_keys": {key.name: key.key for key in data.ssh_keys},
        "keys": [{"name": key.name, "type": "ssh", "data": key.key} for key in data.ssh_keys],
        "admin_pass": admin_pass,
        "meta": meta,
    }
    # At the top too, where CloudStack has them: `{{ ds.meta_data.role }}` in user data is written for that.
    top = {key: value for key, value in meta.items() if not _is_of_admin(key) and _plain(key) not in _NOT_AT_THE_TOP}
    return top | _known(document)


def _is_of_admin(key: str) -> bool:
    return _plain(key).startswith("admin_")


def _plain(key: str) -> str:
    return key.lower().replace("-", "_")


def vendor_data(password: str | None) -> Json:
    """Return `vendor_data.json`: the only way to let cloud-init set a password, as it ignores `admin_pass`."""
    config = cloud_config(password)
    return {} if config is None else {"cloud-init": config}


def cloud_config(password: str | None) -> str | None:
    """Return the vendor data for cloud-init; `None` when there is nothing to say."""
    if password is None:
        return None
    return f"#cloud-config\npassword: {yaml_string(password)}\nchpasswd: {{expire: false}}\nssh_pwauth: true\n"


def yaml_string(text: str) -> str:
    """Return `text` as a YAML double-quoted scalar that reads back the same in YAML 1.1 and 1.2.

    Everything but plain ASCII is escaped by code point: YAML folds U+0085, U+2028 and U+2029 like line breaks, and
    JSON's surrogate pairs would stay two characters.
    """
    return '"' + "".join(map(_yaml_character, text)) + '"'


def _yaml_character(character: str) -> str:
    plain = character.isascii() and character.isprintable() and character not in '"\\'
    return character if plain else f"\\U{ord(character):08X}"


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
