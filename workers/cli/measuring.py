"""The option of commands that answer Prometheus while they run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from workers.config.settings import Settings

metrics_port_option = click.option(
    "--metrics-port",
    type=click.IntRange(0, 65_535),
    metavar="N",
    help="Answer Prometheus there (0: on a free port, which the log names); the setting 'metrics_port' otherwise.",
)
"""Several workers on one machine share their settings, but not the port."""


def with_metrics_port(settings: Settings, port: int | None) -> Settings:
    """Return the settings with the port that was asked for on the command line, if one was."""
    return settings if port is None else settings.model_copy(update={"metrics_port": port})
