"""The orchestrator of one VM in a test: publishes its events to a fleet and waits for what becomes of them."""

from typing import Any, ClassVar

from configdrive.client.postings import Receipt
from configdrive.contract.outcome import Outcome
from rigs.cloud import VmScript
from rigs.fleet import Fleet
from rigs.process import RigError, wait_until

PASSWORD = "swordfish"
GUEST = {"password": PASSWORD, "user_data": {"text": "#!/bin/sh\necho hello\n"}}


class Orchestrator:
    """What an orchestrator does with a VM; a class below has its `fleet`, its `script` and the `host` it is on."""

    hypervisor: ClassVar[str]
    fleet: Fleet
    script: VmScript
    host: str

    def publish(self, kind: str, **data: Any) -> Receipt:  # noqa: ANN401 - fields of an event
        """Publish the VM's next event."""
        event = self.script.event(kind, hypervisor=self.hypervisor, **{"host": self.host} | data)
        receipt = self.fleet.publisher.publish(event)
        assert receipt.accepted
        return receipt

    def send(self, kind: str, **data: Any) -> Outcome:  # noqa: ANN401 - as above
        """Publish the VM's next event and wait for its outcome, final or parked."""
        return self.outcome(self.publish(kind, **data))

    def outcome(self, event: Receipt) -> Outcome:
        """Wait for the outcome of an event.

        Raises:
            RigError: there was none within 300 s.
        """
        outcome = self.fleet.publisher.wait(event, 300)
        if outcome is None:
            raise RigError(f"no outcome\n{self.fleet.log[-3000:]}")
        return outcome

    def goes_on(self, parked: Outcome) -> Outcome:
        """Wait for the final outcome of the VM's event that was parked.

        Raises:
            RigError: there was none in time.
        """

        def ended() -> Outcome | None:
            outcome = self.fleet.mailbox.outcome_of(parked.key)
            return outcome if outcome is not None and outcome.final else None

        return wait_until(ended, "what was parked to go on", timeout=60)
