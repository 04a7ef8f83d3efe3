"""Remedies: each one that an operator's machine can follow is followed here, or by the test that is named for it."""

import ast
import json
import os
import re
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

import pytest
from click.testing import CliRunner
from prometheus_client import CollectorRegistry

from configdrive import errors
from configdrive.client.connection import connect_redis
from configdrive.client.public_key import read_public
from configdrive.client.publisher import _key_of
from configdrive.errors import FleetError
from configdrive.model import HypervisorName
from rigs.certificates import Certificates
from rigs.process import LOOPBACK
from tests.unit.docs.commands import assert_accepted, fleet_commands
from tests.unit.documents import document
from tests.unit.workers.cli.conftest import Run
from workers.cli import program
from workers.cli.errors import ExitCode
from workers.cli.worker import _queues
from workers.cloudstack.gate_tokens import GateTokens, new_token
from workers.cloudstack.wiring import make_api
from workers.config.cloudstack import CloudStackSettings
from workers.config.inventory import read_inventory
from workers.config.keys import Key, write_keys
from workers.config.settings import Settings
from workers.config.unknown_variables import COMPOSE, OTHERS, names_of_settings
from workers.config.vendor_data import read_vendor_data
from workers.driverkit.load import make_driver
from workers.observability.metrics_server import MetricsEndpoint

ROOT = Path(__file__).parents[4]
INVENTORY = '[simulated]\ndirectory = "/nowhere"\nhosts.h1.storages.p1 = {}\n'


@dataclass(frozen=True)
class Fault:
    """A fault that a person makes, what the remedy must say, and the steps that follow it.

    Commands are typed, and what else is done is called with the folder where all lies (HOME); `again` is what is right
    in the command's place.
    """

    make: Callable[[Path], object]
    command: str | Callable[[Path], object]
    says: str
    follow: tuple[str | Callable[[Path], object], ...]
    then: ExitCode = ExitCode.DONE
    again: str | None = None


def wrote(name: str, text: str, mode: int = 0o600) -> Callable[[Path], None]:
    def write(home: Path) -> None:
        (home / name).write_text(text)
        (home / name).chmod(mode)

    return write


def removed(name: str) -> Callable[[Path], None]:
    return lambda home: (home / name).unlink(missing_ok=True)


def mode(name: str, mode: int) -> Callable[[Path], None]:
    return lambda home: (home / name).chmod(mode)


def variable(name: str, value: str) -> Callable[[Path], None]:
    return lambda home: os.environ.__setitem__(name, value.replace("HOME", str(home)))


def unset(name: str) -> Callable[[Path], object]:
    return lambda _home: os.environ.pop(name)


def nothing(_home: Path) -> None:
    pass


def keys_for_all(home: Path) -> None:
    write_keys(home / "keys.json", [Key.generate()], replace=True)
    (home / "keys.json").chmod(0o644)


def secret_for_all(home: Path) -> None:
    wrote("secret", "Hunter2", 0o644)(home)
    wrote("inventory.toml", f'[xenserver.pools.one]\npassword = {{file = "{home}/secret"}}\n')(home)


def public_key_from_worker(home: Path) -> None:
    (home / "public").write_text(CliRunner().invoke(program, ["keys", "public"]).stdout)


def tokens(home: Path) -> GateTokens:
    return GateTokens(home / "tokens")


TOKENS_ANEW = (removed("tokens"), lambda home: new_token(home / "tokens", "h1"))


def vendor_data(home: Path) -> object:
    return read_vendor_data(home / "vendor")


def inventory(home: Path) -> object:
    return make_driver(Settings(), SIMULATED, read_inventory(home / "inventory.toml"))


def api(**settings: object) -> Callable[[Path], object]:
    """Make CloudStack's API, with files of the folder."""
    return lambda home: make_api(
        CloudStackSettings.model_validate({"key_file": home / "api", "url": "https://cloudstack.example/", **settings})
    )


def api_unless(name: str, lacks: str) -> Callable[[Path], object]:
    """As `api`, and without a setting as long as a file is not there."""
    return lambda home: api(**({} if (home / name).exists() else {lacks: None}))(home)


def without(module: str) -> Callable[[Path], object]:
    def hide(_home: Path) -> None:
        HIDDEN[module] = sys.modules.get(module)
        sys.modules[module] = None  # type: ignore[assignment]  # so is written that it cannot be imported

    return hide


def installed(module: str) -> Callable[[Path], object]:
    def show(_home: Path) -> None:
        del sys.modules[module]
        if (there := HIDDEN.pop(module)) is not None:
            sys.modules[module] = there

    return show


