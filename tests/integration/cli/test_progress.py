"""Progress bars: on a terminal whoever waits sees how far it is, and a pipe gets none of it."""

import io
import sys
from collections.abc import Callable

import pytest
from typing_extensions import override

from configdrive.errors import PermanentCode
from rigs.cloud import VmScript
from tests.integration.cli.place import PASSWORD, Place, event_lines
from workers.cli import program
from workers.cli.errors import ExitCode

CODE = PermanentCode.NO_FREE_SLOT
"""For which nothing else is parked at this place."""
GUEST = {"password": PASSWORD}


class Terminal(io.StringIO):
    """What somebody looks at."""

    @override
    def isatty(self) -> bool:
        return True


@pytest.fixture(scope="module")
def with_parked(shared_place: Place) -> Place:
    for _ in range(2):
        shared_place.parked(VmScript(), CODE, guest=GUEST)
    shared_place.outcome(VmScript().event("deploy", guest=GUEST))
    return shared_place


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["adopt", "--dry-run"], ("looking at hosts of simulated  [####", "remembering VMs")),
        (["sweep", "--dry-run"], ("looking at hosts of simulated  [####", "images  [")),
        (["wake"], ("waking on queues  [####",)),
        (["keys", "list", "--usage"], ("looking at sealed boxes",)),
        (["keys", "reseal"], ("looking at sealed boxes",)),
        (["retry", "--all-parked", "--code", CODE.value], ("retry  [",)),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_takes_long_shows_on_a_terminal_how_far_it_is(
    with_parked: Place, monkeypatch: pytest.MonkeyPatch, command: list[str], said: tuple[str, ...]
) -> None:
    monkeypatch.setattr("workers.cli.retry.MANY", 1)
    for name, value in with_parked.environment.items():
        monkeypatch.setenv(name, value)
    with monkeypatch.context() as looking:
        looking.setattr(sys, "stderr", terminal := Terminal())
        with pytest.raises(SystemExit):
            program.main(command)
    with_parked.said.append(shown := terminal.getvalue())
    piped = with_parked.run(*command)

    assert [words for words in said if words not in shown] == [], shown
    assert [words for words in said if words in piped.output] == []


def test_many_events_and_their_outcomes_have_bars_and_what_is_refused_its_line(
    quiet_place: Callable[..., Place], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    place = quiet_place()
    for name, value in place.environment.items():
        monkeypatch.setenv(name, value)
    events = [VmScript().event("deploy", guest=GUEST) for _ in range(60)]
    events[7]["data"]["label"] = "seventeen-letters"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(event_lines(events).encode())))
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    with pytest.raises(SystemExit) as ended:
        program.main(["publish", "-", "--wait", "0.1"])
    place.said += [shown := terminal.getvalue(), said := capsys.readouterr().out]

    assert ended.value.code == ExitCode.FAILED
    assert "publishing  [####" in shown
    assert "outcomes    [----" in shown
    assert "line 8: \x1b[31mrefused" in shown
    assert said.endswith("1 refused, 59 stored, 59 without outcome\n")
    assert place.json("show")["pending"] == {"configdrive.simulated": 59}
