"""One Redis, one CloudStack and one RabbitMQ for all; keys, VMs and queues of its own for each test."""

import uuid
from collections.abc import Iterator

import pytest

from rigs.certificates import Certificates, Identity
from rigs.cloudstack import CloudStack, machine
from rigs.process import LOOPBACK
from rigs.rabbitmq import RabbitMq
from rigs.redis import RedisServer
from tests.integration.cloudstack.site import AdapterSite, Hook, idle_fleet
from tests.support import require_rig


@pytest.fixture(scope="package")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates.make(tmp_path_factory.mktemp("pki"), LOOPBACK)


@pytest.fixture(scope="package")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with require_rig(), RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(scope="package")
def rabbitmq(tmp_path_factory: pytest.TempPathFactory, certificates: Certificates) -> Iterator[RabbitMq]:
    pki = certificates.directory
    identity = Identity(pki / "servercert.pem", pki / "serverkey.pem")
    with require_rig(), RabbitMq(tmp_path_factory.mktemp("rabbitmq"), identity) as server:
        yield server


@pytest.fixture(scope="package")
def shared_cloudstack(certificates: Certificates) -> Iterator[CloudStack]:
    with CloudStack(certificates) as server:
        yield server


@pytest.fixture
def cloudstack(shared_cloudstack: CloudStack) -> CloudStack:
    shared_cloudstack.forget_faults()
    return shared_cloudstack


@pytest.fixture(scope="package")
def shared_site(
    tmp_path_factory: pytest.TempPathFactory, redis_server: RedisServer, shared_cloudstack: CloudStack
) -> Iterator[AdapterSite]:
    directory = tmp_path_factory.mktemp("site")
    with idle_fleet(directory, redis_server) as fleet, AdapterSite(directory, fleet, shared_cloudstack) as site:
        yield site


@pytest.fixture
def site(shared_site: AdapterSite, cloudstack: CloudStack) -> AdapterSite:
    """A site whose CloudStack is well, and where nothing was ever wrong."""
    assert shared_site.cloudstack is cloudstack
    shared_site.forget_dead_letters()
    return shared_site


@pytest.fixture(scope="package")
def shared_hook(shared_site: AdapterSite, certificates: Certificates) -> Hook:
    return shared_site.webhook(certificates)


@pytest.fixture
def vm() -> str:
    return str(uuid.uuid4())


@pytest.fixture
def running(cloudstack: CloudStack, vm: str) -> str:
    """A VM that CloudStack has running."""
    cloudstack.vms[vm] = machine(vm)
    return vm
