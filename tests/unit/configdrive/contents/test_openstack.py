"""The JSON documents of the drive, and the line of YAML inside one of them."""

from dataclasses import replace
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from configdrive.contents.remarks import remarks
from configdrive.contents.vendor_data import yaml_string
from configdrive.drive_data import Metadata, VmData
from configdrive.model import AdminPass, DriveSettings, GuestOs
from tests.drives import KEYS, SEED, VM
from tests.unit.configdrive.samples import document, render


def test_keys_stand_one_per_line_and_in_the_documents() -> None:
    files = render(VmData(ssh_keys=KEYS))
    lines_on_drive = b"ssh-ed25519 AAAAC3Nz alice@example\nssh-rsa AAAAB3Nz"
    assert files["cloudstack/metadata/public_keys.txt"] == lines_on_drive
    assert files["cloudstack/metadata/public-keys.txt"] == lines_on_drive
    meta_data = document(files, "openstack/latest/meta_data.json")
    assert meta_data["public_keys"] == {key.name: key.key for key in KEYS}
    assert meta_data["keys"] == [{"name": key.name, "type": "ssh", "data": key.key} for key in KEYS]
    assert document(files, "ec2/latest/meta-data.json")["public-keys"]["1"] == {
        "_name": "1=bob",
        "openssh-key": "ssh-rsa AAAAB3Nz",
    }


def test_meta_data_has_the_vms_uuid_whatever_else_is_known() -> None:
    assert document(render(), "openstack/latest/meta_data.json") == {"uuid": VM.uuid, "name": "i-2-14-VM"}
    data = VmData(metadata=replace(SEED, extra={"role": "web", "tier": ""}))
    assert document(render(data), "openstack/latest/meta_data.json") == {
        "uuid": VM.uuid,
        "name": "i-2-14-VM",
        "hostname": "i-2-14-VM",
        "availability_zone": "zone1",
        "meta": {"role": "web", "tier": ""},
        "role": "web",
        "tier": "",
    }


def test_entries_of_ones_own_are_variables_at_the_top_too_unless_a_reader_would_obey_them() -> None:
    extra: dict[str, Any] = {
        "app.kubernetes.io/name": "shop",
        "tiers": [1, 2.5, {"a": None}],
        "on": True,
        "files": [{"path": "/etc/x"}],
    }
    extra |= {
        "network_config": {"content_path": "x"},
        "Random-Seed": "eA==",
        "hostname": "evil",
        "uuid": "1",
        "keys": [],
    }
    files = render(VmData(metadata=replace(SEED, extra=extra)))
    written = document(files, "openstack/latest/meta_data.json")
    assert written["meta"] == extra
    at_the_top = {key: value for key, value in written.items() if key in extra}
    assert at_the_top == {key: extra[key] for key in ("app.kubernetes.io/name", "tiers", "on")} | {
        "uuid": VM.uuid,
        "hostname": "i-2-14-VM",
    }
    assert files["cloudstack/metadata/tiers.txt"] == b'[1,2.5,{"a":null}]'
    assert files["cloudstack/metadata/on.txt"] == b"true"
    assert not [path for path in files if "kubernetes" in path]


@pytest.mark.parametrize("key", ["con", "aux.x", "a b", "ä", "x" * 61, "a/b"])
def test_an_entry_that_cannot_be_a_file_is_in_the_document_alone(key: str) -> None:
    files = render(VmData(metadata=Metadata(extra={key: "1"})))
    assert document(files, "openstack/latest/meta_data.json")["meta"] == {key: "1"}
    assert len(files) == len(render())


@pytest.mark.parametrize("admin_pass", AdminPass)
@pytest.mark.parametrize("guest_os", [None, *GuestOs])
def test_only_a_guest_that_reads_admin_pass_is_given_it(guest_os: GuestOs | None, admin_pass: AdminPass) -> None:
    """cloud-init copies the top level of this document into a file that every user of the guest may read."""
    settings = DriveSettings(admin_pass=admin_pass)
    data = VmData(metadata=Metadata(extra={"admin_username": "Boss", "role": "web"}))
    files = render(data, "swordfish", guest_os, settings)
    written = document(files, "openstack/latest/meta_data.json")
    wanted = {
        AdminPass.WINDOWS: guest_os is GuestOs.WINDOWS,
        AdminPass.ALWAYS: guest_os in {None, GuestOs.WINDOWS},
        AdminPass.NEVER: False,
    }[admin_pass]
    assert written.get("admin_pass") == ("swordfish" if wanted else None)
    assert ("admin_username" in written["meta"]) == (guest_os is GuestOs.WINDOWS)
    assert written["meta"]["role"] == "web"
    said = remarks(replace(VM, guest_os=guest_os), data, settings, has_password=True)
    assert said == (("no admin_pass: guest_os unknown",) if guest_os is None and not wanted else ())
    assert remarks(replace(VM, guest_os=guest_os), data, settings, has_password=False) == ()


def test_an_instance_id_of_ones_own_is_what_cloud_init_takes_in_both_forms() -> None:
    files = render(VmData(instance_id="again-2", label="cidata"))
    assert document(files, "openstack/latest/meta_data.json")["uuid"] == "again-2"
    assert yaml.safe_load(files["meta-data"]) == {"instance-id": "again-2"}


def test_a_seed_and_the_operators_vendor_data_are_where_cloud_init_looks() -> None:
    settings = DriveSettings(vendor_data="#!/bin/sh\necho Grüße\n")
    files = render(VmData(random_seed="c2VlZA==", label="cidata"), settings=settings)
    assert document(files, "openstack/latest/meta_data.json")["random_seed"] == "c2VlZA=="
    assert document(files, "openstack/latest/vendor_data.json") == {"cloud-init": settings.vendor_data}
    assert files["vendor-data"].decode() == settings.vendor_data
    assert "random_seed" not in document(render(), "openstack/latest/meta_data.json")


def test_ec2_form_falls_back_to_the_uuid() -> None:
    assert document(render(), "ec2/latest/meta-data.json") == {"instance-id": VM.uuid}
    files = render(VmData(metadata=replace(SEED, local_ipv4="10.1.1.14")))
    assert document(files, "ec2/latest/meta-data.json") == {
        "instance-id": "i-2-14-VM",
        "instance-type": "Small Instance",
        "hostname": "i-2-14-VM",
        "local-hostname": "i-2-14-VM",
        "local-ipv4": "10.1.1.14",
        "placement": {"availability-zone": "zone1"},
    }


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_survives_yaml(text: str) -> None:
    quoted = yaml_string(text)
    assert yaml.safe_load(quoted) == text
    assert yaml.safe_load(f"key: {quoted}\nother: 1\n") == {"key": text, "other": 1}
    assert quoted.isascii()
    assert quoted.isprintable()
