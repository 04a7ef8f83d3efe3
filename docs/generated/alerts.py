"""The alerts, from `deploy/prometheus/alerts.yml`: a section for each, to which its `runbook_url` leads."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

import yaml

ALERTS: Final = Path(__file__).resolve().parents[2] / "deploy" / "prometheus" / "alerts.yml"

_VALUE: Final = re.compile(r"{{ *\$value[^}]*}}")
_LABEL: Final = re.compile(r"{{ *\$labels\.(\w+)[^}]*}}")


def markdown() -> str:
    """Return a section for each alert: when it fires, what it says, and what to do."""
    (group,) = yaml.safe_load(ALERTS.read_text("utf-8"))["groups"]
    return "\n\n".join(_section(rule) for rule in group["rules"])


def _section(rule: dict[str, Any]) -> str:
    said = rule["annotations"]
    lasts = f", for {rule['for']}" if "for" in rule else ""
    return "\n\n".join((
        f"### {rule['alert']}",
        f"*{rule['labels']['severity']}*: “{_in_words(said['summary'])}”",
        _in_words(said["description"]),
        f"```text\n{rule['expr'].strip()}\n```",
        f"When this holds{lasts or ' once'}.",
    ))  # fmt: skip


def _in_words(text: str) -> str:
    return _LABEL.sub(lambda found: found[1].upper(), _VALUE.sub("N", text))
