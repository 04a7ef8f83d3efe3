"""The sealing of a drive's content: `guest` becomes `sealed` before an event leaves its publisher for the queue.

A sealed box is bound to the context `<vm uuid>/<event id>`, so that it can neither be moved to another VM nor sent
again under another id.
"""

from __future__ import annotations

import json
import re
from contextlib import suppress

from pydantic import ValidationError
from pydantic_core import to_json

from configdrive.contract.events import MAX_EVENT_BYTES, ContentEvent, LifecycleEvent, PasswordResetEvent, too_large
from configdrive.contract.guest_data import GuestData, is_object
from configdrive.contract.lenient import without_bad
from configdrive.contract.validation import explain
from configdrive.errors import BadContentError, PermanentCode
from configdrive.ports import Sealer

VERSION = "v1"
FORM = re.compile(rf"{VERSION}\.(?P<key>[0-9a-f]{{16}})\.")
"""How all sealed data begins."""


def key_of(sealed: str) -> str:
    """Return the id of the key that something was sealed for; empty when it is nothing sealed."""
    form = FORM.match(sealed)
    return "" if form is None else form["key"]


def body_of(event: LifecycleEvent, sealer: Sealer) -> bytes:
    """Return the event's JSON for the mailbox, with its guest data sealed.

    Raises:
        PermanentError: `CONTENT_TOO_LARGE`, when it would not be taken out of the mailbox again.
    """
    document = event.model_dump(mode="json", exclude_none=True, exclude={"data": {"guest"}})
    if isinstance(event, ContentEvent) and event.data.guest is not None:
        document["data"]["sealed"] = sealer.seal(event.data.guest.plaintext(), _context(event))
    body = to_json(document)
    if len(body) > MAX_EVENT_BYTES:
        raise too_large(len(body))
    return body


def guest_of(event: LifecycleEvent, sealer: Sealer) -> GuestData:
    """Return what the event says of the drive's content; empty when it says nothing.

    Raises:
        PermanentError: `UNSEALABLE`, for a sealed box that is not for this event.
        BadContentError: `INVALID_EVENT` or `CONTENT_TOO_LARGE`, for what is in it.
    """
    if not isinstance(event, ContentEvent):
        return GuestData()
    guest = event.data.guest or GuestData()
    if event.data.sealed is not None:
        guest = _unsealed(sealer.open(event.data.sealed, _context(event)), lenient=event.data.lenient)
    if isinstance(event, PasswordResetEvent) and guest.password is None:
        detail = "data.sealed: has no password"
        raise BadContentError(PermanentCode.INVALID_EVENT, detail, "give 'guest.password'")
    return guest


def _unsealed(plaintext: bytes, *, lenient: bool) -> GuestData:
    try:
        return GuestData.of_plaintext(plaintext)
    except ValidationError as error:
        problem = explain(error)
    found = _leniently(plaintext) if lenient else None
    if found is not None:
        return found
    raise BadContentError(PermanentCode(problem.code), f"in data.sealed: {problem.detail}", problem.remedy)


def _leniently(plaintext: bytes) -> GuestData | None:
    """Open what a publisher has sealed without a look; `None` when what is wrong cannot be left out."""
    document, _, content = plaintext.partition(b"\n")
    with suppress(ValueError, RecursionError):
        if not content or not is_object(document):
            document, content = plaintext, b""
        guest = json.loads(document)
        if isinstance(guest, dict):
            kept, left = without_bad(guest)
            return GuestData.of_plaintext(b"\n".join((to_json(kept), *([content] if content else [])))).lacking(left)
    return None


def _context(event: LifecycleEvent) -> str:
    return f"{event.data.vm.uuid}/{event.id}"
