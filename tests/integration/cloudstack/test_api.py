"""CloudStack's API over HTTPS: what is asked, how it is signed, and what its answers are read as."""

import ssl
from pathlib import Path

import pytest
from pydantic import SecretStr

from configdrive.errors import FleetError, PermanentCode, PermanentError, TransientCode, TransientError
from configdrive.model import VmUuid
from rigs.certificates import Certificates
from rigs.cloudstack import API_KEY, NETWORK, SECRET_KEY, CloudStack, expected_signature, machine, network
from rigs.process import LOOPBACK
from tests.support import error_of
from workers.cloudstack.api import Api, ApiKey, signature
from workers.cloudstack.directory import ApiDirectory
from workers.config.secret_files import read_secret

KEY = ApiKey(API_KEY, SecretStr(SECRET_KEY))


def api(server: CloudStack, *, key: ApiKey = KEY, seconds: float = 10, trusted: Path | None = None) -> Api:
    context = ssl.create_default_context(cafile=trusted or server.ca_file)
    return Api(server.url, key, seconds=seconds, context=context)


def test_the_example_of_cloudstack_s_documentation_has_its_signature() -> None:
    parameters = {"command": "listUsers", "response": "json", "apiKey": API_KEY}

    assert signature(parameters, SecretStr(SECRET_KEY)) == "TTpdDq/7j/J58XCRHomKoQXEQds="
    assert expected_signature(parameters) == "TTpdDq/7j/J58XCRHomKoQXEQds="


def test_a_call_is_signed_and_expires(cloudstack: CloudStack, vm: str) -> None:
    cloudstack.vms[vm] = machine(vm, name="a b+c/ü")
    found = ApiDirectory(api(cloudstack)).find(VmUuid(vm))

    assert found is not None
    assert found.name == "a b+c/ü"
    (call,) = cloudstack.calls
    assert call["signatureVersion"] == "3"
    assert SECRET_KEY not in repr(cloudstack.calls)


def test_values_are_encoded_as_java_does(cloudstack: CloudStack) -> None:
    assert api(cloudstack).call("listZones", id="a b+c/ü~[0]") is None  # not 401: the signature was right


def test_all_of_a_vm_is_read(cloudstack: CloudStack, vm: str) -> None:
    six = {"ip6address": "2001:db8::7", "ip6cidr": "2001:db8::/64", "ip6gateway": "2001:db8::1"}
    second = {"networkid": "net-2", "macaddress": "02:00:45:47:00:01", "isdefault": False, **six}
    nics = machine(vm)["nic"]
    cloudstack.vms[vm] = machine(vm, nic=[second, *nics], publicip="203.0.113.7", hypervisor="KVM")
    cloudstack.networks["net-2"] = network(id="net-2", dns1="192.0.2.99", service=[])
    cloudstack.user_data[vm] = "I2Nsb3Vk\nLWNvbmZpZwo="
    directory = ApiDirectory(api(cloudstack))
    found = directory.find(VmUuid(vm))
    assert found is not None
    content = directory.content(found)

    assert (found.instance_name, found.hypervisor, found.state, found.host) == (
        f"i-2-{vm[:4]}-VM",
        "KVM",
        "Running",
        "h1",
    )
    assert (found.zone, found.service_offering, found.password_enabled, found.public_ip) == (
        "Zone 1",
        "Small Instance",
        True,
        "203.0.113.7",
    )
    assert [nic.default for nic in found.nics] == [True, False]
    assert (found.nics[1].ip6, found.nics[1].gateway6) == ("2001:db8::7", "2001:db8::1")
    assert (found.key_names, len(found.key_lines)) == (("mine",), 1)
    assert dict(content.networks[NETWORK].services) == {"UserData": ("ConfigDrive",), "Dhcp": ("VirtualRouter",)}
    assert content.networks[NETWORK].dns == ("192.0.2.53",)
    assert content.networks["net-2"].dns == ("192.0.2.99",)
    assert content.user_data is not None
    assert content.user_data.get_secret_value() == "I2Nsb3VkLWNvbmZpZwo="


def test_a_vm_of_a_project_and_one_without_anything_are_read_all_the_same(cloudstack: CloudStack, vm: str) -> None:
    assert ApiDirectory(api(cloudstack)).find(VmUuid(vm)) is None
    cloudstack.of_projects.add(vm)
    cloudstack.vms[vm] = {"id": vm, "instancename": "i-2-3-VM", "hypervisor": "None", "nic": None, "details": "x"}
    directory = ApiDirectory(api(cloudstack))
    found = directory.find(VmUuid(vm))

    assert found is not None
    assert (found.hypervisor, found.host, found.nics, found.key_lines) == (None, None, (), ())
    assert directory.content(found).user_data is None


