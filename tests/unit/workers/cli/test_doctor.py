from collections.abc import Mapping

from configdrive.errors import TransientCode, TransientError
from configdrive.model import HostName, HypervisorName, PowerState, Vm
from configdrive.ports import NoDrive, Observation
from workers.cli.doctor import Level, _one_host_twice


class Hosts:
    """A driver's hosts, and what each says of itself; `None`: it does not answer."""

    name = HypervisorName("kvm")

    def __init__(self, identities: Mapping[str, str | None]) -> None:
        self.identities = identities

    def observe(self, vm: Vm, also: object = (), names: object = None) -> Observation:
        assert (also, names) == ((), ()), "nothing is looked for"
        identity = self.identities[vm.host]
        if identity is None:
            raise TransientError(TransientCode.HOST_UNREACHABLE, "away")
        return Observation(PowerState.UNDEFINED, None, NoDrive(), host_id=identity)


def test_two_entries_that_are_one_host_are_a_failure() -> None:
    driver = Hosts({"a": "uuid-1", "b": "uuid-2", "c": None, "d": "uuid-1", "e": "", "f": ""})
    hosts = [HostName(name) for name in driver.identities]
    (finding,) = _one_host_twice(driver, hosts)  # type: ignore[arg-type]  # only `observe` is asked for
    assert (finding.level, finding.subject) == (Level.FAIL, "kvm hosts a and d")
    assert "uuid-1" in finding.detail
    assert "host_uuid" in finding.remedy
