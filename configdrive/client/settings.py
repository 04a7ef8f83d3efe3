"""The settings that a publisher needs: environment variables `CONFIGDRIVE_…`, or a TOML file (`CONFIGDRIVE_SETTINGS`).

Workers' settings extend them (`workers.config.settings`), so one file may serve both: a publisher passes over what is
the workers' alone.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Self, TypeVar

from pydantic import BaseModel, Field, SecretStr, ValidationError, model_validator
from pydantic_core import PydanticCustomError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)
from typing_extensions import override

from configdrive.client.redis_url import FORMS, Endpoint
from configdrive.contract.fields import HypervisorField, ZoneField
from configdrive.errors import PermanentCode, PermanentError


class ClientSettings(BaseSettings):
    """Settings of whoever reaches the fleet through Redis."""

    model_config = SettingsConfigDict(
        env_prefix="CONFIGDRIVE_",
        env_nested_delimiter="__",
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
    )

    redis_url: SecretStr = SecretStr("redis://127.0.0.1:6379/0")
    """Redis with the mailboxes and the broker; `rediss://` for TLS, `redis+sentinel://one:26379,two:26379/mymaster/0`
    for the master behind a Sentinel, `rediss+sentinel://` for both. May hold a password, so it is never shown."""

    sentinel_password: SecretStr | None = None
    """The Sentinels' own password, where they have one. That of Redis stands in the URL."""

    redis_ca: Path | None = None
    """The authority that has signed the certificates of Redis and Sentinel. None: those that the system trusts."""

    redis_certificate: Path | None = None
    """The certificate by which a Redis that asks for one knows us. None: none is shown."""

    redis_certificate_key: Path | None = None
    """Its private key."""

    replicas: Annotated[int, Field(ge=0, le=10)] = 0
    """How many replicas must have an event, and the lease on a VM, before either counts. 0: Redis' own answer is
    enough, and a failover may lose the last moments. With a Sentinel: 1, and at least two replicas."""

    replica_seconds: Annotated[float, Field(ge=0.1, le=600)] = 30.0
    """How long to try until so many replicas have it; then publishing fails, and the event may or may not be stored."""

    key_prefix: Annotated[str, Field(pattern=r"^[A-Za-z0-9:_-]{0,64}$")] = "configdrive:"
    """In front of every Redis key, so that several fleets can share a Redis."""

    mailbox_bytes: Annotated[int, Field(ge=2**16, le=2**32)] = 2**27
    """How many bytes of events may wait for one VM on Redis, headers and sealed content; more are refused
    (`mailbox_full`), but `stop` and `destroy`. 128 MiB hold two events of the largest size."""

    public_key: str | None = None
    """For publishers on other machines: the line of `configdrive keys public`. Then no key file is read."""

    hypervisors: tuple[HypervisorField, ...] = ()
    """Which drivers are known here. Empty: every installed one."""

    zones: tuple[ZoneField, ...] = ()
    """Zones with queues of their own, `configdrive.<hypervisor>.<zone>`. Empty: one queue per hypervisor."""

    @model_validator(mode="after")
    def _refuse_what_cannot_connect(self) -> Self:
        refuse(
            (
                Endpoint.read(self.redis_url.get_secret_value()) is None,
                f"redis_url: needs {FORMS}; Redis Cluster cannot be a Celery broker",
            ),
            (
                (self.redis_certificate is None) != (self.redis_certificate_key is None),
                "redis_certificate: needs redis_certificate_key, and the other way round",
            ),
        )
        return self

    @classmethod
    @override
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read, in order of weight: arguments, environment, the TOML file."""
        file = os.environ.get("CONFIGDRIVE_SETTINGS")
        toml = (TomlConfigSettingsSource(settings_cls, Path(file)),) if file else ()
        return (init_settings, env_settings, *toml)


SettingsType = TypeVar("SettingsType", bound=ClientSettings)


def refuse(*rules: tuple[bool, str]) -> None:
    """Refuse settings of which a rule is broken, with its message.

    Raises:
        PydanticCustomError: one is.
    """
    for broken, message in rules:
        if broken:
            code = "combination"
            raise PydanticCustomError(code, "{message}", {"message": message})


def read_settings(kind: type[SettingsType], /, **given: Any) -> SettingsType:  # noqa: ANN401 - whatever a field takes
    """Read the settings; what is `given` by name weighs more than environment and file.

    Raises:
        PermanentError: `MISCONFIGURED`; the detail names the setting, never its value.
    """
    file = os.environ.get("CONFIGDRIVE_SETTINGS")
    if file and not Path(file).is_file():
        detail = f"CONFIGDRIVE_SETTINGS names {file}, which is not a file"
        raise PermanentError(PermanentCode.MISCONFIGURED, detail, "correct the path, or unset the variable")
    remedies = ["correct it; `configdrive settings --defaults` lists all"]
    try:
        return kind(**given)
    except ValidationError as error:
        findings = error.errors(include_url=False, include_input=False, include_context=False)
        wrong = [(tuple(map(str, finding["loc"])), finding["msg"], finding["type"]) for finding in findings]
        shown = [_sentence(place, message, form, file) for place, message, form in wrong]
        unknown = [place for place, _, form in wrong if form == _UNKNOWN]
        remedies[:0] = [f"did you mean {near}?" for place in unknown if (near := _near(kind, place))]
    except SettingsError as error:
        shown = [f'{error}; write lists as JSON, such as ["kvm"]']  # names the field, and quotes nothing
    except UnicodeDecodeError:
        shown = [f"{file} is not valid TOML: it is not UTF-8"]
    except ValueError as error:  # its text has the line and the column, and at most one character of what stands there
        shown = [f"{file} is not valid TOML: {error}"]
    raise PermanentError(PermanentCode.MISCONFIGURED, "; ".join(shown), " ".join(remedies))


_UNKNOWN = "extra_forbidden"


def variable_of(place: Sequence[str]) -> str:
    """Return the name of a setting's variable; `place` has its table too, if it stands in one."""
    return f"{ClientSettings.model_config['env_prefix']}{'__'.join(place).upper()}"


def _sentence(place: Sequence[str], message: str, kind: str, file: str | None) -> str:
    """Say what is wrong with a setting, and where it is set; never its value."""
    if not place:
        return message
    by_variable = any(name.upper() == variable_of(place) for name in os.environ)
    whence = f", in {variable_of(place)}" if by_variable else f", in {file}" if file else ""
    return f"{'.'.join(place)}: {'is no setting' if kind == _UNKNOWN else message}{whence}"


def _near(kind: type[BaseModel], place: Sequence[str]) -> str | None:
    """Return the setting's name that is most like one that is none."""
    from difflib import get_close_matches  # noqa: PLC0415 - few are mistaken

    *tables, name = place
    for table in tables:
        inner = kind.model_fields[table].annotation
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            return None
        kind = inner
    near = get_close_matches(name, kind.model_fields, n=1)
    return ".".join((*tables, near[0])) if near else None
