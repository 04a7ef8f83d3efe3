"""Hypothesis strategies of the domain: whole events as JSON, states, places and what a hypervisor may show."""

import base64
import json
from datetime import UTC, datetime
from typing import Any

from hypothesis import strategies as st
from pydantic import SecretStr

from configdrive.contents.render import extra_key_problem, password_problem
from configdrive.contract.guest_data import GuestData
from configdrive.drive_data import HOST_NAME, BondMode, Metadata, VmData
from configdrive.lifecycle.state import ImageRecord, Leftover, Passwords, Phase, VmState
from configdrive.model import (
    AttachBy,
    Generation,
    GuestOs,
    HostName,
    HypervisorName,
    InstanceName,
    Place,
    Presentation,
    StorageName,
    Vm,
    VmUuid,
)
from tests.unit.documents import CONTENT_WORDS, WORDS, Json

_ED25519 = b"\0\0\0\x0bssh-ed25519\0\0\0 "
WORD = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
METADATA = tuple(name for name in Metadata.__dataclass_fields__ if name != "extra")


def _name(first: str, others: str, most: int) -> st.SearchStrategy[str]:
    return st.builds(str.__add__, st.sampled_from(first), st.text(others, max_size=most - 1))


def either_case(strategy: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.builds(lambda text, upper: text.upper() if upper else text, strategy, st.booleans())


def optional(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Json]:
    """Any of these fields, or `null` in their place."""
    return st.fixed_dictionaries({}, optional={name: st.none() | value for name, value in fields.items()})


lines = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), min_size=1, max_size=30)
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=60)
host_names = st.from_regex(HOST_NAME, fullmatch=True).filter(lambda name: len(name) < 254)
uuids = st.uuids().map(str)
instance_names = _name(WORD, WORD + "._-", 64)
storages = lines.filter(lambda text: not {"/", "\\"} & set(text) and text not in {".", ".."})
labels = st.text(WORD + "._-", min_size=1, max_size=16)
passwords = lines.filter(lambda text: password_problem(text) is None)
ssh_lines = st.builds(
    lambda options, key, comment: f"{options}ssh-ed25519 {base64.b64encode(_ED25519 + key).decode()}{comment}",
    st.sampled_from(["", 'command="a b",no-pty ']),
    st.binary(min_size=32, max_size=32),
    st.sampled_from(["", " someone@somewhere", " a comment"]),
)
macs = st.tuples(st.integers(1, 127), *(st.integers(0, 255) for _ in range(5))).map(
    lambda octets: ":".join(f"{octet:02x}" for octet in (octets[0] * 2, *octets[1:]))
)
extra_keys = st.text(WORD + "._-", min_size=1, max_size=20).filter(lambda key: extra_key_problem(key) is None)
extras = st.dictionaries(extra_keys, texts, max_size=4).filter(
    lambda extra: len({key.lower().replace("_", "-") for key in extra}) == len(extra)
)
ips = {4: st.ip_addresses(v=4).map(str), 6: st.ip_addresses(v=6).map(str)}
networks = {
    4: st.sampled_from(["10.0.0.0/8", "192.0.2.0/24", "198.51.100.7/32", "172.16.0.0/255.240.0.0"]),
    6: st.sampled_from(["2001:db8::/32", "fd00::/8", "::1/128"]),
}


@st.composite
def addresses(draw: st.DrawFn, index: int) -> Json:
    """What an event may say of the NIC of this index; two addresses of one are in different networks, without doubt."""
    family = draw(st.sampled_from([4, 6]))
    if draw(st.booleans()):
        return {"dhcp": family}
    network = draw(st.integers(0, 99))
    prefix = f"10.{index}.{network}." if family == 4 else f"2001:db8:{index}:{network:x}::"
    address: Json = {"cidr": f"{prefix}9/{24 if family == 4 else 64}"}
    if index == 0 and draw(st.booleans()):
        address["gateway"] = f"{prefix}1"
    if draw(st.booleans()):
        route = st.fixed_dictionaries({"to": networks[family], "via": st.just(f"{prefix}2")})
        address["routes"] = draw(st.lists(route, max_size=2))
    return address


