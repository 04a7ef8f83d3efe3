"""The entry point for hosts: an HTTPS server at which CloudStack's KVM agents ask for the drives of VMs about to start.

`POST /start` with `Authorization: Bearer <token>` and JSON `{"uuid", "name", "host", "definition", "foreign",
"fail_closed"}`. The token says which host asks.

| answer | when                                                                              |
|--------|-----------------------------------------------------------------------------------|
| 200    | `{"verdict": "drive" or "none", "reason", "elements"}`                            |
| 400    | the question cannot be read                                                       |
| 401    | the token is missing, wrong, or another host's; nothing else was looked at        |
| 403    | CloudStack has the VM on another host                                             |
| 409    | the fleet cannot make this VM's drive                                             |
| 503    | Redis or CloudStack's API was away for all of the time                            |
| 504    | the fleet did not make this VM's drive in time                                    |

`GET /host` with a token answers which host's it is, or 401. `GET /health` answers 200.
"""

from __future__ import annotations

import json
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Final, NoReturn

from pydantic import BaseModel, ConfigDict, Field, StrictBool, ValidationError
from tornado.web import RequestHandler
from typing_extensions import override

from configdrive.contract.fields import UuidField
from configdrive.drive_data import OneLine
from configdrive.model import VmDefinition, VmUuid
from workers.cloudstack import http_server
from workers.cloudstack.gate import Answer, Gate, Question, Verdict
from workers.cloudstack.gate_tokens import GateTokens
from workers.cloudstack.retrying import Life

_log: Final = logging.getLogger("configdrive.cloudstack.gate")
_THREADS: Final = 64
_MOST: Final = 256 * 1024
_STATUS: Final = {
    Verdict.DRIVE: HTTPStatus.OK,
    Verdict.NONE: HTTPStatus.OK,
    Verdict.NOT_YOURS: HTTPStatus.FORBIDDEN,
    Verdict.FAILED: HTTPStatus.CONFLICT,
    Verdict.LATE: HTTPStatus.GATEWAY_TIMEOUT,
}
"""Of each answer that has a body."""


class _Asked(BaseModel):
    """The body of a question. `name` is for people who read along; CloudStack says what the VM is called."""

    model_config = ConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True)

    uuid: UuidField
    host: Annotated[OneLine, Field(max_length=255)]
    name: OneLine = ""
    definition: VmDefinition
    foreign: StrictBool = False
    fail_closed: StrictBool = False


def serve(  # noqa: PLR0913 - all by name
    gate: Gate,
    *,
    tokens: GateTokens,
    address: str,
    port: int,
    certificate: tuple[Path, Path] | None,
    life: Life,
    grace_seconds: float,
) -> None:
    """Serve until asked to end; hosts that wait then are answered.

    Raises:
        OSError: the address is taken.
        PermanentError: `MISCONFIGURED`: the certificate cannot be used.
    """
    threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="gate")
    http_server.serve(
        [
            ("/start", _Start, {"gate": gate, "tokens": tokens, "threads": threads}),
            ("/host", _Host, {"tokens": tokens}),
        ],
        name=_log.name,
        address=address,
        port=port,
        certificate=certificate,
        life=life,
        threads=threads,
        grace_seconds=grace_seconds,
    )


class _Start(http_server.Posted):
    """One question."""

    most = _MOST

    @override
    def initialize(self, gate: Gate, tokens: GateTokens, threads: ThreadPoolExecutor) -> None:
        self._gate = gate
        self._tokens = tokens
        self._threads = threads

    @override
    async def post(self) -> None:  # type: ignore[mutable-override]  # tornado calls its methods attributes
        body, came = self.body(), time.monotonic()
        host = _host_of(self, self._tokens)
        if host is None:
            _log.warning("a question from %s has no right token", self.request.remote_ip)
            self._refuse(HTTPStatus.UNAUTHORIZED)
        try:
            asked = _Asked.model_validate_json(body)
        except ValidationError:
            _log.warning("a question of host %s cannot be read", host)
            self._refuse(HTTPStatus.BAD_REQUEST)
        if asked.host != host:
            _log.warning("host %s asks as %s", host, asked.host)
            self._refuse(HTTPStatus.UNAUTHORIZED)
        question = Question(VmUuid(asked.uuid), host, asked.definition, asked.foreign, asked.fail_closed)
        self._say(await self.in_thread(self._threads, self._gate.ask, question, came))

    def _refuse(self, status: HTTPStatus) -> NoReturn:
        self._gate.refuse()
        self.answer(status)

    def _say(self, answer: Answer) -> None:
        self.set_status(HTTPStatus.SERVICE_UNAVAILABLE if answer.away else _STATUS[answer.verdict])
        self.set_header("Content-Type", "application/json")
        said = {"verdict": answer.verdict.value, "reason": answer.reason, "elements": list(answer.elements)}
        _ = self.finish(json.dumps(said))


class _Host(http_server.Plain):
    """For a person who sets a host up: whose token this is."""

    @override
    def initialize(self, tokens: GateTokens) -> None:
        self._tokens = tokens

    @override
    def get(self) -> None:  # type: ignore[mutable-override]  # tornado calls its methods attributes
        host = _host_of(self, self._tokens)
        if host is None:
            self.answer(HTTPStatus.UNAUTHORIZED)
        self.write(f"{host}\n")


def _host_of(call: RequestHandler, tokens: GateTokens) -> str | None:
    scheme, _, token = call.request.headers.get("Authorization", "").partition(" ")
    return tokens.host_of(token) if scheme == "Bearer" else None
