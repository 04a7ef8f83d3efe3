"""Refused events: how the parser told it, how to plant a value anywhere in one, and the corpus of what is refused."""

import json
from collections.abc import Iterator
from copy import deepcopy
from typing import Any, Final

from configdrive.contract.events import parse
from configdrive.errors import PermanentCode, PermanentError
from tests.unit.documents import ALICE as KEY
from tests.unit.documents import OTHER_UUID, UUID, Json, full_document

Path = tuple[str | int, ...]


def refusal(raw: str | bytes | Json) -> PermanentError | None:
    """Parse; anything but an event or a `PermanentError` fails the test."""
    refused: PermanentError | None = None
    try:
        parse(json.dumps(raw) if isinstance(raw, dict) else raw)
    except PermanentError as error:
        refused = error
    # The cause of a refusal would quote what was sent.
    assert refused is None or (refused.__cause__, refused.__context__) == (None, None)
    return refused


def refused(raw: str | bytes | Json) -> PermanentError:
    """Parse what is no event; returns why it is none."""
    error = refusal(raw)
    assert error is not None
    assert error.code is PermanentCode.INVALID_EVENT
    return error


def text_of(error: PermanentError) -> str:
    return f"{error} {error!r} {error.args} {error.detail} {error.remedy}"


def paths(value: Any, path: Path = ()) -> Iterator[Path]:  # noqa: ANN401 - any JSON
    yield path
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from paths(inner, (*path, key))
    if isinstance(value, list):
        for index, inner in enumerate(value):
            yield from paths(inner, (*path, index))


def planted(whole: Json, path: Path, value: object) -> Any:  # noqa: ANN401 - any JSON
    if not path:
        return value
    copy = deepcopy(whole)
    inner: Any = copy
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = value
    return copy


LONG = "x" * 70_000
NIC: Json = {"mac": "02:00:5e:10:00:01"}
BOND: Json = {"links": [NIC["mac"]], "mode": "802.3ad"}
VLAN: Json = {"link": NIC["mac"], "id": 7}

WRONG_NICS: list[Json] = [
    {"mtu": 0},
    {"mtu": 67},
    {"mtu": 65_536},
    {"search": ["-x.example"]},
    {"dns": [5]},
    {"dns": ["fe80::1%eth0"]},
    {"dns": ["192.0.2.53"] * 17},
    {"addresses": [{}]},
    {"addresses": [{"dhcp": 5}]},
    {"addresses": [{"dhcp": 4}] * 33},
    {"addresses": [{"cidr": "10.1.1.5"}]},
    {"addresses": [{"cidr": "10.0.0.1/24", "dhcp": 4}]},
    {"addresses": [{"cidr": "10.0.0.1/33"}]},
    {"addresses": [{"cidr": 167_772_161}]},
    {"addresses": [{"cidr": ["10.0.0.1", 24]}]},
    {"addresses": [{"cidr": "10.0.0.1/24", "gateway": "::1"}]},
    {"addresses": [{"cidr": "fe80::1%eth0/64"}]},
    {"addresses": [{"cidr": "fe80::1/64", "gateway": "fe80::2%a\nb"}]},
    {"bond": BOND | {"links": []}},
    {"bond": BOND | {"mode": "fastest"}},
    {"bond": BOND | {"miimon": 0}},
    {"bond": BOND, "vlan": VLAN},
    {"vlan": VLAN},
]
"""What is wrong with one NIC."""

