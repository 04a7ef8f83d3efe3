"""`configdrive settings`: every setting with its value, and where that comes from."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from workers.cli.context import load_settings
from workers.cli.errors import ExitCode
from workers.cli.options import json_option
from workers.cli.output import print_json, table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic import BaseModel

_DEFAULT = "default"


@click.command(short_help="Show the settings in force, and where each comes from.")
@click.argument("word", default="")
@click.option("--changed", is_flag=True, help="Only those that are not at their defaults.")
@click.option("--defaults", is_flag=True, help="The defaults, whatever is set.")
@json_option
def settings(word: str, *, changed: bool, defaults: bool, as_json: bool) -> ExitCode:
    """Show every setting with its value and where it comes from: a variable, the file, or the default.

    With WORD only those with it in their names. A password is never shown, nor the login in a URL.

    \b
    Examples:
      configdrive settings
      configdrive settings redis
      configdrive settings --changed --json
    """
    from workers.config.settings import Settings

    owner = Settings.model_construct() if defaults else load_settings()
    file = None if defaults else _of_file()
    rows = [
        (name, value, whence)
        for name, value, whence in _rows(owner, (), file)
        if word in name and not (changed and whence == _DEFAULT)
    ]
    if as_json:
        print_json({"settings": [{"setting": name, "value": value, "from": whence} for name, value, whence in rows]})
    elif rows:
        table(("setting", "value", "from"), [(name, _written(value), whence) for name, value, whence in rows])
    else:
        click.echo(f"no setting has {word!r} in its name" if word else "all are at their defaults", err=True)
    return ExitCode.DONE


def _of_file() -> dict[str, Any]:
    """Return what the settings file has. It was read before, so it can be."""
    import tomllib
    from pathlib import Path

    file = os.environ.get("CONFIGDRIVE_SETTINGS")
    return tomllib.loads(Path(file).read_text("utf-8")) if file else {}


def _rows(owner: BaseModel, tables: tuple[str, ...], of_file: dict[str, Any] | None) -> Iterator[tuple[str, Any, str]]:
    from pydantic import BaseModel, SecretStr

    from configdrive.client.redis_url import Endpoint
    from configdrive.client.settings import variable_of

    variables = set() if of_file is None else {name.upper() for name in os.environ}
    for name in type(owner).model_fields:
        value, place = getattr(owner, name), (*tables, name)
        if isinstance(value, BaseModel):
            yield from _rows(value, place, None if of_file is None else of_file.get(name, {}))
            continue
        if name == "redis_url":
            endpoint = Endpoint.read(value.get_secret_value())
            value = "" if endpoint is None else f"{endpoint.url.partition(':')[0]}: {endpoint.address}"
        elif isinstance(value, SecretStr):
            value = "(set, not shown)"
        in_file = name.lower() in {key.lower() for key in of_file or ()}
        whence = (
            variable_of(place)
            if {variable_of(place), variable_of(tables or place)} & variables
            else os.environ["CONFIGDRIVE_SETTINGS"]
            if in_file
            else _DEFAULT
        )
        yield ".".join(place), _plain(value), whence


def _plain(value: Any) -> Any:  # noqa: ANN401 - whatever a setting is
    return (
        value
        if value is None or isinstance(value, bool | int | float)
        else (
            [str(one) for one in value]
            if isinstance(value, tuple)
            else {str(key): str(one) for key, one in value.items()}
            if isinstance(value, dict)
            else str(value)
        )
    )


def _written(value: Any) -> str:  # noqa: ANN401 - as `_plain` returns it
    match value:
        case None:
            return "-"
        case bool():
            return str(value).lower()
        case float() if value.is_integer():
            return str(int(value))
        case list():
            return ", ".join(value) or "-"
        case dict():
            return ", ".join(f"{key}={one}" for key, one in value.items()) or "-"
        case _:
            return str(value)
