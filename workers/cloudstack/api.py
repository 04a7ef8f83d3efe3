"""CloudStack's API: signed calls over TLS, its errors as ours. The secret key signs, and never leaves this module.

Source: CloudStack's programmer guide, "Signing API requests": HMAC-SHA1 over the parameters, sorted and in lower case;
version 3 has an expiry, so that a call that was overheard cannot be made again. Values are encoded as Java's
URLEncoder does, with %20 for a space, because CloudStack encodes them so to compare.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from pydantic import SecretStr
from typing_extensions import override

from configdrive.errors import PermanentCode, PermanentError, TransientCode, TransientError
from workers.cloudstack import json_values
from workers.config.secret_files import read_secret

_MAX_ANSWER: Final = 32 * 2**20
_EXPIRES: Final = timedelta(minutes=10)
_DENIED: Final = frozenset({401, 403, 432, 511, 531})
_NOT_THERE: Final = frozenset({430, 431})
"""HTTP codes as CloudStack's `ApiErrorCode` has them: keys, or a role, that may not do this; and a parameter that it
does not take, such as the uuid of what it does not have. All others may pass: 429 too often, 503, 530 an error."""


@dataclass(frozen=True, slots=True)
class ApiKey:
    """Who asks."""

    api_key: str
    secret_key: SecretStr

    @classmethod
    def read(cls, path: Path | None) -> ApiKey:
        """Read the two lines of a key file.

        Raises:
            PermanentError: `MISCONFIGURED`.
        """
        lines = read_secret(path, "cloudstack.key_file").split()
        if len(lines) != 2:  # noqa: PLR2004 - the two keys
            detail = f"cloudstack.key_file: {path} has {len(lines)} words"
            remedy = "write the API key on the first line and the secret key on the second"
            raise PermanentError(PermanentCode.MISCONFIGURED, detail, remedy)
        return cls(lines[0], SecretStr(lines[1]))


def signature(parameters: Mapping[str, str], secret_key: SecretStr) -> str:
    """Return the signature of a call, in base64."""
    pairs = sorted((name.lower(), _encoded(value)) for name, value in parameters.items())
    text = "&".join(f"{name}={value}" for name, value in pairs).lower()
    digest = hmac.new(secret_key.get_secret_value().encode(), text.encode(), hashlib.sha1).digest()
    return base64.b64encode(digest).decode()


class Api:
    """Makes calls, each with a connection of its own.

    Args:
        url: the API's.
        key: who asks.
        seconds: time limit of one call.
        context: whom to trust; the system's authorities otherwise.
    """

    def __init__(self, url: str, key: ApiKey, *, seconds: float, context: ssl.SSLContext | None = None) -> None:
        self._url = url
        self._key = key
        self._seconds = seconds
        self.ahead: float | None = None
        """By how many seconds CloudStack's clock was ahead of ours at the last answer, if it said what time it is."""
        self._opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}),
            _NoRedirects(),
            urllib.request.HTTPSHandler(context=context or ssl.create_default_context()),
        )

    def call(self, command: str, **parameters: str) -> json_values.Document | None:
        """Make a call; returns its response, `None` when CloudStack does not have what a parameter names.

        Raises:
            TransientError: `HOST_UNREACHABLE`: it did not answer, or could not now.
            PermanentError: `ACCESS_DENIED`, when it refuses the keys or the call; `MISCONFIGURED`, when it is no API.
        """
        status, body = self._answer(command, self._signed({"command": command, "response": "json", **parameters}))
        if status in _DENIED:
            detail = f"CloudStack refuses {command} ({status})"
            remedy = "give cloudstack.key_file the keys of a root admin; compare the clocks of both machines"
            raise PermanentError(PermanentCode.ACCESS_DENIED, detail, remedy)
        if status in _NOT_THERE:
            return None
        if status != http.client.OK:  # 404 also while the management server starts
            remedy = "see whether it is up, and whether cloudstack.url ends with /client/api"
            raise self._away(command, f"HTTP {status}", remedy if status == http.client.NOT_FOUND else "")
        answer = json_values.loads(body)
        if not isinstance(answer, dict):
            detail = f"cloudstack.url: {self._url} does not answer {command} with JSON"
            raise PermanentError(PermanentCode.MISCONFIGURED, detail, "it ends with /client/api")
        return json_values.document(answer.get(f"{command.lower()}response"))

    def _signed(self, parameters: dict[str, str]) -> bytes:
        expires = (datetime.now(UTC) + _EXPIRES).strftime("%Y-%m-%dT%H:%M:%S+0000")
        signed = {**parameters, "apiKey": self._key.api_key, "signatureVersion": "3", "expires": expires}
        signed["signature"] = signature(signed, self._key.secret_key)
        return "&".join(f"{name}={_encoded(value)}" for name, value in signed.items()).encode()

    def _answer(self, command: str, form: bytes) -> tuple[int, bytes]:
        request = urllib.request.Request(self._url, form)  # noqa: S310 - the settings take https and this machine only
        try:
            with self._opener.open(request, timeout=self._seconds) as answer:
                self._compare_clocks(answer.headers.get("Date"))
                body: bytes = answer.read(_MAX_ANSWER + 1)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, b""
        except urllib.error.URLError as error:
            if isinstance(error.reason, ssl.SSLCertVerificationError):
                raise self._not_trusted(error.reason) from None
            raise self._away(command, type(error.reason).__name__) from None
        except (OSError, http.client.HTTPException) as error:
            raise self._away(command, type(error).__name__) from None
        if len(body) > _MAX_ANSWER:
            raise self._away(command, f"more than {_MAX_ANSWER} bytes")
        return http.client.OK, body

    def _compare_clocks(self, date: str | None) -> None:
        with suppress(TypeError, ValueError):
            self.ahead = (parsedate_to_datetime(date or "") - datetime.now(UTC)).total_seconds()

    def _away(self, command: str, why: str, remedy: str = "") -> TransientError:
        detail = f"{self._url} does not answer {command} ({why})"
        return TransientError(TransientCode.HOST_UNREACHABLE, detail, remedy)

    def _not_trusted(self, error: ssl.SSLCertVerificationError) -> PermanentError:
        detail = f"the certificate of {self._url} is not trusted: {error.verify_message}"
        return PermanentError(PermanentCode.MISCONFIGURED, detail, "set cloudstack.ca_file, or correct cloudstack.url")


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A signed call goes where it was meant to go, or nowhere."""

    @override
    def redirect_request(self, *_arguments: Any, **_named: Any) -> None:
        return None


def _encoded(value: str) -> str:
    return quote(value, safe=".-*_").replace("~", "%7E")