HIDDEN: dict[str, ModuleType | None] = {}


def a_taken_port(home: Path) -> None:
    HELD.append(socket.create_server((LOOPBACK, 0)))
    (home / "port").write_text(str(HELD[-1].getsockname()[1]))


def a_port_of_its_own(home: Path) -> None:
    HELD.pop().close()
    (home / "port").write_text("0")


def metrics(home: Path) -> None:
    endpoint = MetricsEndpoint(LOOPBACK, int((home / "port").read_text()), CollectorRegistry())
    endpoint.start()
    endpoint.close()


HELD: list[socket.socket] = []
OPERATORS = ("cli", "cloudstack", "config", "observability", "store")
ELSEWHERE = {
    "tests/e2e/test_flower_pages.py": {
        "test_a_configuration_file_with_a_login_is_one": ["workers/cli/flower.py::flower"],
    },
    "tests/integration/cli/test_doctor.py": {
        "test_a_node_of_a_redis_cluster_is_refused_by_what_it_is": [
            "configdrive/client/connection.py::refusing_clusters"
        ],
        "test_the_fleets_id_is_shown_and_another_setting_is_a_failure": ["workers/store/fleet_id.py::another_id"],
    },
    "tests/integration/cli/test_keys.py": {
        "test_a_worker_with_a_new_key_file_ends_until_a_person_says_that_the_old_one_is_lost": [
            "workers/store/fleet_keys.py::_foreign"
        ],
        "test_the_ids_on_redis_follow_a_rotation_and_what_is_sealed_for_no_key_of_the_fleet_is_refused": [
            "configdrive/client/fleet_keys.py::require",
            "workers/cli/keys.py::_locked",
            "workers/store/fleet_keys.py::require_all",
        ],
        "test_after_a_loss_of_redis_a_worker_without_key_file_makes_no_key_where_images_lie": [
            "workers/store/fleet_keys.py::_not_the_first"
        ],
        "test_who_has_none_of_the_fleets_keys_does_not_seal_until_the_remedy_is_followed": [
            "configdrive/client/fleet_keys.py::seal"
        ],
    },
    "tests/integration/cloudstack/test_amqp.py": {
        "test_a_login_that_is_refused_is_reported": ["workers/cloudstack/amqp.py::_refuse_refusals"],
    },
    "tests/integration/cloudstack/test_api.py": {
        "test_keys_that_are_no_admin_s_are_words": ["workers/cloudstack/directory.py::record_of"],
        "test_what_may_pass_is_transient_and_what_a_person_has_to_mend_permanent": [
            "workers/cloudstack/api.py::_not_trusted"
        ],
        "test_wrong_keys_are_words": ["workers/cloudstack/api.py::call"],
    },
    "tests/integration/cloudstack/test_commands.py": {
        "test_what_is_not_set_is_reported_with_its_name": [
            "workers/cli/cloudstack.py::amqp",
            "workers/cloudstack/amqp.py::connection_to",
            "workers/cloudstack/certificates.py::serving",
        ],
    },
    "tests/integration/queue/test_limits.py": {
        "test_what_waits_for_a_vm_is_bounded_and_a_stop_or_destroy_always_gets_in": [
            "configdrive/client/encoding.py::receipt"
        ],
    },
    "tests/integration/queue/test_put.py": {
        "test_another_event_under_a_known_source_and_id_is_refused_by_name": [
            "configdrive/client/encoding.py::id_conflict"
        ],
    },
    "tests/unit/configdrive/client/test_publisher.py": {
        "test_an_unknown_hypervisor_is_refused_with_those_that_are_known": ["configdrive/client/publisher.py::posting"],
        "test_what_is_no_event_is_refused_and_nothing_is_stored": ["configdrive/client/publisher.py::_dumped"],
        "test_without_a_public_key_only_what_needs_no_sealing_is_taken": [
            "configdrive/client/publisher.py::open",
            "configdrive/client/publisher.py::seal",
        ],
    },
    "tests/unit/workers/cli/test_publish.py": {
        "test_what_cannot_be_read_is_reported_with_its_place_and_not_its_text": [
            "workers/cli/publish.py::publish_entries",
            "workers/cli/publish.py::readable",
        ],
    },
    "tests/unit/workers/config/test_key_ring.py": {
        "test_a_publisher_seals_what_it_cannot_open": ["configdrive/client/public_key.py::open"],
        "test_a_sealed_box_for_a_stranger_is_refused_with_the_key_s_name": ["workers/config/key_ring.py::_refused"],
    },
    "tests/unit/workers/observability/test_optional.py": {
        "test_metrics_need_their_extra": ["workers/observability/optional.py::_lacking"],
    },
}
"""Files -> their tests -> the remedies that these follow, which need a fleet, a CloudStack or another program."""
KEYS = "one\ntwo\n"
START = json.dumps(document("start", hypervisor="kvm"))
SIMULATED = HypervisorName("simulated")
TABLE = {"directory": "/nowhere", "hosts": {"h1": {"storages": {"p1": {}}}}}
SEEN: set[tuple[Path, int]] = set()
"""Files and lines that have made an error so far."""
WALKED: set[str] = set()

