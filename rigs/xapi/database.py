"""The rows of all classes, found by reference, uuid or field."""

import copy
import uuid

from rigs.xapi.errors import XapiError
from rigs.xapi.fields import CLASSES, Record


class Database:
    """Tables of mutable rows; whoever calls holds the world's lock. Keys that begin with `_` are never shown."""

    def __init__(self) -> None:
        self._tables: dict[str, dict[str, Record]] = {kind: {} for kind in CLASSES}

    def add(self, kind: str, **fields: object) -> str:
        """Add a row with the class's defaults and a new uuid, and return its reference."""
        reference = f"OpaqueRef:{uuid.uuid4()}"
        defaults = copy.deepcopy(CLASSES[kind].fields)
        self._tables[kind][reference] = {**defaults, "uuid": str(uuid.uuid4()), **fields}
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

    def find(self, kind: str, **fields: object) -> dict[str, Record]:
        """The rows whose fields have just these values, by reference, oldest first; without any, all of a class."""
        found = list(self._tables[kind].items())
        for name, value in fields.items():
            found = [item for item in found if item[1][name] == value]
        return dict(found)

    def by_uuid(self, kind: str, wanted: str) -> str:
        """The row with that uuid.

        Raises:
            XapiError: `UUID_INVALID`.
        """
        for reference in self.find(kind, uuid=wanted):
            return reference
        raise XapiError("UUID_INVALID", kind, wanted)

    def remove(self, kind: str, *references: str) -> None:
        """Remove rows; what refers to them is left as it is."""
        for reference in references:
            self._tables[kind].pop(reference, None)