VALUES: Final[list[tuple[str, object]]] = [
    ("sequence", -1),
    ("sequence", 2**53),
    ("sequence", "1"),
    ("sequence", True),
    ("sequence", 1.0),
    ("vm.uuid", "not-a-uuid"),
    ("vm.uuid", f"{UUID}\n"),
    ("vm.uuid", f"{{{UUID}}}"),
    ("vm.instance_name", ""),
    ("vm.instance_name", "a" * 256),
    ("vm.instance_name", "i-2-14-VM\n"),
    ("hypervisor", ""),
    ("hypervisor", "../kvm"),
    ("hypervisor", "k" * 33),
    ("hypervisor", "\u212avm"),
    ("host", "host 1"),
    ("host", "h" * 129),
    ("zone", "Zone"),
    ("zone", "a.b"),
    ("primary_storage", "../other"),
    ("primary_storage", ".."),
    ("primary_storage", "a\\b"),
    ("primary_storage", "a\nb"),
    ("primary_storage", "a\u2028b"),
    ("primary_storage", "s" * 256),
    ("attach", "somebody"),
    ("presentation", "floppy"),
    ("guest_os", "plan9"),
    ("label", ""),
    ("label", "a" * 17),
    ("label", "config drive"),
    ("label", "Überlabel"),
    ("password_enabled", "yes"),
    ("password_enabled", 1),
    ("start", "off"),
    ("sealed", ""),
    ("sealed", "a b"),
    ("sealed", "v2.0123456789abcdef.AAAA"),
    ("sealed", "v1.0123456789abcdef.A+/="),
    ("sealed", "v1.0123456789abcdef."),
    ("sealed", "v1.0123456789ABCDEF.AAAA"),
    ("network_offering.services", {"User\nData": "ConfigDrive"}),
    ("network_offering.name", "two\u2029lines"),
    ("network_offering.services.UserData", 5),
    ("network_offering.services", {f"s{index}": "x" for index in range(65)}),
    ("network_offering.services.UserData", ["x"] * 17),
    ("guest.metadata.vm_id", ""),
    ("guest.metadata.vm_id", "1\n2"),
    ("guest.metadata.vm_id", "1\u20282"),
    ("guest.metadata.vm_id", "v" * 256),
    ("guest.metadata.extra", {"": "x"}),
    ("guest.metadata.extra", {"k" * 256: "x"}),
    ("guest.metadata.extra", {"key": {"deep": ["nul\x00"]}}),
    ("guest.metadata.extra", {"key": [1] * 40_000}),
    ("guest.metadata.extra", {"vm-id": "collides with the VM's own"}),
    ("guest.metadata.extra", {"a-b": "x", "a_b": "y"}),
    ("guest.metadata.extra", {"key": "nul\x00"}),
    ("guest.metadata.extra", {"key": LONG}),
    ("guest.metadata.extra", {f"key{index}": "x" for index in range(257)}),
    ("guest.user_data", {}),
    ("guest.user_data", {"text": "a", "base64": "YQ=="}),
    ("guest.user_data", {"base64": "not base64!"}),
    ("guest.ssh_keys", ["no key"]),
    ("guest.ssh_keys", [f"ssh-rsa {'A' * 20}\nssh-rsa {'B' * 20}"]),
    ("guest.ssh_keys", [f"ssh-rsa {'A' * 17_000}"]),
    ("guest.ssh_keys", [f"{KEY} {index}" for index in range(65)]),
    ("guest.ssh_keys", [{"name": "a", "key": KEY}] * 2),
    ("guest.ssh_keys", ["ssh-ed25519 AAAAthisisnotakeyatall= x"]),
    ("guest.nics", [{"mac": "02-00-5e-10-00-01"}]),
    ("guest.nics", [NIC] * 2),
    ("guest.nics", [{"mac": "03:00:5e:10:00:01"}]),
    ("guest.nics", [{"mac": "00:00:00:00:00:00"}]),
    ("guest.nics", [{"mac": f"02:00:5e:10:00:0{index}", "default": True} for index in range(2)]),
    ("guest.nics", [{"mac": f"02:00:5e:10:00:{index:02x}"} for index in range(65)]),
    *(("guest.nics", [NIC | wrong]) for wrong in WRONG_NICS),
    *(("guest.nics", [NIC, NIC | {"vlan": VLAN | {"id": number}}]) for number in (0, 4095)),
    ("guest.password", ""),
    ("guest.password", "two\nlines"),
    ("guest.password", "bell\x07"),
    ("guest.password", "p" * 257),
    ("guest.password", "\N{GRINNING FACE}" * 128),
    *(
        ("guest.metadata", {"local_hostname": name})
        for name in ("web 1", "a..b", "-x", "x-", "x" * 64, "x." * 127 + "x", "Bücher", "web_1", "a.", "")
    ),
    ("guest.metadata", {"public_hostname": "a..b"}),
    ("guest.password", "RANDOM"),
    ("guest.password", "$6$salt$hash"),
]
"""Field below `data` of a full deploy -> a value that it may not have."""

ENVELOPES: Final[list[tuple[str, object]]] = [
    ("specversion", "0.3"),
    ("id", ""),
    ("id", "with/slash"),
    ("id", "i" * 129),
    ("source", "two\nlines"),
    ("subject", OTHER_UUID),
    ("time", "2026-03-10T07:13:00"),
    ("time", "1979-12-31T23:59:59Z"),
    ("time", "2100-01-01T00:00:00Z"),
    ("time", 1_773_126_780),
    ("datacontenttype", "text/xml"),
    ("traceparent", "00-xyz"),
    ("data", "text"),
    ("type", "configdrive.vm.reboot.v1"),
    ("type", ["configdrive.vm.stop.v1"]),
]
"""Attribute of the envelope of a full stop -> a value that it may not have."""


def with_value(field: str, value: object) -> Json:
    """Return a full deploy with a value at a field below `data`."""
    whole = full_document("deploy")
    if field == "sealed":
        del whole["data"]["guest"]
    changed: Json = planted(whole, ("data", *field.split(".")), value)
    return changed
