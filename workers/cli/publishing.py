"""Publishing what was read, and waiting for the outcomes when asked."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from configdrive.errors import PermanentCode, PermanentError
from workers.cli.context import open_app, open_mailbox
from workers.cli.input import Entry, Unreadable
from workers.cli.report import Report
from workers.cli.waiting import outcomes_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tasks.mailbox import Mailbox, Receipt
    from tasks.publish import LifecyclePublisher
    from workers.cli.exits import ExitCode


def publish_all(found: Sequence[Entry | Unreadable], *, wait_seconds: float | None, as_json: bool) -> ExitCode:
    """Publish all entries, tell what became of them, and return the exit code.

    Raises:
        PermanentError: `MISCONFIGURED`.
    """
    from workers.access import make_publisher
    from workers.config.settings import load_settings

    settings = load_settings()
    mailbox = open_mailbox(settings)
    publisher = make_publisher(settings, open_app(settings), mailbox)
    report = Report(len(found), as_json=as_json, waiting=wait_seconds is not None)
    try:
        _publish_and_wait(found, mailbox, publisher, report, wait_seconds)
    except BaseException:
        report.broken_off()
        raise
    report.finish()
    return report.code


def _publish_and_wait(
    found: Sequence[Entry | Unreadable],
    mailbox: Mailbox,
    publisher: LifecyclePublisher,
    report: Report,
    wait_seconds: float | None,
) -> None:
    # The position is from before anything is published, so that no outcome can come before it.
    since = None if wait_seconds is None else mailbox.end_of_outcomes()
    with report.bar(len(found), "publishing") as advance:
        for where, receipt in _stored(found, publisher, report):
            report.receipt(where, receipt)
            advance(1)
    if wait_seconds is None or since is None:
        return
    with report.bar(len(report.open), "outcomes  ") as advance:
        for outcome in outcomes_of(mailbox, report.open, since, wait_seconds):
            report.outcome(outcome)
            advance(1)


def _stored(
    found: Sequence[Entry | Unreadable],
    publisher: LifecyclePublisher,
    report: Report,
) -> Iterator[tuple[str, Receipt]]:
    """Publish the events among the entries; yields place and receipt of each, the others go to the report."""
    places: deque[str] = deque()

    def readable() -> Iterator[bytes | Mapping[str, Any]]:
        for entry in found:
            match entry:
                case Unreadable(where, detail, remedy):
                    report.refused(where, PermanentCode.INVALID_EVENT, detail, remedy)
                case Entry(where, event):
                    places.append(where)
                    yield event

    def refused(_index: int, error: PermanentError) -> None:
        report.refused(places.pop(), error.code, error.detail, error.remedy)

    for receipt in publisher.publish_many(readable(), refused):
        yield places.popleft(), receipt
