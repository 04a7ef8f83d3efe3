"""What the fleet remembers of one VM between events, and its form at rest: all that goes on a drive is sealed."""

from __future__ import annotations

import base64
import json
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from pydantic import SecretStr, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as checked_dataclass
from pydantic_core import from_json

from configdrive.errors import PermanentCode, PermanentError
from configdrive.lifecycle.packing import pack, unpack
from configdrive.model import Generation, HostName, Place, Vm, VmData, VmUuid
from configdrive.ports import Sealer


class Phase(StrEnum):
    """The state machine of one VM's drive (`configdrive.lifecycle.transitions` has the table of its moves)."""

    ABSENT = "absent"
    STAGED = "staged"
    ATTACHED = "attached"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class Passwords:
    """The password's life: `pending` waits for the next start, `carried` is on the drive of the present boot."""

    pending: SecretStr | None = None
    carried: SecretStr | None = None


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """The VM's current image: its generation and build time (seconds since 1970, UTC); the same two, the same bytes."""

    generation: Generation
    built_at: float


@dataclass(frozen=True, slots=True)
class VmState:
    """All that is known of one VM.

    Args:
        vm: where the VM is meant to be; `None` before its first event.
        sequence: of the newest event that was applied; older events are stale.
        wanted: whether its network offering names ConfigDrive as UserData provider.
        places: every storage on which an image of this VM may lie.
        destination: the host that a prepared migration goes to.
        adopted: the image was found, not made: its content is not known here, so it can be moved but not rebuilt.
        left_on: hosts that could not be reached when they should have given up what they have of this VM. It is
            finished when they answer again (`configdrive.lifecycle.leftovers`).
    """

    vm: Vm | None = None
    sequence: int = -1
    phase: Phase = Phase.ABSENT
    wanted: bool = True
    password_enabled: bool = True
    data: VmData = field(default_factory=VmData)
    passwords: Passwords = field(default_factory=Passwords)
    image: ImageRecord | None = None
    places: tuple[Place, ...] = ()
    destination: HostName | None = None
    adopted: bool = False
    left_on: tuple[HostName, ...] = ()


@checked_dataclass(frozen=True, slots=True)
class Summary:
    """`VmState` at rest. What goes on a drive stands in boxes (`data`, `pending`, `carried`), the rest in the clear."""

    vm: Vm | None = None
    sequence: int = -1
    phase: Phase = Phase.ABSENT
    wanted: bool = True
    password_enabled: bool = True
    data: str | None = None
    pending: str | None = None
    carried: str | None = None
    image: ImageRecord | None = None
    places: tuple[Place, ...] = ()
    destination: HostName | None = None
    adopted: bool = False
    left_on: tuple[HostName, ...] = ()


_SUMMARY: TypeAdapter[Summary] = TypeAdapter(Summary)
_DATA: TypeAdapter[VmData] = TypeAdapter(VmData)


def dump(state: VmState, sealer: Sealer, uuid: VmUuid) -> str:
    """Return the state's form at rest."""
    record = Summary(
        vm=state.vm,
        sequence=state.sequence,
        phase=state.phase,
        wanted=state.wanted,
        password_enabled=state.password_enabled,
        data=None if state.data == VmData() else sealer.seal(_plain(state.data), f"{uuid}/data"),
        pending=_seal_password(state.passwords.pending, sealer, uuid),
        carried=_seal_password(state.passwords.carried, sealer, uuid),
        image=state.image,
        places=state.places,
        destination=state.destination,
        adopted=state.adopted,
        left_on=state.left_on,
    )
    return write(record)


def write(record: Summary) -> str:
    """Return a record at rest; its boxes stay closed."""
    return _SUMMARY.dump_json(record, exclude_defaults=True).decode()


def load(text: str | None, sealer: Sealer, uuid: VmUuid, *, sealed_too: bool = True) -> VmState:
    """Read a state at rest; an empty one when nothing is known.

    Without `sealed_too` the boxes stay closed and their content is missing: a destroy needs none of it, and must work
    with lost keys.

    Raises:
        PermanentError: `UNSEALABLE` when a box cannot be opened, `MISCONFIGURED` when the record is not one of ours.
    """
    if text is None:
        return VmState()
    record = peek(text)
    return VmState(
        vm=record.vm,
        sequence=record.sequence,
        phase=record.phase,
        wanted=record.wanted,
        password_enabled=record.password_enabled,
        data=_open_data(record.data if sealed_too else None, sealer, uuid),
        passwords=Passwords(
            _open_password(record.pending if sealed_too else None, sealer, uuid),
            _open_password(record.carried if sealed_too else None, sealer, uuid),
        ),
        image=record.image,
        places=record.places,
        destination=record.destination,
        adopted=record.adopted,
        left_on=record.left_on,
    )


def peek(text: str) -> Summary:
    """Read what stands in the clear of a state at rest, without any key.

    Raises:
        PermanentError: `MISCONFIGURED` when the record is not one of ours.
    """
    with suppress(ValidationError):  # its own text never travels, not even as the context of ours
        return _SUMMARY.validate_json(text)
    raise _unreadable()


def _unreadable() -> PermanentError:
    detail = "the VM's stored state cannot be read"
    remedy = "it was written by another version: upgrade this worker"
    return PermanentError(PermanentCode.MISCONFIGURED, detail, remedy)


def _plain(data: VmData) -> bytes:
    """Return what is put into the box, packed. Passwords have boxes of their own: a length tells nothing of them."""
    document: dict[str, Any] = _DATA.dump_python(data, mode="json", exclude={"user_data"}) | {"user_data": None}
    if data.user_data is not None:
        content = data.user_data.get_secret_value()
        try:
            document["user_data"] = {"text": content.decode()}  # which packs better than base64
        except UnicodeDecodeError:
            document["user_data"] = base64.b64encode(content).decode()
    return pack(json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode())


def _open_data(box: str | None, sealer: Sealer, uuid: VmUuid) -> VmData:
    if box is None:
        return VmData()
    plain = sealer.open(box, f"{uuid}/data")
    with suppress(ValueError, TypeError, KeyError):  # pydantic's errors are ValueErrors
        document = from_json(unpack(plain))  # unlike `json`'s, it takes neither lone surrogates nor nesting without end
        match document["user_data"]:
            case {"text": str(text)}:
                document["user_data"] = text.encode()
            case str(encoded):
                document["user_data"] = base64.b64decode(encoded)
            case _:
                pass
        return _DATA.validate_python(document)
    raise _unreadable()


def _seal_password(password: SecretStr | None, sealer: Sealer, uuid: VmUuid) -> str | None:
    return None if password is None else sealer.seal(password.get_secret_value().encode(), f"{uuid}/password")


def _open_password(box: str | None, sealer: Sealer, uuid: VmUuid) -> SecretStr | None:
    if box is None:
        return None
    plain = sealer.open(box, f"{uuid}/password")
    with suppress(UnicodeDecodeError):  # its own text would quote the password
        return SecretStr(plain.decode())
    raise _unreadable()