def _once(found: list[Json]) -> list[Json]:
    """Leave out what would stand there twice: an address, and a second gateway of a family."""
    kept = list[Json]()
    for address in found:
        families = {":" in one["gateway"] for one in kept if "gateway" in one}
        if address not in kept and not ("gateway" in address and (":" in address["gateway"]) in families):
            kept.append(address)
    own = [address.get("cidr") for address in kept]
    return [address for index, address in enumerate(kept) if own[index] is None or own[index] not in own[:index]]


@st.composite
def nics(draw: st.DrawFn) -> list[Json]:
    found = draw(st.lists(macs, max_size=3, unique=True))
    default = draw(st.none() | st.integers(0, 2))
    vlan, bond = draw(st.none() | st.integers(1, 4094)), draw(st.none() | st.sampled_from(BondMode))
    made: list[Json] = [
        {"mac": draw(either_case(st.just(mac)))}
        | ({"default": True} if index == default else {})
        | draw(
            st.fixed_dictionaries(
                {},
                optional={
                    "mtu": st.none() | st.integers(1280, 65_535),
                    "dns": st.lists(ips[4] | ips[6], max_size=2),
                    "addresses": st.none() | st.lists(addresses(index), max_size=2).map(_once),
                },
            )
        )
        for index, mac in enumerate(found)
    ]
    if found and vlan is not None:
        made.append({"mac": found[0], "vlan": {"link": found[0], "id": vlan}})
    if len(found) > 1 and bond is not None:
        made[1]["bond"] = {"links": [found[1]], "mode": bond}
    return made


user_data = st.one_of(
    st.builds(lambda text: {"text": text}, texts),
    st.builds(lambda data: {"base64": base64.b64encode(data).decode()}, st.binary(max_size=60)),
)
named_keys = st.builds(lambda name, key: {"name": f"{name}.", "key": key}, lines, ssh_lines)
guests = optional(
    metadata=optional(
        **dict.fromkeys(METADATA, lines) | dict.fromkeys(("local_hostname", "public_hostname"), host_names)
    )
    | st.builds(lambda extra: {"extra": extra}, extras),
    user_data=user_data,
    ssh_keys=st.lists(
        named_keys | ssh_lines, max_size=3, unique_by=lambda key: key["name"] if isinstance(key, dict) else key
    ),
    nics=nics(),
    password=passwords,
    instance_id=_name(WORD, WORD + "._-", 64),
    random_seed=st.binary(min_size=1, max_size=64).map(lambda seed: base64.b64encode(seed).decode()),
)
offerings = st.fixed_dictionaries(
    {
        "services": st.dictionaries(
            st.sampled_from(["UserData", "userdata", "Dhcp", "Dns"]),
            st.sampled_from(["ConfigDrive", "VirtualRouter", ["ConfigDrive"], ["VirtualRouter", "CONFIGDRIVE"], []]),
            max_size=3,
        )
    },
    optional={"name": lines},
)
times = st.datetimes(datetime(1980, 1, 2), datetime(2099, 12, 30), timezones=st.just(UTC)).map(  # noqa: DTZ001
    lambda moment: moment.isoformat()
)


