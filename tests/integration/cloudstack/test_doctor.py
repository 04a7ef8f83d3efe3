"""`configdrive doctor --cloudstack`: what is well, and each thing that is not, with its remedy; and the least role."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from configdrive.ports import Check
from rigs.certificates import Certificates
from rigs.cloudstack import NETWORK, CloudStack, machine, network
from rigs.rabbitmq import RabbitMq
from tests.integration.cloudstack.site import AdapterSite
from workers.cloudstack.doctor import NEEDED, diagnose
from workers.cloudstack.gate_tokens import new_token
from workers.config.cloudstack import CloudStackSettings

_PREFIX = "CONFIGDRIVE_CLOUDSTACK__"


@pytest.fixture(autouse=True)
def no_other_vms(cloudstack: CloudStack) -> Iterator[None]:
    """What other tests have left would be diagnosed, too: VMs of which some fields are hidden."""
    others = dict(cloudstack.vms)
    cloudstack.vms.clear()
    yield
    cloudstack.vms.clear()
    cloudstack.vms.update(others)


def findings(site: AdapterSite, **more: object) -> dict[str, Check]:
    own: dict[str, Any] = {
        name.removeprefix(_PREFIX).lower(): value
        for name, value in site.environment.items()
        if name.startswith(_PREFIX)
    }
    return {check.subject: check for check in diagnose(CloudStackSettings.model_validate(own | more))}


def wrong(found: dict[str, Check]) -> list[str]:
    assert all(check.remedy for check in found.values() if not check.ok)
    return [subject for subject, check in found.items() if not check.ok]


def test_the_least_role_is_enough_for_the_doctor_and_for_an_event(
    site: AdapterSite, cloudstack: CloudStack, running: str, rabbitmq: RabbitMq
) -> None:
    cloudstack.allowed = frozenset(NEEDED)
    found = findings(site, amqp_url=rabbitmq.tls_url, amqp_ca_file=str(cloudstack.ca_file))
    assert wrong(found) == []
    assert {*map("cloudstack {}".format, NEEDED), "cloudstack clock", "cloudstack bus"} <= found.keys()

    site.inside(
        "read", "-", stdin=b'{"details":"Vm Id: %s","event":"VM.START","status":"Completed"}' % running.encode()
    )
    assert site.types(running) == ["start"]
    assert {call["command"] for call in cloudstack.calls} <= NEEDED.keys()


def test_what_a_role_may_not_do_or_does_not_see_and_a_provider_too_many_are_named(
    site: AdapterSite, cloudstack: CloudStack, vm: str
) -> None:
    cloudstack.allowed = frozenset(NEEDED) - {"listVolumes"}
    assert wrong(findings(site)) == ["cloudstack listVolumes"]
    cloudstack.allowed = None
    cloudstack.networks[NETWORK] = network()  # which has CloudStack's own drives
    assert wrong(findings(site, drives_for="all")) == ["cloudstack listNetworks"]
    cloudstack.vms[vm] = machine(vm, instancename=None, hostname=None)  # as another type of role shows it
    assert wrong(findings(site)) == ["cloudstack listVirtualMachines"]


@pytest.mark.parametrize(
    ("more", "subject"),
    [
        ({"url": None}, "cloudstack"),
        ({"amqp_url": "amqp://guest:guest@127.0.0.1:1/"}, "cloudstack bus"),
        ({"webhook_secret_file": "/nowhere"}, "cloudstack webhook"),
        ({"gate_tokens_file": "/nowhere"}, "cloudstack gate"),
    ],
)
def test_what_is_set_wrongly_is_named(site: AdapterSite, more: dict[str, object], subject: str) -> None:
    assert wrong(findings(site, **more)) == [subject]


@pytest.mark.parametrize("authority", [None, "/nowhere"])
def test_a_rabbitmq_that_nobody_trusts_is_given_no_password(
    site: AdapterSite, rabbitmq: RabbitMq, authority: str | None
) -> None:
    found = findings(site, amqp_url=rabbitmq.tls_url, amqp_ca_file=authority)
    assert wrong(found) == ["cloudstack bus"]
    assert "cannot be read" in found["cloudstack bus"].detail or "not trusted" in found["cloudstack bus"].detail


def test_a_certificate_and_the_key_of_another_are_no_gate_s_and_with_a_gate_no_start_is_published_before_it(
    site: AdapterSite, cloudstack: CloudStack, certificates: Certificates, tmp_path: Path
) -> None:
    tokens = tmp_path / "tokens"
    new_token(tokens, "h1")
    own = {
        "gate_tokens_file": str(tokens),
        "gate_certificate": str(certificates.directory / "servercert.pem"),
        "gate_certificate_key": str(certificates.directory / "serverkey.pem"),
    }
    assert wrong(findings(site, **own)) == []
    assert wrong(findings(site, **own | {"gate_certificate": str(cloudstack.ca_file)})) == ["cloudstack gate"]
    assert wrong(findings(site, **own, start_at="starting")) == ["cloudstack gate"]