def test_the_password_in_a_job_s_result_is_read(cloudstack: CloudStack) -> None:
    cloudstack.jobs["done"] = {"jobstatus": 1, "jobresult": {"virtualmachine": {"password": "Hunter2"}}}
    cloudstack.jobs["failed"] = {"jobstatus": 2, "jobresult": {"errorcode": 530}}
    directory = ApiDirectory(api(cloudstack))
    found = directory.password_of("done")

    assert found is not None
    assert found.get_secret_value() == "Hunter2"
    assert directory.password_of("failed") is None
    assert directory.password_of("unknown") is None


def refused(server: Api) -> FleetError:
    caught = error_of(ApiDirectory(server).find, VmUuid("991558d9-5dfe-4272-85aa-98cbf7c10830"))
    assert SECRET_KEY not in f"{caught!r} {caught.__cause__!r} {caught.__context__!r}"
    return caught


def test_wrong_keys_are_words(cloudstack: CloudStack) -> None:
    error = refused(api(cloudstack, key=ApiKey(API_KEY, SecretStr(SECRET_KEY.lower()))))

    assert (type(error), error.code) == (PermanentError, PermanentCode.ACCESS_DENIED)


@pytest.mark.parametrize(
    ("status", "code"),
    [
        *((status, TransientCode.HOST_UNREACHABLE) for status in (429, 500, 503, 530, 302)),
        *((status, PermanentCode.ACCESS_DENIED) for status in (401, 432, 531)),
    ],
)
def test_what_may_pass_is_transient_and_what_a_person_has_to_mend_permanent(
    cloudstack: CloudStack, status: int, code: TransientCode | PermanentCode
) -> None:
    cloudstack.status = status

    assert refused(api(cloudstack)).code is code
    assert len(cloudstack.calls) == 1  # a redirect is not followed
    cloudstack.status = 404
    assert "/client/api" in refused(api(cloudstack)).remedy


def test_keys_that_are_no_admin_s_are_words(cloudstack: CloudStack) -> None:
    uuid = "991558d9-5dfe-4272-85aa-98cbf7c10830"
    cloudstack.vms[uuid] = {"id": uuid, "state": "Running"}

    assert "root admin" in refused(api(cloudstack)).remedy


def test_a_certificate_that_is_not_trusted_is_words(cloudstack: CloudStack, tmp_path: Path) -> None:
    stranger = Certificates.make(tmp_path / "pki", LOOPBACK).directory / "cacert.pem"
    error = refused(api(cloudstack, trusted=stranger))

    assert (type(error), error.code) == (PermanentError, PermanentCode.MISCONFIGURED)
    assert cloudstack.calls == []


def test_a_server_that_is_away_or_hangs_is_transient(cloudstack: CloudStack) -> None:
    client = api(cloudstack, seconds=0.5)
    cloudstack.well.clear()
    assert isinstance(refused(client), TransientError)
    cloudstack.stop()
    assert isinstance(refused(client), TransientError)


@pytest.mark.parametrize(
    ("content", "mode", "words"),
    [(f"{API_KEY}\n", 0o600, "1 words"), (f"{API_KEY}\n{SECRET_KEY}\n", 0o604, "others"), ("", 0o600, "empty")],
)
def test_a_key_file_that_is_none_is_named(tmp_path: Path, content: str, mode: int, words: str) -> None:
    path = tmp_path / "keys"
    path.write_text(f"{API_KEY}\n{SECRET_KEY}\n")
    path.chmod(0o640)
    assert ApiKey.read(path) == KEY
    assert SECRET_KEY not in repr(ApiKey.read(path))
    path.write_text(content)
    path.chmod(mode)
    caught = error_of(ApiKey.read, path)

    assert words in caught.detail
    assert API_KEY not in str(caught)


@pytest.mark.parametrize("path", [None, "missing"])
def test_a_secret_that_is_not_there_is_words(tmp_path: Path, path: str | None) -> None:
    with pytest.raises(PermanentError, match=r"cloudstack\.key_file"):
        read_secret(None if path is None else tmp_path / path, "cloudstack.key_file")
