"""Reading recorded answers, and telling whether another answer is the same but for its references, uuids and dates."""

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
        texts = [_DATE.sub("DATE", _RESET.sub(_RESET_WORD, answer.value)) for answer in (recorded, played)]
        values = [_value(text) for text in texts]
        if values[0] is not None:  # then it was not cut off, and has its keys in any order
            texts = [repr(_in_order(value)) for value in values]
        one, other = (_TOKEN.sub("#", text) for text in texts)
        if values[0] is None and one.startswith(("(", "[", "{")):
            one = _PART_OF_TOKEN.sub("", one)
            other = other[: len(one)]
        if (recorded.status, one) != (played.status, other):
            return False
        theirs, ours = dict(self.theirs), dict(self.ours)
        for token, its in zip(*(_TOKEN.findall(text) for text in texts), strict=False):
            if theirs.setdefault(token, its) != its or ours.setdefault(its, token) != token:
                return False
        self.theirs, self.ours = theirs, ours
        return True


def _value(text: str) -> object:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return None


def _in_order(value: object) -> object:
    if isinstance(value, dict):
        return {key: _in_order(value[key]) for key in sorted(value)}
    return type(value)(map(_in_order, value)) if isinstance(value, list | tuple) else value
