"""Headers as they lie on Redis: ours come back as they were, and what a stranger wrote is passed over."""

import json

import pytest

from configdrive.client.encoding import decode, encode
from configdrive.client.postings import Header
from configdrive.model import EventId, VmUuid
from tests.unit.documents import UUID
from workers.store.encoding import readable

WHOLE = {"id": "event-1", "type": "start", "vm": UUID, "queue": "configdrive.kvm", "sequence": 1}
HEADER = Header(EventId("event-1"), "/tests", "start", VmUuid(UUID), "configdrive.kvm", 1)


@pytest.mark.parametrize("traceparent", [None, "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"])
def test_a_header_comes_back_as_it_was(traceparent: str | None) -> None:
    header = Header(EventId("event-1"), "/tests", "start", VmUuid(UUID), "configdrive.kvm", 1, traceparent)
    assert decode(encode(header).encode()) == header


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"garbage",
        b"\xff\xfe",
        b"[]",
        b"null",
        b"5",
        b"[" * 100_000,
        b'{"x":' * 100_000,
        *(
            json.dumps({name: value for name, value in WHOLE.items() if name != left_out}).encode()
            for left_out in WHOLE
        ),
        *(json.dumps(WHOLE | {name: [value]}).encode() for name, value in WHOLE.items()),
    ],
    ids=map("{}".format, range(18)),
)
def test_what_is_no_header_is_passed_over(text: bytes) -> None:
    assert list(readable([text, encode(HEADER).encode(), text])) == [HEADER]
