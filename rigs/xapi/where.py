"""The little language of `get_all_records_where`: `field "name__label" = "x" and not (field "shared" = "true")`."""

import re
from collections.abc import Callable
from functools import cache
from types import CodeType

from rigs.xapi.errors import XapiError

_TOKEN = re.compile(r'(?P<field>field\s+)?(?P<text>"(?:[^"\\]|\\.)*")|(?P<word>and|or|not|[()=])|\s+|(?P<other>.)')
_WORDS = {"=": "=="}
# xapi's database knows these fields by the names of their namespaces.
_NAMESPACED = {"name__label": "name_label", "name__description": "name_description"}


def matches(expression: str, value_of: Callable[[str], object]) -> bool:
    """Whether an expression holds for a record.

    Args:
        expression: it has Python's order of binding.
        value_of: gives the record's field of that name.

    Raises:
        XapiError: it cannot be read (the text of the error is ours: no recording shows it).
        KeyError: there is no such field.
    """

    def field(name: str) -> str:
        if name in _NAMESPACED.values():
            raise KeyError(name)
        value = value_of(_NAMESPACED.get(name, name))
        return str(value).lower() if isinstance(value, bool) else str(value)

    try:
        return bool(eval(_compiled(expression), {"field": field}))  # noqa: S307  # nothing but the tokens above
    except KeyError as error:
        wrong = f'Db_exn.DBCache_NotFound("missing column", "", "{error.args[0]}")'
        raise XapiError("INTERNAL_ERROR", wrong) from None


@cache
def _compiled(expression: str) -> CodeType:
    try:
        return compile(_TOKEN.sub(_in_python, expression), expression, "eval")
    except SyntaxError:
        raise XapiError("INTERNAL_ERROR", f"Db_filter.Expression_error({expression!r})") from None


def _in_python(token: re.Match[str]) -> str:
    if token["text"] is not None:
        return f"field({token['text']})" if token["field"] else token["text"]
    if token["other"] is not None:
        raise SyntaxError(token["other"])
    return f" {_WORDS.get(token['word'], token['word'])} " if token["word"] else " "
