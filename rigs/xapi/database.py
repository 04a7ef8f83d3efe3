"""The rows of all classes, found by reference, uuid or field."""

from __future__ import annotations

import copy
import uuid
from typing import TYPE_CHECKING

from rigs.xapi.errors import XapiError
from rigs.xapi.records import CLASSES, Record

if TYPE_CHECKING:
    from collections.abc import Iterator


class Database:
    """Tables of mutable rows; whoever calls holds the world's lock. Keys that begin with `_` are never shown."""

    def __init__(self) -> None:
        self._tables: dict[str, dict[str, Record]] = {kind: {} for kind in CLASSES}

    def add(self, kind: str, **fields: object) -> str:
        """Add a row with the class's defaults and a new uuid, and return its reference."""
        row = copy.deepcopy(CLASSES[kind].fields)
        row["uuid"] = str(uuid.uuid4())
        row.update(fields)
        reference = f"OpaqueRef:{uuid.uuid4()}"
        self._tables[kind][reference] = row
        return reference

    def row(self, kind: str, reference: str) -> Record:
        """The row itself, to be read and changed.

        Raises:
            XapiError: `HANDLE_INVALID`.
        """
        row = self._tables[kind].get(reference)
        if row is None:
            raise XapiError("HANDLE_INVALID", kind, reference)
        return row

    def has(self, kind: str, reference: str) -> bool:
        """Whether there is such a row."""
        return reference in self._tables[kind]

    def references(self, kind: str) -> list[str]:
        """All rows of a class, oldest first."""
        return list(self._tables[kind])

    def find(self, kind: str, **fields: object) -> Iterator[str]:
        """The references of the rows whose fields have just these values."""
        found = list(self._tables[kind].items())
        for name, value in fields.items():
            found = [item for item in found if item[1][name] == value]
        return iter([reference for reference, _ in found])

    def by_uuid(self, kind: str, wanted: str) -> str:
        """The row with that uuid.

        Raises:
            XapiError: `UUID_INVALID`.
        """
        for reference in self.find(kind, uuid=wanted):
            return reference
        raise XapiError("UUID_INVALID", kind, wanted)

    def remove(self, kind: str, reference: str) -> None:
        """Remove a row; what refers to it is left as it is."""
        self._tables[kind].pop(reference, None)
