"""Remedies: each one that can be followed on an empty machine is followed, and all others name what there is."""

from __future__ import annotations

import ast
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.unit.docs.commands import assert_accepted, fleet_commands
from workers.cli.errors import ExitCode
from workers.config.keys import Key, write_keys
from workers.config.unknown_variables import COMPOSE, OTHERS, names_of_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.unit.workers.cli.conftest import Run

ROOT = Path(__file__).parents[4]
INVENTORY = '[simulated]\ndirectory = "/nowhere"\nhosts.h1.storages.p1 = {}\n'


@dataclass(frozen=True)
class Fault:
    """A fault that a person makes, what the remedy must say, and what following it is."""

    make: Callable[[Path], None]
    command: tuple[str, ...]
    says: str
    follow: Callable[[Path, Run], object]
    then: ExitCode = ExitCode.DONE


def wrote(name: str, text: str, mode: int = 0o600) -> Callable[[Path], None]:
    def write(home: Path) -> None:
        (home / name).write_text(text)
        (home / name).chmod(mode)

    return write


def does(*command: str) -> Callable[[Path, Run], object]:
    return lambda _home, run: run(*command)


def damaged(home: Path) -> None:
    wrote("keys.json", "{}")(home)


def for_all(home: Path) -> None:
    write_keys(home / "keys.json", [Key.generate()], replace=True)
    (home / "keys.json").chmod(0o644)


def moved_away(home: Path, run: Run) -> None:
    (home / "keys.json").unlink()
    run("keys", "generate")


def secret_for_all(home: Path) -> None:
    wrote("secret", "Hunter2", 0o644)(home)
    wrote("inventory.toml", f'[xenserver.pools.one]\npassword = {{file = "{home}/secret"}}\n')(home)


def variable(name: str, value: str) -> Callable[[Path], None]:
    return lambda _home: os.environ.__setitem__(name, value)


def unset(name: str) -> Callable[[Path, Run], object]:
    return lambda _home, _run: os.environ.pop(name)


def variable_again(name: str, value: str) -> Callable[[Path, Run], object]:
    return lambda home, _run: variable(name, value)(home)


FAULTS = {
    "no key file": Fault(lambda _home: None, ("keys", "list"), "`configdrive keys generate`", does("keys", "generate")),
    "a damaged key file": Fault(damaged, ("keys", "list"), "move it away, `configdrive keys generate`", moved_away),
    "a key file for all": Fault(
        for_all,
        ("keys", "list"),
        "chmod 600 ",
        lambda home, _run: (home / "keys.json").chmod(0o600),
    ),
    "an unknown setting": Fault(
        wrote("settings.toml", "atempts = 5\n"),
        ("settings",),
        "did you mean attempts?",
        lambda home, _run: wrote("settings.toml", "attempts = 5\n")(home),
    ),
    "a setting in a table": Fault(
        wrote("settings.toml", "[cloudstack]\nurll = 'https://x/client/api'\n"),
        ("settings",),
        "did you mean cloudstack.url?",
        lambda home, _run: wrote("settings.toml", "[cloudstack]\nurl = 'https://x/client/api'\n")(home),
    ),
    "settings that are no TOML": Fault(
        wrote("settings.toml", 'label = "config\n'),
        ("settings",),
        "settings.toml is not valid TOML: Illegal character '\\n' (at line 1, column 16)",
        lambda home, _run: wrote("settings.toml", 'label = "config"\n')(home),
    ),
    "a wrong value": Fault(
        variable("CONFIGDRIVE_ATTEMPTS", "many"),
        ("settings",),
        "in CONFIGDRIVE_ATTEMPTS",
        unset("CONFIGDRIVE_ATTEMPTS"),
    ),
    "a list that is no JSON": Fault(
        variable("CONFIGDRIVE_ZONES", "z1"),
        ("settings",),
        "write lists as JSON",
        variable_again("CONFIGDRIVE_ZONES", '["z1"]'),
    ),
    "a database that is no number": Fault(
        variable("CONFIGDRIVE_REDIS_URL", "redis://h/abc"),
        ("settings",),
        "a number for the database",
        variable_again("CONFIGDRIVE_REDIS_URL", "redis://h/1"),
    ),
    "a mistyped command": Fault(lambda _home: None, ("setings",), "Did you mean settings?", does("settings")),
    "a secret for all": Fault(
        secret_for_all,
        ("doctor",),
        "chmod 600 ",
        lambda home, _run: (home / "secret").chmod(0o600),
        ExitCode.FAILED,  # for there is no Redis; the inventory is read
    ),
    "an inventory that is no TOML": Fault(
        wrote("inventory.toml", "[simulated\n"),
        ("doctor",),
        "line 1, column 11",
        lambda home, _run: wrote("inventory.toml", INVENTORY)(home),
        ExitCode.FAILED,
    ),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_remedy_that_is_followed_ends_the_fault(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: Fault
) -> None:
    for name in ("CONFIGDRIVE_ATTEMPTS", "CONFIGDRIVE_ZONES", "CONFIGDRIVE_REDIS_URL"):
        monkeypatch.setenv(name, os.environ.get(name, ""))  # so that it is put back
        if not os.environ[name]:
            del os.environ[name]
    if fault.command == ("settings",):
        wrote("settings.toml", "")(tmp_path)
        monkeypatch.setenv("CONFIGDRIVE_SETTINGS", str(tmp_path / "settings.toml"))
    fault.make(tmp_path)
    wrong = run(*fault.command)
    said = f"{wrong.output}{wrong.exception}"
    fault.follow(tmp_path, run)
    right = run(*fault.command) if fault.command != ("setings",) else run("settings")

    assert wrong.exit_code != ExitCode.DONE
    assert fault.says in said, said
    assert fault.says not in right.output
    assert right.exit_code == fault.then, right.output


def texts() -> Iterator[tuple[str, str]]:
    """Yield every text in the code, with its place; what is filled in is a word."""
    for folder in ("configdrive", "tasks", "workers"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                match node:
                    case ast.Constant(value=str(text)):
                        yield f"{path.name}:{node.lineno}", text
                    case ast.JoinedStr(values=parts):
                        words = (part.value if isinstance(part, ast.Constant) else "X" for part in parts)
                        yield f"{path.name}:{node.lineno}", "".join(map(str, words))
                    case _:
                        pass


def test_every_command_and_variable_that_a_message_names_is_one() -> None:
    known = {f"CONFIGDRIVE_{name.upper()}" for name in names_of_settings()}
    known |= {f"CONFIGDRIVE_{name}" for name in OTHERS | COMPOSE}
    found = 0
    for place, text in texts():
        for command in re.findall(r"`(configdrive [a-z][^`{<]*)`", " ".join(text.split())):
            for words in fleet_commands(command):
                found += 1
                try:
                    assert_accepted([word for word in words if word not in {"VM", "…", "..."}])
                except AssertionError as error:
                    raise AssertionError(f"{place}: {command}: {error}") from None
        for name in re.findall(r"\bCONFIGDRIVE_[A-Z_]+[A-Z]\b", text):
            assert name in known or name == "CONFIGDRIVE_CLOUDSTACK", f"{place}: {name}"
    assert found > 60