INVENTORY_IS_THERE = wrote("inventory.toml", INVENTORY)

FAULTS = {
    "no key file": Fault(nothing, "keys list", "`configdrive keys generate`", ("keys generate",)),
    "a damaged key file": Fault(
        wrote("keys.json", "{}"),
        "keys list",
        "move it away, `configdrive keys generate`",
        (removed("keys.json"), "keys generate"),
    ),
    "a key file for all": Fault(keys_for_all, "keys list", "chmod 600 ", (mode("keys.json", 0o600),)),
    "an unknown setting": Fault(
        wrote("settings.toml", "atempts = 5\n"),
        "settings",
        "did you mean attempts?",
        (wrote("settings.toml", "attempts = 5\n"),),
    ),
    "a setting in a table": Fault(
        wrote("settings.toml", "[cloudstack]\nurll = 'https://x/client/api'\n"),
        "settings",
        "did you mean cloudstack.url?",
        (wrote("settings.toml", "[cloudstack]\nurl = 'https://x/client/api'\n"),),
    ),
    "settings that are no TOML": Fault(
        wrote("settings.toml", 'label = "config\n'),
        "settings",
        "settings.toml is not valid TOML: Illegal character '\\n' (at line 1, column 16)",
        (wrote("settings.toml", 'label = "config"\n'),),
    ),
    "a wrong value": Fault(
        variable("CONFIGDRIVE_ATTEMPTS", "many"),
        "settings",
        "in CONFIGDRIVE_ATTEMPTS",
        (unset("CONFIGDRIVE_ATTEMPTS"),),
    ),
    "a list that is no JSON": Fault(
        variable("CONFIGDRIVE_ZONES", "z1"),
        "settings",
        "write lists as JSON",
        (variable("CONFIGDRIVE_ZONES", '["z1"]'),),
    ),
    "a database that is no number": Fault(
        variable("CONFIGDRIVE_REDIS_URL", "redis://h/abc"),
        "settings",
        "a number for the database",
        (variable("CONFIGDRIVE_REDIS_URL", "redis://h/1"),),
    ),
    "a mistyped command": Fault(nothing, "setings", "Did you mean settings?", (), again="settings"),
    "a secret for all": Fault(
        secret_for_all,
        "doctor",
        "chmod 600 ",
        (mode("secret", 0o600),),
        ExitCode.FAILED,  # for there is no Redis; the inventory is read
    ),
    "no file for the gate's tokens": Fault(
        nothing,
        "cloudstack gate-token h1",
        "name the file that shall have it",
        (variable("CONFIGDRIVE_CLOUDSTACK__GATE_TOKENS_FILE", "HOME/tokens"),),
    ),
    "a gate without tokens": Fault(
        nothing, tokens, "make it with `configdrive cloudstack gate-token`, or correct its path", TOKENS_ANEW
    ),
    "a gate without a file for tokens": Fault(
        nothing,
        lambda home: GateTokens(path if (path := home / "tokens").exists() else None),
        "`configdrive cloudstack gate-token` makes it",
        TOKENS_ANEW,
    ),
    "a token in the place of its hash": Fault(
        wrote("tokens", "h1 the-token-itself\n"),
        tokens,
        "make it with `configdrive cloudstack gate-token`",
        TOKENS_ANEW,
    ),
    "tokens that all may change": Fault(wrote("tokens", "", 0o666), tokens, "chmod 644 ", (mode("tokens", 0o644),)),
    "no address of CloudStack": Fault(
        wrote("api", KEYS), api_unless("url", "url"), "give the API's address", (wrote("url", ""),)
    ),
    "no keys for CloudStack": Fault(
        nothing, api_unless("api", "key_file"), "name the file that has it", (wrote("api", KEYS),)
    ),
    "a key file of CloudStack's that is not there": Fault(
        nothing, api(), "correct its path and permissions", (wrote("api", KEYS),)
    ),
    "keys of CloudStack's for all": Fault(wrote("api", KEYS, 0o644), api(), "chmod 600 ", (mode("api", 0o600),)),
    "an empty key file of CloudStack's": Fault(
        wrote("api", ""), api(), "write the secret into it", (wrote("api", KEYS),)
    ),
    "half a key of CloudStack's": Fault(
        wrote("api", "one\n"), api(), "the secret key on the second", (wrote("api", KEYS),)
    ),
    "no certificate of CloudStack's CA": Fault(
        wrote("api", KEYS),
        lambda home: api(ca_file=home / "ca.pem")(home),
        "correct its path; it is a PEM file",
        (lambda home: Certificates.make(home, LOOPBACK).directory.joinpath("cacert.pem").rename(home / "ca.pem"),),
    ),
    "vendor data that are not there": Fault(
        nothing, vendor_data, "correct its path and content", (wrote("vendor", "#!/bin/sh\n"),)
    ),
    "vendor data that are too long": Fault(
        wrote("vendor", "#!" + "x" * 2**16),
        vendor_data,
        "let it fetch what is large",
        (wrote("vendor", "#include\nhttps://files.example/vendor\n"),),
    ),
    "vendor data that cloud-init does not know": Fault(
        wrote("vendor", "packages: []\n"),
        vendor_data,
        "let it begin with '#cloud-config'",
        (wrote("vendor", "#cloud-config\npackages: []\n"),),
    ),
    "no inventory": Fault(nothing, "doctor", "write one (see the README)", (INVENTORY_IS_THERE,), ExitCode.FAILED),
    "an inventory without a table": Fault(
        wrote("inventory.toml", 'uri = "qemu:///system"\n'),
        "doctor",
        "begin with a table such as",
        (INVENTORY_IS_THERE,),
        ExitCode.FAILED,
    ),
    "a secret that is not in the environment": Fault(
        wrote("inventory.toml", INVENTORY + '[xenserver.pools.one]\npassword = {env = "XEN_PASSWORD"}\n'),
        "doctor",
        "set it for the worker's process",
        (variable("XEN_PASSWORD", "Hunter2"),),
        ExitCode.FAILED,
    ),
    "no table of the hypervisor": Fault(
        wrote("inventory.toml", ""), inventory, "add at least [simulated.hosts.<name>]", (INVENTORY_IS_THERE,)
    ),
    "a hypervisor that is none": Fault(
        wrote("name", "hyper-v"),
        lambda home: make_driver(Settings(), HypervisorName((home / "name").read_text()), {SIMULATED: TABLE}),
        "installed are: kvm, simulated",
        (wrote("name", "simulated"),),
    ),
    "a driver whose module is not installed": Fault(
        without("workers.hypervisors.xenserver.driver"),
        lambda _home: make_driver(Settings(), HypervisorName("xenserver"), {}),
        "pip install '.[xenserver]'",
        (installed("workers.hypervisors.xenserver.driver"),),
        ExitCode.MISCONFIGURED,  # for the inventory has none of it
    ),
    "a server that is not installed": Fault(
        without("workers.cloudstack.webhook"),
        "cloudstack webhook",
        "pip install '.[cloudstack]'",
        (installed("workers.cloudstack.webhook"),),
        ExitCode.MISCONFIGURED,  # for it has no secret so far
    ),
    "a zone that is none": Fault(
        nothing,
        lambda _home: _queues(Settings(), SIMULATED, ("z1",)),
        "set CONFIGDRIVE_ZONES for publishers and workers",
        (variable("CONFIGDRIVE_ZONES", '["z1"]'),),
    ),
    "keys at a place that takes none": Fault(
        variable("CONFIGDRIVE_KEYS_FILE", "/dev/null/keys.json"),
        "keys generate",
        "point CONFIGDRIVE_KEYS_FILE to a place",
        (variable("CONFIGDRIVE_KEYS_FILE", "HOME/keys.json"),),
    ),
    "a public key that is none": Fault(
        wrote("public", "ssh-ed25519 AAAA"),
        lambda home: read_public((home / "public").read_text()),
        "take the line that `configdrive keys public` prints",
        ("keys generate", public_key_from_worker),
    ),
    "settings that are not there": Fault(
        removed("settings.toml"),
        "settings",
        "correct the path, or unset the variable",
        (unset("CONFIGDRIVE_SETTINGS"),),
    ),
    "a URL of Redis with parameters": Fault(
        variable("CONFIGDRIVE_REDIS_URL", "redis://h/0?db=x"),
        lambda _home: connect_redis(Settings()),
        "leave the parameters out",
        (variable("CONFIGDRIVE_REDIS_URL", "redis://h/0"),),
    ),
    "an event that brings no drive": Fault(
        wrote("event.json", json.dumps(document("stop", hypervisor="kvm"))),
        "build HOME/event.json --list",
        "give a deploy, start, update or password reset",
        (wrote("event.json", START),),
    ),
    "a file that is not on the drive": Fault(
        wrote("event.json", START),
        "build HOME/event.json --show openstack/latest/metadata.json",
        "did you mean openstack/latest/meta_data.json?",
        (),
        again="build HOME/event.json --show openstack/latest/meta_data.json",
    ),
    "what does not say which event is meant": Fault(
        wrote("event.json", '{"id": "e1"}'),
        lambda home: _key_of((home / "event.json").read_text()),
        "give the receipt of `publish`, or the event",
        (wrote("event.json", '{"id": "e1", "source": "/tests"}'),),
    ),
    "a port for metrics that is taken": Fault(
        a_taken_port, metrics, "give each worker of a machine a port of its own", (a_port_of_its_own,)
    ),
    "an inventory that is no TOML": Fault(
        wrote("inventory.toml", "[simulated\n"), "doctor", "line 1, column 11", (INVENTORY_IS_THERE,), ExitCode.FAILED
    ),
}


