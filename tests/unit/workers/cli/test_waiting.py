from types import SimpleNamespace
from typing import Any

import pytest

from configdrive.contract.event_key import event_key
from configdrive.model import VmUuid
from tests.unit.documents import UUID
from workers.cli.waiting import Reasons

KEY = event_key("/tests", "e-1")
LATER = 4_000_000_000.0


def header(kind: str = "start", key: object = KEY) -> Any:  # noqa: ANN401 - as a header, of which five fields are read
    return SimpleNamespace(key=key, event_type=kind, sequence=7, queue="configdrive.kvm.z1")


@pytest.mark.parametrize(
    ("state", "served", "said"),
    [
        ({"mail": []}, {}, "it ended just now"),
        ({}, {}, "no worker takes from configdrive.kvm.z1: `configdrive worker --hypervisor kvm`"),
        ({}, {"w": {"configdrive.kvm.z1"}}, "all workers of configdrive.kvm.z1 are busy with other VMs"),
        ({"owner": "w", "leased_until": LATER}, {}, "a worker is at it"),
        ({"reason": "host_unreachable", "due": LATER}, {}, "host_unreachable: the next attempt is at "),
        ({"mail": [header("deploy", "x"), header()], "parked": "access_denied"}, {}, "deploy #7, which is parked (acc"),
        ({"mail": [header("deploy", "x"), header()]}, {}, "it waits behind deploy #7: no worker takes from"),
    ],
)
def test_why_an_event_has_no_outcome_is_said(state: dict[str, object], served: Any, said: str) -> None:  # noqa: ANN401
    nothing = dict.fromkeys(("owner", "leased_until", "reason", "due", "parked"))
    view = SimpleNamespace(**{"uuid": VmUuid(UUID), "mail": [header()], **nothing, **state})
    mailbox: Any = SimpleNamespace(vm_of=lambda _key: VmUuid(UUID), view=lambda _uuid: view)
    assert said in Reasons(mailbox, served).why(KEY)
