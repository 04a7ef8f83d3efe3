"""The state of one VM, which the fleet keeps between events; at rest, all that goes on a drive is sealed."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from typing import Self

from pydantic import SecretBytes, SecretStr, TypeAdapter
from pydantic_core import from_json, to_json

from configdrive.drive_data import VmData
from configdrive.errors import PermanentCode, PermanentError
from configdrive.model import (
    Generation,
    HostName,
    HypervisorName,
    ImageName,
    Place,
    Vm,
    VmUuid,
)
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
    """The VM's current image.

    Args:
        file: the image file's exact name; empty before it is built.
        generation: the sequence number of the event that it is built for.
        built_at: its build time (seconds since 1970, UTC): the same content at the same time gives the same bytes.
    """

    file: str
    generation: Generation
    built_at: float

    @property
    def name(self) -> ImageName:
        """The file's name, as drivers take it."""
        return name_of(self.file)


def name_of(file: str) -> ImageName:
    """Return an image's name as drivers take it."""
    return ImageName.parse(file) or ImageName(file, VmUuid(""), Generation(0))


@dataclass(frozen=True, slots=True)
class Leftover:
    """What a host may still have of a VM, because it could not give it up when it should have.

    Args:
        hypervisor, host: where.
        zone: selects the queue whose workers ask the host again.
        host_id: what the host says of itself; empty when it was not asked.
        places: storages on which images may lie.
        files: the exact names of the images that may lie there, or be in the drive; without any, all are looked for.
        drive: whether the VM's drive there may hold one.
        added: as in `VmRecord`.
    """

    hypervisor: HypervisorName
    host: HostName
    zone: str | None = None
    host_id: str = ""
    places: tuple[Place, ...] = ()
    files: tuple[str, ...] = ()
    drive: bool = False
    added: str | None = None


@dataclass(frozen=True, slots=True)
class Former:
    """A host on which the VM's drive may be still: events that were not carried out have named another one since.

    Args:
        host: its name.
        host_id: what it says of itself; empty when it was not asked.
    """

    host: HostName
    host_id: str = ""


@dataclass(frozen=True, slots=True)
class Sealed:
    """What goes on a drive, in sealed boxes: its content, and the two passwords, whose length must tell nothing."""

    data: str | None = None
    pending: str | None = None
    carried: str | None = None


@dataclass(frozen=True, slots=True)
class VmRecord:
    """What is known of one VM, as it is kept: what goes on a drive stays sealed, so that no key is needed to read it.

    Args:
        vm: where the VM is meant to be; `None` before its first event.
        host_id: what its host says of itself; empty when it was not asked.
        sequence: of the newest event that was applied; older events are stale, but for a destroy.
        wanted: whether its network offering names ConfigDrive as UserData provider.
        image: what its drive holds, or is to hold.
        others: the exact names of other images that may lie on `places`.
        places: every storage on which an image of this VM may lie.
        added: how the hypervisor knows the drive again that was added for the image (`ports.Attachment`).
        destination: the host that a prepared migration goes to.
        copied: whether the image lay whole on the destination before the VM came there.
        former: other hosts on which the drive may be.
        adopted: the image was found, not made: its content is not known here, so it can be moved but not rebuilt.
        left: what hosts may still have of the VM (`configdrive.lifecycle.leftovers`).
    """

    vm: Vm | None = None
    host_id: str = ""
    sequence: int = -1
    phase: Phase = Phase.ABSENT
    wanted: bool = True
    password_enabled: bool = True
    image: ImageRecord | None = None
    others: tuple[str, ...] = ()
    places: tuple[Place, ...] = ()
    added: str | None = None
    destination: HostName | None = None
    copied: bool = False
    former: tuple[Former, ...] = ()
    adopted: bool = False
    left: tuple[Leftover, ...] = ()
    sealed: Sealed = Sealed()

    @property
    def is_present(self) -> bool:
        """Whether the VM has an image, on a storage or in its drive."""
        return self.phase in _PRESENT

    def moved(self, vm: Vm) -> Self:
        """Return the record of the VM on another host, although nobody has taken its drive out where it was."""
        if self.vm is None or self.vm.host == vm.host:
            return replace(self, vm=vm)
        here = (Former(self.vm.host, self.host_id),) if self.is_present else ()
        former = tuple(one for one in (*self.former, *here) if one.host != vm.host)
        return replace(self, vm=vm, host_id="", former=tuple(dict.fromkeys(former)))

    def also_on(self, host: HostName | None) -> Self:
        """Return the record of the VM, which may have its drive on another host as well."""
        if host is None or host == (self.vm and self.vm.host) or host in {one.host for one in self.former}:
            return self
        return replace(self, former=(*self.former, Former(host)))

    @property
    def left_on(self) -> tuple[HostName, ...]:
        """The hosts that still have something of the VM."""
        return tuple(dict.fromkeys(one.host for one in self.left))

    @property
    def files(self) -> tuple[str, ...]:
        """The exact names of the images that may lie on `places`."""
        return (*self.others, *(() if self.image is None else (self.image.file,)))


@dataclass(frozen=True, slots=True)
class VmState(VmRecord):
    """All that is known of one VM: the record, and what was sealed in it; `sealed` are boxes that nobody has opened."""

    data: VmData = field(default_factory=VmData)
    passwords: Passwords = Passwords()


