"""Reading recorded answers, and telling whether another answer is the same but for its references, uuids and dates."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass, field
from pathlib import Path

DATA = Path(__file__).resolve().parents[2] / "data" / "xapi"

_TIMING = re.compile(r" \[\d+(?:\.\d\d)?s\]$")
_SECONDS = re.compile(r"(?<=\('ok', )\d+\.\d(?=\))")
_BROKEN = re.compile(r"^(.*?) ?\b(?:ConnectionResetError|BrokenPipeError) (\[Errno.*)$")
_TOKEN = re.compile(
    r"OpaqueRef:[0-9a-f-]{36}|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|\b10\.99\.0\.\d+|\b127\.0\.0\.\d+"
)
_PART_OF_TOKEN = re.compile(r"(?:O|OpaqueRef:?)?[0-9a-f-]*$")
_DATE = re.compile(r"\b\d{4}-\d+-\d+:\d+:\d+:\d+")
# Which of the two a client sees depends on how far it came with its body.
_RESET = re.compile(r"'(?:ConnectionResetError|BrokenPipeError)', '\[Errno \d+\] [\w ]+'")
_RESET_WORD = "'reset'"


@dataclass(frozen=True)
class Answer:
    """One line: `OK`, `FAIL` or `EXC`, what was done, and what came of it."""

    status: str
    label: str
    value: str


def read(name: str) -> list[Answer]:
    """All recorded calls of a file; lines that are notes of the recorder are left out."""
    answers = []
    for line in (DATA / name).read_text().splitlines():
        status, _, rest = line.partition(" ")
        if status not in {"OK", "FAIL", "EXC"}:
            continue
        rest = _SECONDS.sub("0.0", _TIMING.sub("", rest.strip("\n")))
        broken = _BROKEN.match(rest) if status == "EXC" else None
        label, _, value = (broken[1], "", "reset") if broken else rest.rpartition(" -> ")
        if rest.endswith(" ->"):
            label, value = rest.removesuffix(" ->"), ""
        answers.append(Answer(status, label.strip(), value.removeprefix("XenAPI.Failure ").strip()))
    return answers


@dataclass
class Comparison:
    """Compares answers line after line; which of our references stands for which recorded one is learnt on the way."""

    ours: dict[str, str] = field(default_factory=dict)
    theirs: dict[str, str] = field(default_factory=dict)

    def same(self, recorded: Answer, played: Answer) -> bool:
        """Whether both say the same. A recorded value that was cut off counts as far as it goes."""
        if recorded.status != played.status:
            return False
        texts = [_DATE.sub("DATE", _RESET.sub(_RESET_WORD, answer.value)) for answer in (recorded, played)]
        values = [_value(text) for text in texts]
        pairs = _tokens(*values) if values[0] is not None else _prefix_tokens(*texts)
        if pairs is None:
            return False
        theirs, ours = dict(self.theirs), dict(self.ours)
        for one, other in pairs:
            if theirs.setdefault(one, other) != other or ours.setdefault(other, one) != one:
                return False
        self.theirs, self.ours = theirs, ours
        return True


_Pairs = list[tuple[str, str]]


def _value(text: str) -> object:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return None


def _prefix_tokens(recorded: str, played: str) -> _Pairs | None:
    """Texts that are no literals: the recorded one may be the beginning of the other."""
    one, other = (_TOKEN.sub("#", text) for text in (recorded, played))
    was_cut = recorded.startswith(("(", "[", "{"))
    cut = _PART_OF_TOKEN.sub("", one)
    if one != other and not (was_cut and other.startswith(cut)):
        return None
    return list(zip(_TOKEN.findall(recorded), _TOKEN.findall(played), strict=False))


def _tokens(recorded: object, played: object) -> _Pairs | None:
    """Values: equal but for tokens, each of which stands for another."""
    if isinstance(recorded, dict) and isinstance(played, dict):
        if len(recorded) == len(played) == 1:  # perhaps one row by its reference
            return _tokens([*recorded.items()], [*played.items()])
        return _all([(recorded[key], played[key]) for key in recorded]) if set(recorded) == set(played) else None
    if isinstance(recorded, list | tuple) and type(recorded) is type(played):
        assert isinstance(played, list | tuple)
        return _all(list(zip(recorded, played, strict=True))) if len(recorded) == len(played) else None
    if isinstance(recorded, str) and isinstance(played, str):
        alike = _TOKEN.sub("#", recorded) == _TOKEN.sub("#", played)
        return list(zip(_TOKEN.findall(recorded), _TOKEN.findall(played), strict=True)) if alike else None
    return [] if type(recorded) is type(played) and recorded == played else None


def _all(pairs: list[tuple[object, object]]) -> _Pairs | None:
    found: _Pairs = []
    for one, other in pairs:
        part = _tokens(one, other)
        if part is None:
            return None
        found += part
    return found
