"""The little language of `get_all_records_where`: `field "name__label" = "x" and not (field "shared" = "true")`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from rigs.xapi.errors import XapiError

if TYPE_CHECKING:
    from collections.abc import Callable

    from rigs.xapi.records import Record

Predicate = "Callable[[Record], bool]"

_TOKEN = re.compile(r'\s*(?:(field|and|or|not|true|false)\b|([()=])|"((?:[^"\\]|\\.)*)"|(\S))')
# xapi's database knows these fields by the names of their namespaces.
_NAMESPACED = {"name__label": "name_label", "name__description": "name_description"}


def parse(expression: str) -> Callable[[Record], bool]:
    """Turn an expression into a test of a record.

    Raises:
        XapiError: it cannot be read (the text of the error is ours: no recording shows it).
    """
    tokens = [match for match in _TOKEN.finditer(expression) if match.group().strip()]
    reader = _Reader(expression, [(m.group(1) or m.group(2) or m.group(4) or "", m.group(3)) for m in tokens])
    predicate = reader.alternatives()
    reader.expect_end()
    return predicate


class _Reader:
    def __init__(self, expression: str, tokens: list[tuple[str, str | None]]) -> None:
        self._expression = expression
        self._tokens = tokens

    def alternatives(self) -> Callable[[Record], bool]:
        parts = [self._conjunction()]
        while self._take("or"):
            parts.append(self._conjunction())
        return lambda record: any(part(record) for part in parts)

    def expect_end(self) -> None:
        if self._tokens:
            raise self._unreadable()

    def _conjunction(self) -> Callable[[Record], bool]:
        parts = [self._atom()]
        while self._take("and"):
            parts.append(self._atom())
        return lambda record: all(part(record) for part in parts)

    def _atom(self) -> Callable[[Record], bool]:
        if self._take("not"):
            inner = self._atom()
            return lambda record: not inner(record)
        if self._take("("):
            inner = self.alternatives()
            if not self._take(")"):
                raise self._unreadable()
            return inner
        for word, answer in (("true", True), ("false", False)):
            if self._take(word):
                return lambda _, answer=answer: answer  # type: ignore[misc]
        left = self._operand()
        if not self._take("="):
            raise self._unreadable()
        right = self._operand()
        return lambda record: left(record) == right(record)

    def _operand(self) -> Callable[[Record], str]:
        is_field = self._take("field")
        if not self._tokens or self._tokens[0][1] is None:
            raise self._unreadable()
        text = re.sub(r"\\(.)", r"\1", self._tokens.pop(0)[1] or "")
        if not is_field:
            return lambda _: text
        return lambda record: _field(record, text)

    def _take(self, word: str) -> bool:
        if self._tokens and self._tokens[0] == (word, None):
            self._tokens.pop(0)
            return True
        return False

    def _unreadable(self) -> XapiError:
        return XapiError("INTERNAL_ERROR", f"Db_filter.Expression_error({self._expression!r})")


def _field(record: Record, name: str) -> str:
    if name in _NAMESPACED.values() or _NAMESPACED.get(name, name) not in record:
        raise XapiError("INTERNAL_ERROR", f'Db_exn.DBCache_NotFound("missing column", "", "{name}")')
    value = record[_NAMESPACED.get(name, name)]
    return str(value).lower() if isinstance(value, bool) else str(value)