_PRESENT = frozenset({Phase.STAGED, Phase.ATTACHED})
_VERSION = 2
"""Of the state at rest. What another version has written is refused, and found again by `configdrive adopt`."""

_RECORD: TypeAdapter[VmRecord] = TypeAdapter(VmRecord)
_DATA: TypeAdapter[VmData] = TypeAdapter(VmData)


def dump(state: VmState, sealer: Sealer, uuid: VmUuid) -> str:
    """Return the state at rest. A box that was not opened stays, unless there is something new to go into its place."""
    kept, passwords = state.sealed, state.passwords
    data = kept.data if state.data == VmData() else sealer.seal(_plain(state.data), f"{uuid}/data")
    pending = _sealed(passwords.pending, sealer, uuid) or kept.pending
    carried = _sealed(passwords.carried, sealer, uuid) or kept.carried
    return write(replace(state, sealed=Sealed(data, pending, carried)))


def write(record: VmRecord) -> str:
    """Return a record at rest; what is sealed in it stays so."""
    document = {"v": _VERSION} | _RECORD.dump_python(record, mode="json", exclude_defaults=True)
    return to_json(document).decode()


def load(text: str | None, sealer: Sealer, uuid: VmUuid) -> VmState:
    """Read a state at rest; an empty one when nothing is known.

    Raises:
        PermanentError: `UNSEALABLE` when a box cannot be opened, `MISCONFIGURED` when the record is not one of ours.
    """
    closed = load_closed(text)
    sealed = closed.sealed
    passwords = (_opened_password(one, sealer, uuid) for one in (sealed.pending, sealed.carried))
    return replace(
        closed, sealed=Sealed(), data=_opened_data(sealed.data, sealer, uuid), passwords=Passwords(*passwords)
    )


def load_closed(text: str | None) -> VmState:
    """Read a state at rest without any key: what goes on a drive stays in its boxes.

    Raises:
        PermanentError: `MISCONFIGURED` when the record is not one of ours.
    """
    if text is None:
        return VmState()
    record = peek(text)
    return VmState(**{one.name: getattr(record, one.name) for one in fields(VmRecord)})


def peek(text: str) -> VmRecord:
    """Read a state at rest without any key.

    Raises:
        PermanentError: `MISCONFIGURED` when the record is not one of ours.
    """
    with suppress(ValueError):  # pydantic's errors are some; their text never travels, not even as the context of ours
        document = from_json(text)
        if isinstance(document, dict) and document.get("v") == _VERSION:
            return _RECORD.validate_python(document)
    raise _unreadable()


def label_of(record: VmRecord, sealer: Sealer, uuid: VmUuid) -> str | None:
    """Return the volume label that a VM's events name; `None` when they leave it to the settings.

    Raises:
        PermanentError: as `load`.
    """
    return _opened_data(record.sealed.data, sealer, uuid).label


def reseal(record: VmRecord, sealer: Sealer, uuid: VmUuid) -> VmRecord:
    """Return the record with all that is sealed in it sealed anew, with the newest key.

    Raises:
        PermanentError: `UNSEALABLE` when it cannot be opened.
    """
    kept = {"data": record.sealed.data, "pending": record.sealed.pending, "carried": record.sealed.carried}
    contexts = {name: f"{uuid}/{'data' if name == 'data' else 'password'}" for name in kept}
    anew = {
        name: None if sealed is None else sealer.seal(sealer.open(sealed, contexts[name]), contexts[name])
        for name, sealed in kept.items()
    }
    return replace(record, sealed=Sealed(**anew))


def _unreadable() -> PermanentError:
    detail = "the VM's stored state cannot be read"
    remedy = "it was written by another version: flush Redis, then run `configdrive adopt`"
    return PermanentError(PermanentCode.MISCONFIGURED, detail, remedy)


def _plain(data: VmData) -> bytes:
    """Return what is sealed: JSON in one line, and behind a line feed the user data as they are."""
    document = _DATA.dump_json(data, exclude_defaults=True, exclude={"user_data"})
    return document if data.user_data is None else b"\n".join((document, data.user_data.get_secret_value()))


def _opened_data(sealed: str | None, sealer: Sealer, uuid: VmUuid) -> VmData:
    if sealed is None:
        return VmData()
    document, has_user_data, content = sealer.open(sealed, f"{uuid}/data").partition(b"\n")
    with suppress(ValueError):  # pydantic's errors are some
        data = _DATA.validate_json(document)
        return replace(data, user_data=SecretBytes(content)) if has_user_data else data
    raise _unreadable()


def _sealed(password: SecretStr | None, sealer: Sealer, uuid: VmUuid) -> str | None:
    return None if password is None else sealer.seal(password.get_secret_value().encode(), f"{uuid}/password")


def _opened_password(sealed: str | None, sealer: Sealer, uuid: VmUuid) -> SecretStr | None:
    if sealed is None:
        return None
    plain = sealer.open(sealed, f"{uuid}/password")
    with suppress(UnicodeDecodeError):  # its own text would quote the password
        return SecretStr(plain.decode())
    raise _unreadable()