def came_of(fault: Fault, home: Path, run: Run) -> tuple[int, str]:
    """Return the exit code and all that is said."""
    if isinstance(fault.command, str):
        shown = run(*(word.replace("HOME", str(home)) for word in fault.command.split()))
        return shown.exit_code, f"{shown.output}{shown.exception or ''}"
    try:
        fault.command(home)
    except FleetError as error:
        return ExitCode.MISCONFIGURED, str(error)
    return ExitCode.DONE, ""


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_remedy_that_is_followed_ends_the_fault(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: Fault
) -> None:
    monkeypatch.setattr(os, "environ", os.environ.copy())
    noted(monkeypatch)
    if fault.command == "settings":
        wrote("settings.toml", "")(tmp_path)
        monkeypatch.setenv("CONFIGDRIVE_SETTINGS", str(tmp_path / "settings.toml"))
    fault.make(tmp_path)
    code, said = came_of(fault, tmp_path, run)
    for step in fault.follow:
        run(*step.split()) if isinstance(step, str) else step(tmp_path)
    after, then_said = came_of(replace(fault, command=fault.again or fault.command), tmp_path, run)

    assert code != ExitCode.DONE
    assert fault.says in said, said
    assert fault.says not in then_said
    assert after == fault.then, then_said
    WALKED.update(name for name, one in FAULTS.items() if one is fault)


