"""Guest data, what an event says of the drive's content: the part of an event that travels sealed.

A field that is absent leaves what is known already; `null` removes it.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import Annotated, Any, Final, Self

import pybase64
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    PrivateAttr,
    SecretBytes,
    SecretStr,
    SerializationInfo,
    StringConstraints,
    ValidationError,
    field_serializer,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError, from_json, to_json
from typing_extensions import override

from configdrive.contents.render import OTHERWISE_READ, check
from configdrive.contract.json_schema import given
from configdrive.drive_data import (
    ONE_LINE_PATTERN,
    Metadata,
    Nic,
    PublicKey,
    SshKey,
    VmData,
)
from configdrive.errors import PermanentError

MAX_USER_DATA = 32 * 2**20
"""Bytes of user data that one event may carry, decoded. Half of the largest image; CloudStack itself stops at 1 MiB."""


class Strict(BaseModel):
    """Base of all contract models: unknown fields are refused, input never shows in an error."""

    # Not built one by one: what reads an event builds all of them once, in half of the time.
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, defer_build=True)


def _decodable(value: SecretStr) -> SecretStr:
    text = _joined(value.get_secret_value())
    if len(text) > MAX_USER_DATA * 4 // 3 + 4:
        raise _too_large()
    try:
        pybase64.b64decode(text, validate=True)
    except ValueError:
        code = "base64"
        raise PydanticCustomError(code, "is not base64; encode the bytes by RFC 4648") from None
    return SecretStr(text)


def _joined(text: str) -> str:
    """Leave out the line ends that `base64` writes: one at the end, and one after each 76 characters."""
    for end in ("\r", "\n"):
        if end in text:  # looking is cheap, a copy of the largest is not
            text = text.replace(end, "")
    return text


def _small_enough(value: SecretStr) -> SecretStr:
    if len(value.get_secret_value().encode("utf-8", "surrogatepass")) > MAX_USER_DATA:
        raise _too_large()
    return value


def _too_large() -> PydanticCustomError:
    code = "content_too_large"
    return PydanticCustomError(
        code,
        "is larger than {mib} MiB; keep large content elsewhere and let the user data fetch it",
        {"mib": MAX_USER_DATA // 2**20},
    )


def _reveal(value: SecretStr | None, info: SerializationInfo) -> str | None:
    if value is None:
        return None
    context: dict[str, Any] = info.context or {}
    return value.get_secret_value() if context.get("reveal") else str(value)


_TEXT: Final[dict[str, JsonValue]] = {"maxLength": MAX_USER_DATA}
_BASE64: Final[dict[str, JsonValue]] = {
    "maxLength": MAX_USER_DATA * 3 // 2,  # with the line ends
    "pattern": r"^[A-Za-z0-9+/\r\n]*={0,2}[\r\n]*$",
}


class UserData(Strict):
    """User data, as text or as base64 of any bytes; exactly one of the two."""

    model_config = ConfigDict(json_schema_extra={"oneOf": [given("text", "string"), given("base64", "string")]})

    text: Annotated[SecretStr, AfterValidator(_small_enough), Field(json_schema_extra=_TEXT)] | None = None
    base64: Annotated[SecretStr, AfterValidator(_decodable), Field(json_schema_extra=_BASE64)] | None = None

    _show = field_serializer("text", "base64")(_reveal)

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if (self.text is None) == (self.base64 is None):
            code = "one_of"
            raise PydanticCustomError(code, "needs exactly one of 'text' and 'base64'")
        return self

    def content(self) -> SecretBytes:
        """Return the bytes that stand on the drive."""
        if self.base64 is not None:
            return SecretBytes(pybase64.b64decode(self.base64.get_secret_value()))
        text = self.text.get_secret_value() if self.text is not None else ""
        return SecretBytes(text.encode("utf-8"))


class _Appended(UserData):
    """User data that came as they are, behind the JSON of a sealed box."""

    _bytes: SecretBytes = PrivateAttr()

    @classmethod
    def of(cls, content: bytes) -> _Appended:
        made = _Appended.model_construct()
        made._bytes = SecretBytes(content)  # noqa: SLF001 - its own
        return made

    @override
    def content(self) -> SecretBytes:
        return self._bytes


Password = Annotated[
    SecretStr,
    Field(
        min_length=1,
        max_length=256,
        json_schema_extra={
            "pattern": ONE_LINE_PATTERN,
            "not": {"type": "string", "pattern": f"^(?:{OTHERWISE_READ})$"},
        },
    ),
]
"""A guest password: one line of 1 to 256 characters, which are at most 511 bytes in UTF-8."""


def _named_keys(value: object) -> object:
    """Give keys that came as plain lines a name."""
    if not isinstance(value, list):
        return value
    return [
        {"name": f"key-{index}", "key": item} if isinstance(item, str) else item for index, item in enumerate(value, 1)
    ]


SshKeys = Annotated[
    tuple[SshKey, ...],
    Field(max_length=64),
    BeforeValidator(
        _named_keys, json_schema_input_type=Annotated[tuple[SshKey | PublicKey, ...], Field(max_length=64)]
    ),
]
"""ssh public keys, each with its name or as a plain line."""


def is_object(line: bytes) -> bool:
    """Say whether a line is the JSON of what was sealed, and user data stand behind it."""
    with suppress(ValueError):
        return isinstance(from_json(line), dict)
    return False


_ONE_DEFAULT: Final[dict[str, JsonValue]] = {
    "contains": given("default", "boolean", const=True),
    "minContains": 0,
    "maxContains": 1,
}


InstanceId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
"""What cloud-init knows an instance by, in place of the VM's uuid; with a new one it does all over again, as for a new
machine."""


def _seed(value: str) -> str:
    try:
        pybase64.b64decode(value, validate=True)
    except ValueError:
        code = "base64"
        raise PydanticCustomError(code, "is not base64; encode the bytes by RFC 4648") from None
    return value


RandomSeed = Annotated[
    str,
    StringConstraints(min_length=1, max_length=4096),
    AfterValidator(_seed),
    Field(json_schema_extra={"pattern": "^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$"}),
]
"""Base64 of random bytes for the guest's kernel, which cloud-init mixes into its pool at the first boot."""


