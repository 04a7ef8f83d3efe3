"""The words that have left the project: none of them may come back, as an identifier, a module's name or in prose.

One thing has one word, the one that Celery, Redis, SQS, libvirt, XAPI and vSphere use. `make lint` runs this.
"""

import io
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]

INSTEAD = {
    "attempt": ("turn", "turns"),
    "reported, notified or published": ("told",),
    "dead-letter": ("bury", "buried", "burying"),
    "leftover": ("debt", "debts", "owe", "owes", "owed", "owing"),
    "snapshot": ("glance",),
    "orphan": ("stray", "strays"),
    "storage sweeper": ("storekeeper", "storeroom", "storerooms"),
    "topology, survey, vms": ("estate", "residents"),
    "inspection": ("census",),
    "write, verify": ("readback", "mastering"),
    "entry point or endpoint": ("door", "doors"),
    "sealed box": ("box", "boxes"),
    "runtime": ("hands",),
}
"""The word to say -> the words that are not said in identifiers."""

MODULES = frozenset(
    [
        "blank",
        "bus",
        "deciding",
        "exits",
        "keyring",
        "lines",
        "machines",
        "pattern",
        "showing",
        "sweeping",
        "users",
        "visits",
        "waking",
    ]
)
"""Names that no module has, beside these words."""

PROSE = re.compile(
    r"\b(person's word|told of|bur(?:y|ied)|debts?|ow(?:ing|ed)|glances?|strays?|storekeepers?|storerooms?|census"
    r"|estates?|residents|read-?back|mastering)\b",
    re.IGNORECASE,
)

NOT_READ = frozenset({"CHANGELOG.md", "tests/words.py"})
"""What lists old names; and this."""

_VERBS = frozenset({"turn", "turns", "hands"})
"""In the name of a test, which is a sentence, these may be verbs."""

PRODUCT = ("configdrive/", "tasks/", "workers/")
NO_NOUN = re.compile(r'r?"""(What|Which|Who|Where|How|From|When|Whether|Why)\b')
"""How no module of the product begins: its first line names what it holds."""

_SAID = {word: instead for instead, words in INSTEAD.items() for word in words}
_PARTS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+")
_SEALED = ("box", "boxes")


def main() -> int:
    """Print each word that is found, with its place; only below the paths that are given, if any."""
    given = tuple(sys.argv[1:]) or ("",)
    found = [line for path in _tracked() if path.startswith(given) for line in findings(path)]
    sys.stdout.writelines(f"{line}\n" for line in found)
    return min(len(found), 1)


def findings(path: str) -> Iterator[str]:
    """Yield what is wrong in one file, as `path:line: what`."""
    if path in NOT_READ or (ROOT / path).is_symlink():
        return
    if Path(path).stem in MODULES | _SAID.keys():
        yield f"{path}: no module is called so"
    try:
        text = (ROOT / path).read_text("utf-8")
    except UnicodeDecodeError:
        return
    for number, line in enumerate(text.splitlines(), 1):
        yield from (f"{path}:{number}: {match[0]!r} is said no more" for match in PROSE.finditer(line))
    if path.endswith(".py"):
        if path.startswith(PRODUCT) and NO_NOUN.match(text):
            yield f"{path}:1: begin with a noun that says what the module holds"
        yield from _identifiers(path, text)


def _identifiers(path: str, text: str) -> Iterator[str]:
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type != tokenize.NAME:
            continue
        parts = [part.lower() for part in _PARTS.findall(token.string)]
        for before, part in zip(["", *parts], parts, strict=False):
            verb = part in _VERBS and token.string.startswith("test_")
            if part in _SAID and not verb and not (part in _SEALED and before == "sealed"):
                yield f"{path}:{token.start[0]}: {token.string}: say {_SAID[part]}"


def _tracked() -> list[str]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True)  # noqa: S607
    return [path for path in listed.stdout.split("\0") if path and (ROOT / path).is_file()]


if __name__ == "__main__":
    sys.exit(main())
