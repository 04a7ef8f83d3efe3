"""What the demo prints: a line per step as it happens, colours only on a terminal."""

from __future__ import annotations

import time

from rich.console import Console
from rich.markup import escape

from configdrive.contract.outcome import Outcome

_FACTS = ("storage", "attach", "device", "password")


class Narrator:
    """Prints the story."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._began = time.monotonic()
        self._number = 0

    def say(self, sentence: str) -> None:
        """Say what is going on around the story."""
        self._print(f"[dim]{escape(sentence)}[/dim]")

    def step(self, event: str, sentence: str) -> None:
        """Begin the next step."""
        self._number += 1
        elapsed = time.monotonic() - self._began
        line = f"\n[bold]{self._number}. {escape(event)}[/bold]  {escape(sentence)}  [dim]({elapsed:.1f} s)[/dim]"
        self._print(line)

    def outcome(self, outcome: Outcome, seconds: float) -> None:
        """Show an event's outcome and how long it took from publishing."""
        facts = ", ".join(f"{name} {outcome.facts[name]}" for name in _FACTS if name in outcome.facts)
        note = "; ".join(part for part in (facts, outcome.detail) if part)
        line = f"   outcome [cyan]{outcome.status.value}[/cyan] after {seconds * 1000:.0f} ms"
        self._print(f"{line}  [dim]{escape(note)}[/dim]")

    def reading(self, how: str, session: str) -> None:
        """Show what was read from the drive, and how."""
        self._print(f"   {escape(how)}:")
        for line in session.splitlines():
            self._print(f"   [green]│[/green] {escape(line)}")

    def check(self, holds: bool, sentence: str) -> None:  # noqa: FBT001 - reads as a sentence where it is called
        """Show one check."""
        mark = "[green]✔[/green]" if holds else "[red]✘[/red]"
        self._print(f"   {mark} {escape(sentence)}")

    def failed(self, sentence: str) -> None:
        """Show why the demo ended."""
        self._print(f"\n[red]The demo failed:[/red] {escape(sentence)}")

    def done(self) -> None:
        """Show that all went well."""
        elapsed = time.monotonic() - self._began
        self._print(f"\n[green]Done[/green] in {elapsed:.0f} s; every step was checked.")

    def _print(self, line: str) -> None:
        self._console.print(line, highlight=False, soft_wrap=True)
