"""Run by Debian's Python with cloud-init's own packages: what it makes of vendor data beside user data.

Usage: `python3 cloud_init_vendor.py <pairs.json`, a list of `{"vendor": text, "user": text}`, with a `/var/lib` and a
`/run` of its own. Prints a list of as many `{"config": what its modules read, "scripts": those of the vendor data}`.
"""

import importlib
import json
import sys
from pathlib import Path
from typing import Any

INSTANCE = Path("/var/lib/cloud/instance")


def main() -> None:
    """Take each in as at the first boot of an instance of its own."""
    answers = [_taken(f"number-{number}", pair) for number, pair in enumerate(json.load(sys.stdin))]
    json.dump(answers, sys.stdout)


def _taken(instance: str, pair: dict[str, str]) -> dict[str, Any]:
    helpers: Any = importlib.import_module("cloudinit.helpers")
    stages: Any = importlib.import_module("cloudinit.stages")
    sources: Any = importlib.import_module("cloudinit.sources")
    init = stages.Init()
    init._cfg = {"system_info": {"distro": "debian"}, "vendor_data": {"enabled": True}}
    init._initialize_filesystem()
    source = sources.DataSource({}, init.distro, init.paths)
    source.metadata = {"instance-id": instance}
    source.vendordata_raw, source.userdata_raw = pair["vendor"], pair["user"]
    init.datasource = init.paths.datasource = source
    init._reflect_cur_instance()
    init.update()
    init.consume_data("always")
    merged = helpers.ConfigMerger(paths=init.paths, datasource=source, base_cfg={}).cfg
    scripts = sorted(INSTANCE.glob("scripts/vendor/*"))
    return {"config": merged, "scripts": {str(path): [path.read_text(), path.stat().st_mode] for path in scripts}}


if __name__ == "__main__":
    main()