def noted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Note where errors are made."""
    made = FleetError.__init__

    def init(error: FleetError, *args: Any, **named: Any) -> None:  # noqa: ANN401 - as the error takes them
        frame: FrameType | None = sys._getframe(1)
        while frame is not None and frame.f_code.co_filename == errors.__file__:
            frame = frame.f_back
        assert frame is not None
        SEEN.add((Path(frame.f_code.co_filename), frame.f_lineno))
        made(error, *args, **named)

    monkeypatch.setattr(FleetError, "__init__", init)


@dataclass(frozen=True)
class Remedy:
    """An error with a remedy: in which function, and on which lines."""

    path: Path
    function: str
    lines: range

    @property
    def name(self) -> str:
        return f"{self.path.relative_to(ROOT)}::{self.function}"


def remedies() -> Iterator[Remedy]:
    """Yield all that operators and publishers can meet before a hypervisor is asked."""
    folders = (ROOT / "configdrive/client", *(ROOT / "workers" / name for name in OPERATORS))
    paths = [path for folder in folders for path in sorted(folder.rglob("*.py"))]
    for path in (*paths, ROOT / "workers/driverkit/load.py"):
        for outer in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(outer, ast.FunctionDef):
                for node in ast.walk(outer):
                    match node:
                        case ast.Call(func=ast.Name(id="PermanentError"), args=[_, _, _]):
                            yield Remedy(path, outer.name, range(node.lineno, (node.end_lineno or 0) + 1))
                        case _:
                            pass


def test_every_remedy_is_followed_here_or_by_the_test_that_is_named_for_it() -> None:
    if set(FAULTS) != WALKED:
        pytest.skip("only some of them were followed in this run")
    unseen = {one.name for one in remedies() if not any((one.path, line) in SEEN for line in one.lines)}
    assert sorted(unseen ^ {one for tests in ELSEWHERE.values() for many in tests.values() for one in many}) == []
    for path, tests in ELSEWHERE.items():
        text = (ROOT / path).read_text("utf-8")
        assert [name for name in tests if f"def {name}(" not in text] == []


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
