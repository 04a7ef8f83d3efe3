"""The story: deploy, start, password reset, stop, start, stop, start, destroy; each step checked, not only shown."""

from __future__ import annotations

import secrets
import time
import uuid
from dataclasses import dataclass, field
from typing import Any

from configdrive.contract.outcome import Outcome, Status
from demo.narrator import Narrator
from demo.services import Services
from demo.stage import Reading, Stage

PASSWORD_FILE = "cloudstack/password/vm_password.txt"  # noqa: S105 - a path
USER_DATA_FILE = "cloudstack/userdata/user_data.txt"
USER_DATA = "#!/bin/sh\necho 'hello from the config drive'\n"
SSH_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIK0wmN/Cr3JXqmLW7u+g9pTh+wyqDHpSQEIQczXkVx9q demo@example"
_PATIENCE = 60.0


class DemoFailed(Exception):  # noqa: N818 - the word for the user
    """A step did not do what the story says."""


@dataclass
class Story:
    """Tells the story on a stage; `tell` raises `DemoFailed` at the first step that is not as it should be."""

    stage: Stage
    services: Services
    narrator: Narrator
    _sequence: int = field(default=0, init=False)

    def tell(self) -> None:
        """Walk the VM through its life."""
        first, second = (secrets.token_urlsafe(9) for _ in range(2))

        self.narrator.step("deploy", "the VM is created; its drive goes onto the storage of its root disk")
        self._publish("deploy", guest=self._guest(first))
        self._expect_images(1)

        self.narrator.step("start", "a fresh drive is attached, then the VM is powered on")
        self._publish("start")
        reading = self.stage.power_on()
        self.narrator.reading(self.stage.reads, reading.session)
        self._expect_file(reading, USER_DATA_FILE, USER_DATA)
        self._expect_file(reading, PASSWORD_FILE, first)

        self.narrator.step("password reset", "the VM runs; the new password waits for its next start")
        self._publish("password_reset", guest={"password": second})

        self._stop()
        self.narrator.step("start", "the new password is on the drive")
        self._publish("start")
        self._expect_file(self.stage.power_on(), PASSWORD_FILE, second)

        self._stop()
        self.narrator.step("start", "the password was delivered: it is not there any more")
        self._publish("start")
        reading = self.stage.power_on()
        self._expect_no_password(reading)
        self._expect_file(reading, USER_DATA_FILE, USER_DATA)

        self.stage.power_off()
        self.narrator.step("destroy", "the VM is gone: nothing of it is left")
        self._publish("destroy")
        self._expect_images(0)
        readable = any(self.services.readable_in_redis(secret) for secret in (first, second, USER_DATA))
        self._check(not readable, "in Redis: neither a password nor the user data stands readable in any key")

    def _stop(self) -> None:
        self.narrator.step("stop", "the VM is switched off; its drive goes")
        self.stage.power_off()
        self._publish("stop")
        self._expect_images(0)

    def _guest(self, password: str) -> dict[str, Any]:
        return {
            "metadata": {
                "availability_zone": "demo-zone",
                "cloud_identifier": "CloudStack-{demo}",
                "instance_id": self.stage.instance_name,
                "local_hostname": "demo",
                "service_offering": "Small Instance",
                "vm_id": "42",
            },
            "user_data": {"text": USER_DATA},
            "ssh_keys": [SSH_KEY],
            "password": password,
        }

    def _publish(self, event_type: str, **data: object) -> Outcome:
        """Publish the VM's next event and wait for its outcome."""
        self._sequence += 1
        event = {
            "specversion": "1.0",
            "id": uuid.uuid4().hex,
            "source": "/demo",
            "type": f"configdrive.vm.{event_type}.v1",
            "data": {
                "sequence": self._sequence,
                "vm": {"uuid": self.stage.vm_uuid, "instance_name": self.stage.instance_name},
                "hypervisor": self.stage.hypervisor,
                "host": self.stage.host,
                **data,
            },
        }
        began = time.perf_counter()
        receipt = self.services.publisher.publish(event)
        outcome = self.services.publisher.wait(receipt, _PATIENCE)
        if outcome is None:
            raise DemoFailed(f"no outcome for {event_type} within {_PATIENCE:g} s")
        self.narrator.outcome(outcome, time.perf_counter() - began)
        if outcome.status is not Status.APPLIED:
            raise DemoFailed(f"{event_type}: {outcome.status}: {outcome.detail}")
        return outcome

    def _expect_file(self, reading: Reading, path: str, content: str) -> None:
        self._check(reading.files.get(path) == content.encode(), f"the guest read {path}: {content.strip()!r}")

    def _expect_no_password(self, reading: Reading) -> None:
        found = [path for path in reading.files if path == PASSWORD_FILE]
        self._check(not found, f"the guest found no {PASSWORD_FILE}")

    def _expect_images(self, number: int) -> None:
        images = self.stage.images()
        shown = f"on the storage: {', '.join(images)}" if images else "on the storage: no image"
        self._check(len(images) == number, shown)

    def _check(self, holds: bool, sentence: str) -> None:  # noqa: FBT001 - reads as a sentence where it is called
        self.narrator.check(holds, sentence)
        if not holds:
            raise DemoFailed(f"not so: {sentence}")
