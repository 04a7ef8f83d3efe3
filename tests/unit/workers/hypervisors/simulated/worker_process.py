"""A worker process of these tests: arguments are folder, uuid, instance name, generation, rounds, verbs."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from configdrive.errors import FleetError
from configdrive.model import InstanceName, StoredImage, VmUuid
from tests.unit.workers.hypervisors.simulated.cloud import AT_H1, SHARED, Cloud, make_image, unknown_vm


def main() -> None:
    folder, uuid, instance_name, generation, rounds, *steps = sys.argv[1:]
    cloud = Cloud(Path(folder))
    template = unknown_vm()
    vm = type(template)(VmUuid(uuid), InstanceName(instance_name), template.hypervisor, template.host)
    image = make_image(vm, int(generation))
    driver = cloud.driver
    verbs: dict[str, Callable[[], object]] = {
        "observe": lambda: driver.observe(vm, [SHARED]),
        "upload": lambda: driver.upload(vm, image, AT_H1),
        "copy": lambda: driver.copy(vm, image.name, AT_H1, SHARED),
        "attach": lambda: driver.attach(vm, image.name, AT_H1),
        "detach": lambda: driver.detach(vm),
        "delete": lambda: driver.delete(vm, StoredImage(image.name, AT_H1)),
        "survey": lambda: driver.survey(vm.host),
    }
    for _ in range(int(rounds)):
        for step in steps:
            try:
                verbs[step]()
            except FleetError as error:
                print(error.code, flush=True)  # noqa: T201  # the test reads it


if __name__ == "__main__":
    main()
