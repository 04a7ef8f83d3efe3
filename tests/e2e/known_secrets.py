"""The secrets of a run, and every form in which one could be betrayed."""

import base64
import json
import re
import urllib.parse
from collections.abc import Iterable, Iterator

PASSWORD = "correct-horse-battery-staple"
SECOND_PASSWORD = "Tr0ub4dor&3/+?"
LAST_PASSWORD = "N3w-pässwörd-№"
USER_DATA = "#cloud-config\nruncmd: [echo hush-hush-little-baby]\n"
REDIS_PASSWORD = "the-fleets-own-login"
SECRETS = (PASSWORD, SECOND_PASSWORD, LAST_PASSWORD, USER_DATA, REDIS_PASSWORD)


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def forms_of(secret: str) -> Iterator[bytes]:
    """Give all that would betray a secret: itself, escaped, in hex, in URLs, and as a part of anything in base64."""
    raw = secret.encode()
    yield raw
    yield raw.hex().encode()
    yield json.dumps(secret).encode()[1:-1]
    yield json.dumps(json.dumps(secret)[1:-1]).encode()[1:-1]
    yield repr(secret).encode()[1:-1]
    yield repr(raw).encode()[2:-1]
    yield urllib.parse.quote(secret).encode()
    for shift in range(3):  # whatever stands before it, these characters are in the middle of the base64 text
        middle = base64.b64encode(b"\0" * shift + raw)[(shift * 4 + 2) // 3 : -4]
        yield middle
        yield middle.replace(b"+", b"-").replace(b"/", b"_")


def betrayed(content: bytes, secrets: Iterable[str] = SECRETS) -> list[str]:
    """Return which secrets, or words that all secrets of a run contain, can be read from what a run has left."""
    plain = re.sub(rb"\\+", rb"\\", content)
    found = [secret for secret in secrets for form in forms_of(secret) if form in content or form in plain]
    return sorted(set(found))