class GuestData(Strict):
    """All that an event says about the drive's content."""

    metadata: Metadata | None = None
    user_data: UserData | None = None
    ssh_keys: SshKeys | None = None
    nics: Annotated[tuple[Nic, ...], Field(max_length=64, json_schema_extra=_ONE_DEFAULT)] | None = None
    password: Password | None = None
    instance_id: InstanceId | None = None
    random_seed: RandomSeed | None = Field(default=None, repr=False)

    _left_out: tuple[str, ...] = PrivateAttr(default=())
    _show = field_serializer("password")(_reveal)

    @property
    def left_out(self) -> tuple[str, ...]:
        """What was left out of it when it was opened, and why."""
        return self._left_out

    def lacking(self, left_out: tuple[str, ...]) -> Self:
        """Return it, knowing what was left out of it."""
        known = self.model_copy()
        known._left_out = left_out  # noqa: SLF001 - its own class
        return known

    @model_validator(mode="after")
    def _fit_for_a_drive(self) -> Self:
        """Refuse on arrival what no drive could be built from; the size is checked when it is."""
        small = self.model_copy(update={"user_data": None})
        try:
            check(small.merged_into(VmData()), self.password)
        except PermanentError as error:
            problem = f"{error.detail}; {error.remedy}"
        else:
            return self
        code = "content"
        raise PydanticCustomError(code, "{problem}", {"problem": problem})

    def plaintext(self) -> bytes:
        """Return what is sealed: only what was given, secrets revealed. Must not be logged or stored.

        That is JSON in one line and, behind a line feed, the user data as they are: large ones are spared base64.
        Empty ones stand in the JSON.
        """
        content = b"" if self.user_data is None else self.user_data.content().get_secret_value()
        appended = {"user_data"} if content else set()
        given = self.model_dump(mode="json", exclude_none=True, exclude=appended, context={"reveal": True})
        document = to_json({name: given.get(name) for name in sorted(self.model_fields_set - appended)})
        return b"\n".join((document, content)) if content else document

    @classmethod
    def of_plaintext(cls, plaintext: bytes) -> Self:
        """Read what was sealed: JSON, or JSON in the first line and user data behind it.

        Raises:
            pydantic.ValidationError: it is neither.
        """
        document, _, content = plaintext.partition(b"\n")
        if not content or not is_object(document):
            return cls.model_validate_json(plaintext)
        known = cls.model_validate_json(document)
        problem = _too_large() if len(content) > MAX_USER_DATA else None
        if "user_data" in known.model_fields_set:
            problem = PydanticCustomError("one_of", "stands in the JSON and behind it; give it once")
        if problem is not None:
            fault = InitErrorDetails(type=problem, loc=("user_data",), input=None)
            raise ValidationError.from_exception_data(cls.__name__, [fault], hide_input=True)
        return known.model_copy(update={"user_data": _Appended.of(content)})

    def merged_into(self, known: VmData) -> VmData:
        """Return `known` with every field that this event names; metadata is taken as a whole."""
        changed: dict[str, Any] = {}
        given = self.model_fields_set
        if "metadata" in given:
            changed["metadata"] = self.metadata or Metadata()
        if "user_data" in given:
            changed["user_data"] = self.user_data.content() if self.user_data else None
        if "ssh_keys" in given:
            changed["ssh_keys"] = self.ssh_keys or ()
        for name in {"nics", "instance_id", "random_seed"} & given:
            changed[name] = getattr(self, name)
        return replace(known, **changed)
