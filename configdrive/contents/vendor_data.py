"""The vendor data for cloud-init: what sets the password, whatever the user data say, and the operator's own. Pure.

cloud-init takes user data before vendor data, key by key. So a cloud-config of the vendor's loses its password to user
data that name the users themselves, and its `expire: false` would count for passwords of the tenant's. A script of the
vendor's is in nobody's way, but runs at the end of the first boot only.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from configdrive.drive_data import VmData

_LOOKED_AT: Final = 2**18
"""Bytes of user data that are looked at. A larger cloud-config is one file written out."""
_KEY: Final = re.compile(r"^['\"]?(chpasswd|users|password)['\"]?\s*:(.*(?:\n(?:[ \t-].*|[ \t]*|#.*)?)*)", re.MULTILINE)
"""A key at the top of a cloud-config, and all that is below it."""

_SCRIPT: Final = """\
#!/bin/sh
# Sets the password of the config drive, for cloud-init's default user or else root.
for name in merged_system_cfg merged_cfg; do
  user=$(cloud-init query $name.system_info.default_user.name 2>/dev/null) && [ -n "$user" ] && break
done
id -u "$user" >/dev/null 2>&1 || user=root
printf '%s:%s\\n' "$user" {password} | chpasswd
"""


class Conflict(StrEnum):
    """What in a cloud-config keeps cloud-init (`cc_set_passwords`) from setting the vendor data's password."""

    NAMED = "'chpasswd' names the users whose passwords are set"
    OTHER = "'password' is another one"
    NO_DEFAULT = "'users' has no 'default'"


def conflict(data: VmData) -> Conflict | None:
    """Say what user data have against the drive's password.

    Seen is what stands in the text itself: no archive, no MIME parts, nothing that is fetched.
    """
    if data.user_data is None:
        return None
    text = data.user_data.get_secret_value()[:_LOOKED_AT].decode(errors="replace")
    if not re.match(r"(## template: *jinja\s*\n)?#cloud-config\s*\n", text):
        return None
    keys: dict[str, str] = dict(_KEY.findall(text))
    if re.search(r"\b(list|users)\b['\"]?\s*:", keys.get("chpasswd", "")):
        return Conflict.NAMED
    if re.search(r"\S", keys.get("password", "")):
        return Conflict.OTHER
    users = keys.get("users")
    if users is not None and not re.search(r"(^|[-\[,\s])['\"]?default['\"]?\s*($|[,\]#])", users, re.MULTILINE):
        return Conflict.NO_DEFAULT
    return None


def vendor_data(data: VmData, password: str | None, operators: str | None) -> str | None:
    """Return the vendor data; `None` when there is nothing to say.

    Several parts become an archive. Of its cloud-configs a later one's keys count, so the fleet's stand last.

    Args:
        data: with the user data that it will stand beside.
        password: to be set; one of the tenant's own is left alone.
        operators: the operator's part.
    """
    parts = [] if operators is None else [operators]
    if password is not None:
        parts += _parts(password, conflict(data))
    if len(parts) <= 1:
        return parts[0] if parts else None
    return "#cloud-config-archive\n" + "".join(f"- content: {yaml_string(part)}\n" for part in parts)


def _parts(password: str, problem: Conflict | None) -> list[str]:
    match problem:
        case None:
            return [
                f"#cloud-config\npassword: {yaml_string(password)}\nchpasswd: {{expire: false}}\nssh_pwauth: true\n"
            ]
        case Conflict.OTHER:
            return []
        case Conflict.NAMED | Conflict.NO_DEFAULT:
            quoted = "'" + password.replace("'", "'\\''") + "'"
            return ["#cloud-config\nssh_pwauth: true\n", _SCRIPT.format(password=quoted)]


def yaml_string(text: str) -> str:
    """Return `text` as a YAML double-quoted scalar that reads back the same in YAML 1.1 and 1.2.

    Everything but plain ASCII is escaped by code point: YAML folds U+0085, U+2028 and U+2029 like line breaks, and
    JSON's surrogate pairs would stay two characters.
    """
    return '"' + "".join(map(_yaml_character, text)) + '"'


def _yaml_character(character: str) -> str:
    plain = character.isascii() and character.isprintable() and character not in '"\\'
    return character if plain else f"\\U{ord(character):08X}"
