"""Run by Debian's Python with cloud-init's own packages: what each of its renderers makes of network descriptions.

Usage: `python3 cloud_init_networks.py <documents.json`, a list; each is OpenStack's `network_data.json`, or in
cloud-init's own form. Prints a list of as many `{renderer: {file: text}}`; `{"error": text}`
where it raises one.
"""

import importlib
import json
import sys
from typing import Any

MACS = {f"02:00:5e:10:00:{number:02x}": f"eth{number}" for number in range(16)}
RENDERERS = ("netplan", "networkd", "eni", "sysconfig")


def main() -> None:
    """Render all of them."""
    states: Any = importlib.import_module("cloudinit.net.network_state")
    # It is for a line of its log alone, and takes four fifths of the time.
    states.NetworkStateInterpreter.dump_network_state = lambda _state: ""
    json.dump([_rendered(document) for document in json.load(sys.stdin)], sys.stdout)


def _rendered(document: dict[str, Any]) -> dict[str, Any]:
    openstack: Any = importlib.import_module("cloudinit.sources.helpers.openstack")
    states: Any = importlib.import_module("cloudinit.net.network_state")
    found: dict[str, Any] = {}
    try:
        config = document if "version" in document else openstack.convert_net_json(document, known_macs=MACS)
        for name in RENDERERS:
            state = states.parse_net_config_data(config)
            found[name] = _FILES[name](importlib.import_module(f"cloudinit.net.{name}").Renderer, state)
    except Exception as error:  # noqa: BLE001 - of any kind: the test shows it
        return {"error": f"{type(error).__name__}: {error}"}
    return found


def _netplan(renderer: Any, state: Any) -> dict[str, str]:  # noqa: ANN401 - cloud-init's own
    return {"50-cloud-init.yaml": renderer({"features": ["none"]})._render_content(state)}


def _networkd(renderer: Any, state: Any) -> dict[str, str]:  # noqa: ANN401
    return dict(renderer({})._render_content(state))


def _eni(renderer: Any, state: Any) -> dict[str, str]:  # noqa: ANN401
    return {"interfaces": renderer({})._render_interfaces(state)}


def _sysconfig(renderer: Any, state: Any) -> dict[str, str]:  # noqa: ANN401
    made = renderer({})
    # As its distribution's configuration has it for RHEL.
    folder = "%(base)s/network-scripts"
    templates = {
        "control": "/etc/sysconfig/network",
        "iface_templates": f"{folder}/ifcfg-%(name)s",
        "route_templates": {"ipv4": f"{folder}/route-%(name)s", "ipv6": f"{folder}/route6-%(name)s"},
    }
    files = renderer._render_sysconfig("/etc/sysconfig", state, "rhel", templates=templates)
    resolv_conf = made._render_dns(state, existing_dns_path=None)
    return {path.rpartition("/")[2]: text for path, text in files.items()} | {"resolv.conf": resolv_conf or ""}


_FILES = {"netplan": _netplan, "networkd": _networkd, "eni": _eni, "sysconfig": _sysconfig}

if __name__ == "__main__":
    main()