@st.composite
def documents(draw: st.DrawFn, words: tuple[str, ...] = WORDS) -> Json:
    """A valid event, with any choice of its fields."""
    word = draw(st.sampled_from(words))
    uuid = draw(either_case(uuids))
    data: Json = {
        "sequence": draw(st.integers(0, 2**53 - 1)),
        "vm": {"uuid": uuid, "instance_name": draw(instance_names)},
        "hypervisor": draw(st.sampled_from(["kvm", "XenServer", "vmware", "my-driver_2"])),
        "host": draw(_name(WORD, WORD + "._:-", 128)),
    }
    data |= draw(
        optional(
            zone=_name(WORD[:26], WORD[:26] + "-0123456789", 32),
            primary_storage=storages,
            attach=st.sampled_from(["fleet", "orchestrator"]),
            presentation=st.sampled_from(["cdrom", "disk"]),
            guest_os=st.sampled_from(["windows", "linux", "other"]),
        )
    )
    if word in CONTENT_WORDS:
        data |= draw(optional(network_offering=offerings, password_enabled=st.booleans(), label=labels, guest=guests))
    of_word: dict[str, Json] = {
        "deploy": {"start": st.booleans()},
        "start": {"ensure": st.integers(0, 2**53 - 1)},
        "stop": {"booted": st.booleans()},
        "migrate": {"phase": st.sampled_from(["prepare", "complete", "rollback"])},
        "password_reset": {"apply": st.sampled_from(["now", "next_start"])},
        "update": {"apply": st.sampled_from(["now", "next_start"]), "password_delivered": st.booleans()},
    }
    data |= draw(st.fixed_dictionaries({}, optional=of_word.get(word, {})))
    if word == "migrate":
        data["destination"] = "host-2"
    if word == "password_reset":
        data["guest"] = (data.get("guest") or {}) | {"password": draw(passwords)}
    return {
        "specversion": "1.0",
        "id": draw(_name(WORD, WORD + "._:@+=~-", 128)),
        "source": draw(lines),
        "type": f"configdrive.vm.{word}.v1",
        "data": data,
    } | draw(
        st.fixed_dictionaries(
            {},
            optional={
                "time": times,
                "subject": either_case(st.just(uuid)),
                "datacontenttype": st.just("application/json"),
                "traceparent": st.just("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
                "comexampleextension": st.integers(),
            },
        )
    )


json_values: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["..", "a/b", "x" * 70_000, "\x00", "1.0", 10**400, -1, "R", "$6$abc$def"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=6,
)

# --- the model ------------------------------------------------------------------------------------------------------

places = st.builds(
    Place, st.sampled_from(["primary", "second"]).map(StorageName), st.sampled_from([None, HostName("host-1")])
)
files = st.builds("vm.{}.{}.iso".format, uuids, st.integers(0, 9))
records = st.builds(ImageRecord, files, st.integers(0, 2**53 - 1).map(Generation), st.floats(0, 4e9))
leftovers = st.builds(
    Leftover,
    st.sampled_from(["kvm", "xenserver"]).map(HypervisorName),
    st.sampled_from(["host-1", "host-2"]).map(HostName),
    files=st.lists(files, max_size=2).map(tuple),
    drive=st.booleans(),
)
vms = st.builds(
    Vm,
    uuid=uuids.map(VmUuid),
    instance_name=instance_names.map(InstanceName),
    hypervisor=st.sampled_from(["kvm", "xenserver"]).map(HypervisorName),
    host=st.sampled_from(["host-1", "host-2"]).map(HostName),
    primary_storage=st.none() | storages.map(StorageName),
    zone=st.none() | st.just("zone-1"),
    attach_by=st.sampled_from(AttachBy),
    presentation=st.sampled_from(Presentation),
    guest_os=st.none() | st.sampled_from(GuestOs),
)
vm_data = st.builds(
    lambda sent, label: GuestData.model_validate_json(json.dumps(sent)).merged_into(VmData(label=label)),
    guests,
    st.none() | labels,
)
secrets = st.none() | passwords.map(SecretStr)
states = st.builds(
    VmState,
    vm=st.none() | vms,
    sequence=st.integers(-1, 2**53 - 1),
    phase=st.sampled_from(Phase),
    wanted=st.booleans(),
    password_enabled=st.booleans(),
    data=vm_data,
    passwords=st.builds(Passwords, secrets, secrets),
    image=st.none() | records,
    places=st.lists(places, max_size=3, unique=True).map(tuple),
    destination=st.none() | st.just(HostName("host-2")),
    adopted=st.booleans(),
    host_id=st.sampled_from(["", "id-1"]),
    others=st.lists(files, max_size=2).map(tuple),
    added=st.none() | st.just("mark"),
    left=st.lists(leftovers, max_size=2).map(tuple),
)
