"""The key of an event: the one word for its source and its id, by which everything that is kept of it is found.

CloudEvents 1.0.2: an id is unique within its source, and the pair among all events. Two publishers that count alike are
two sources, so their events are not each other's duplicates.
"""

from __future__ import annotations

import hashlib
import re
from base64 import urlsafe_b64encode
from typing import Final

from configdrive.model import EventKey

KEY_PATTERN: Final = re.compile(r"[A-Za-z0-9_-]{22}")
_LENGTH = 22
"""Characters of base64: 132 bits of the digest."""


def event_key(source: str, event_id: str) -> EventKey:
    """Return the key: the first 22 characters of the base64url of SHA-256 over source, line feed and id, in UTF-8.

    Neither part can hold a line feed, so no two pairs are one text.
    """
    digest = hashlib.sha256(f"{source}\n{event_id}".encode("utf-8", "surrogatepass")).digest()
    return EventKey(urlsafe_b64encode(digest)[:_LENGTH].decode())
