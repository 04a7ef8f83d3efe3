"""Documents and texts made strange: any place of a document, any byte of a text. Everything comes from one `Random`."""

import json
from collections.abc import Callable
from copy import deepcopy
from random import Random
from typing import Any

MARKER = "Sw0rdfish-of-a-stranger"
"""Stands in much of what is planted: no error may quote it."""

_DEEP = (10, 200, 995, 5_000, 50_000)


def _nested(random: Random) -> object:
    """Nest lists or objects as deep as `json.dumps` writes; what is deeper is made as text."""
    value: object = MARKER
    for _ in range(random.choice((2, 20, 200))):
        value = [value] if random.random() < 0.5 else {"a": value}
    return value


def _text(random: Random) -> str:
    alphabet = (
        "a0._-",
        "é\u00e9\u200f\ufeff\u2028",
        "\x00\x01\x1b\x7f\r\n\t",
        "/\\..",
        "\ud800\udfff\U0001f600",
        "{}[]:,\"'",
    )
    return "".join(random.choice(random.choice(alphabet)) for _ in range(random.choice((0, 1, 3, 17, 65, 300))))


STRANGE: tuple[Callable[[Random], object], ...] = (
    lambda _: None,
    lambda random: random.random() < 0.5,
    lambda random: random.choice((0, -1, 1, 2**31, 2**53, 2**63, 2**64, -(2**63), 10**400)),
    lambda random: random.choice((0.5, -0.0, 1e308, 5e-324, float("inf"), float("nan"))),
    lambda _: MARKER,
    lambda random: MARKER * random.choice((2, 50, 5_000)),
    _text,
    lambda random: _text(random) + MARKER,
    lambda _: [],
    lambda _: {},
    lambda _: [MARKER],
    lambda _: {MARKER: MARKER},
    lambda random: [MARKER] * random.choice((17, 65, 1_000)),
    lambda random: {f"{MARKER}{index}": index for index in range(random.choice((17, 65, 500)))},
    _nested,
    lambda random: random.choice(
        ("1", "true", "null", "1e999", "0x10", "NaN", "2026-03-10T07:13:00Z", "::1%eth0", "..")
    ),
)
"""What is planted into documents."""

Path = tuple[str | int, ...]


def paths(value: object, path: Path = ()) -> list[Path]:
    """Return the paths to all parts of a document, the whole included."""
    found = [path]
    if isinstance(value, dict):
        for key, inner in value.items():
            found += paths(inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            found += paths(inner, (*path, index))
    return found


def strange(random: Random) -> Any:  # noqa: ANN401 - any JSON
    """Make a value that is seldom what is wanted."""
    return random.choice(STRANGE)(random)


def changed(random: Random, document: Any) -> Any:  # noqa: ANN401 - any JSON
    """Return a document with one to three places planted, taken away, doubled or exchanged."""
    whole = deepcopy(document)
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        path = random.choice(paths(whole))
        if not path:
            whole = strange(random) if random.random() < 0.1 else whole
            continue
        place = whole
        for step in path[:-1]:
            place = place[step]
        _change(random, place, path[-1])
    return whole


def _change(random: Random, place: Any, step: str | int) -> None:  # noqa: ANN401 - as above
    match random.randrange(6):
        case 0:
            del place[step]
        case 1 if isinstance(place, dict):
            place[random.choice((MARKER, "", "type", "guest", "sealed", "\ud800", str(step).upper()))] = strange(random)
        case 2 if isinstance(place, dict):
            place[step] = place[random.choice(list(place))]
        case 3 if isinstance(place, list):
            place += place[: random.choice((1, 70))]
        case _:
            place[step] = strange(random)


def written(random: Random, document: object) -> bytes:
    """Write a document as JSON, now and then as its writers should not: keys doubled, text escaped, numbers huge."""
    escaped = random.random() < 0.5
    text = json.dumps(document, ensure_ascii=escaped)
    match random.randrange(12):
        case 0 if text.startswith("{") and len(text) > 2:
            text = text[:-1] + "," + text[1:]  # every key twice
        case 1:
            text = text.replace('"', random.choice(('"\\ud800', '"\\u0000', '"\\/', '"\\x')), random.randrange(1, 4))
        case 2:
            text = text.replace("1", random.choice(("1" * 5_000, "1e400", "-1", "01", "1.0", "0x1")), 1)
        case 3:
            deep = random.choice(_DEEP)
            text = text.replace(":", ":" + "[" * deep + random.choice(("", "]" * deep + ",")), 1)
        case _:
            pass
    return text.encode("utf-8", "surrogatepass")


def scrambled(random: Random, raw: bytes) -> bytes:
    """Return a text with a few bytes changed, added, taken away or cut off."""
    data = bytearray(raw)
    for _ in range(random.choice((1, 1, 2, 8))):
        at = random.randrange(len(data) + 1)
        match random.randrange(6):
            case 0:
                del data[at : at + random.choice((1, 4, 100))]
            case 1:
                data[at:at] = random.randbytes(random.choice((1, 2, 40)))
            case 2:
                data[at:at] = random.choice(
                    (b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\x00", b'"', b"\\", b"{", b"]", b"\xf4\x90")
                )
            case 3 if at < len(data):
                data[at] ^= 1 << random.randrange(8)
            case 4:
                data[at : at + 1] = random.choice((b"0", b"9", b"e", b"-", b":", b","))
            case _:
                data = data[:at] + data[random.randrange(len(data) + 1) :]
    return bytes(data)


def raw(random: Random) -> bytes:
    """Make what is no document at all."""
    match random.randrange(5):
        case 0:
            return random.randbytes(random.choice((0, 1, 16, 300)))
        case 1:
            return random.choice((b"[", b'{"a":', b'[{"x":[')) * random.choice(_DEEP)
        case 2:
            return json.dumps(MARKER).encode(random.choice(("utf-16", "utf-32", "utf-7", "utf-8-sig")))
        case 3:
            return random.choice((b"null", b"true", b"1e999", b"NaN", b'""', b"[]", b"{}", b"-", b"\x80\x04]q\x00."))
        case _:
            return _text(random).encode("utf-8", "surrogatepass")


def given(random: Random, document: object) -> bytes:
    """Make what comes in the place of a document: seldom itself, mostly something near it, now and then anything."""
    match random.randrange(10):
        case 0:
            return raw(random)
        case 1 | 2:
            return scrambled(random, json.dumps(document).encode())
        case 3:
            return json.dumps(document).encode()
        case _:
            return written(random, changed(random, document))
