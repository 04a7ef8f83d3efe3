"""CloudStack's API over HTTPS, as much as the adapter asks of it: signed calls, its answers, its errors.

Signatures are checked as CloudStack's own documentation computes them ("How to sign an API call with Python"), by other
means than ours.
"""

import base64
import json
import ssl
import threading
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote_plus

from cryptography.hazmat.primitives import hashes, hmac
from typing_extensions import override

from rigs.certificates import Certificates
from rigs.process import LOOPBACK, Rig

API_KEY = "plgWJfZK4gyS3mOMTVmjUVg-X-jlWlnfaUJ9GAbBbf9EdM-kAYMmAiLqzzq1ElZLYq_u38zCm0bewzGUdP66mg"
SECRET_KEY = "VDaACYb0LV9eNjTetIOElcVQkvJck_J_QljX_FcHRj87ZKiy0z0ty0ZsYBkoXkY9b7eq1EhwJaw7FF3akA3KBQ"
NETWORK = "95b8b9cf-fd93-4601-b037-915b2bf5d5a2"
ZONE = "9f5c2d2a-05ac-476d-b274-f58cc211b007"


def expected_signature(parameters: dict[str, str]) -> str:
    """Compute a signature as CloudStack's documentation does."""
    pairs = (
        "=".join([name.lower(), quote_plus(parameters[name]).lower().replace("+", "%20").replace("~", "%7e")])
        for name in sorted(parameters, key=str.lower)
    )
    digest = hmac.HMAC(SECRET_KEY.encode(), hashes.SHA1())  # noqa: S303 - CloudStack's choice
    digest.update("&".join(pairs).encode())
    return base64.b64encode(digest.finalize()).decode().strip()


class CloudStack(Rig):
    """One management server.

    Args:
        certificates: of the server.
    """

    def __init__(self, certificates: Certificates) -> None:
        self._certificates = certificates
        self.vms: dict[str, dict[str, Any]] = {}
        self.user_data: dict[str, str] = {}
        self.jobs: dict[str, dict[str, Any]] = {}
        self.networks: dict[str, dict[str, Any]] = {NETWORK: network()}
        self.zones: dict[str, dict[str, Any]] = {ZONE: {"id": ZONE, "name": "Zone 1", "dns1": "192.0.2.53"}}
        self.storages: dict[str, str] = {}
        """Of the root disks, by their VMs."""
        self.of_projects: set[str] = set()
        """VMs that are only shown to who asks for those of all projects."""
        self.allowed: frozenset[str] | None = None
        """The calls that the role of the keys allows; `None`: all."""
        self.status: int | None = None
        """Answer everything with this HTTP status."""
        self.well = threading.Event()
        """Without it, nothing is answered."""
        self.well.set()
        self.calls: list[dict[str, str]] = []
        self._server: ThreadingHTTPServer | None = None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """The API's address."""
        assert self._server is not None
        return f"https://{LOOPBACK}:{self._server.server_address[1]}/client/api"

    @property
    def ca_file(self) -> Path:
        """Who has signed its certificate."""
        return self._certificates.directory / "cacert.pem"

    def environment(self, directory: Path) -> dict[str, str]:
        """Return the settings of an adapter for it, with a key file in `directory`."""
        keys = directory / "cloudstack.keys"
        keys.write_text(f"{API_KEY}\n{SECRET_KEY}\n")
        keys.chmod(0o600)
        names = {"URL": self.url, "KEY_FILE": str(keys), "CA_FILE": str(self.ca_file)}
        return {f"CONFIGDRIVE_CLOUDSTACK__{name}": value for name, value in names.items()}

    @override
    def start(self) -> None:
        """Start it, on the port that it had before, if any."""
        port = self._server.server_address[1] if self._server else 0
        cloudstack = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                form = self.rfile.read(int(self.headers["Content-Length"])).decode()
                status, answer = cloudstack.answer(dict(parse_qsl(form, keep_blank_values=True)))
                body = json.dumps(answer).encode()
                self.send_response(status)
                if status == 302:
                    self.send_header("Location", cloudstack.url)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            @override
            def log_message(self, *_arguments: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            @override
            def handle_error(self, *_arguments: object) -> None:
                """A client that hangs up early is no error of ours."""

        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        pki = self._certificates.directory
        context.load_cert_chain(pki / "servercert.pem", pki / "serverkey.pem")
        self._server = Server((LOOPBACK, int(port)), Handler)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()

    @override
    def stop(self) -> None:
        """Stop listening."""
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()
            self._thread = None

    def forget_faults(self) -> None:
        """Be well again, and forget who has asked."""
        self.status = None
        self.allowed = None
        self.well.set()
        self.calls.clear()
        if self._thread is None:
            self.start()

    def answer(self, form: dict[str, str]) -> tuple[int, dict[str, Any]]:
        """Answer one call."""
        self.well.wait()
        self.calls.append(form)
        if self.status is not None:
            return self.status, {}
        given = form.pop("signature", "")
        fresh = form.get("expires", "") > datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S+0000")
        if form.get("apiKey") != API_KEY or given != expected_signature(form) or not fresh:
            return 401, {"errorresponse": {"errorcode": 401, "errortext": "unable to verify user credentials"}}
        command = form["command"]
        if self.allowed is not None and command not in self.allowed:
            return 432, {"errorresponse": {"errorcode": 432, "errortext": "the API is not available for the account"}}
        found = self._found(command, form)
        if found is None:
            return 431, {f"{command.lower()}response": {"errorcode": 431, "errortext": "entity does not exist"}}
        return 200, {f"{command.lower()}response": found}

    def _found(self, command: str, form: dict[str, str]) -> dict[str, Any] | None:
        wanted = form.get("id", "")
        found: dict[str, Any] | None = None
        match command:
            case "listCapabilities":
                found = {"capability": {"cloudstackversion": "4.20.1.0"}}
            case "listVirtualMachines" if wanted in self.of_projects and form.get("projectid") != "-1":
                found = {}
            case "listVirtualMachines":
                found = _listed("virtualmachine", self.vms, wanted)
            case "listNetworks":
                found = _listed("network", self.networks, wanted)
            case "listZones":
                found = _listed("zone", self.zones, wanted)
            case "listVolumes":
                pool = self.storages.get(form.get("virtualmachineid", ""))
                found = {} if pool is None else {"count": 1, "volume": [{"type": "ROOT", "storageid": pool}]}
            case "getVirtualMachineUserData":
                uuid = form["virtualmachineid"]
                data = {"userdata": self.user_data[uuid]} if uuid in self.user_data else {}
                found = {"virtualmachineuserdata": {"virtualmachineid": uuid, **data}}
            case "queryAsyncJobResult":
                found = self.jobs.get(form["jobid"])
            case _:
                pass
        return found


def network(**fields: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    """Return a network as `listNetworks` shows it."""
    return {
        "id": NETWORK,
        "name": "web",
        "service": [
            {"name": "UserData", "provider": [{"name": "ConfigDrive"}]},
            {
                "name": "Dhcp",
                "provider": [{"name": "VirtualRouter"}],
                "capability": [{"name": "DhcpAccrossMultipleSubnets"}],
            },
        ],
        **fields,
    }


def machine(uuid: str, **fields: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    """Return a VM as `listVirtualMachines` shows it to a root admin."""
    return {
        "id": uuid,
        "name": "web-1",
        "displayname": "The web server",
        "state": "Running",
        "zoneid": ZONE,
        "zonename": "Zone 1",
        "hostid": "0e5a2c7e-5f0f-4e4f-8a51-2a6b6f1d2c3b",
        "hostname": "h1",
        "instancename": f"i-2-{uuid[:4]}-VM",
        "hypervisor": "Simulator",
        "serviceofferingname": "Small Instance",
        "passwordenabled": True,
        "keypairs": "mine",
        "details": {
            "SSH.PublicKey": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPbDOqbxebWnKOpUdNN61e9EwJgMsveZLdVrDMKJDAw9 me"
        },
        "nic": [
            {
                "id": "674aeb81-c153-4b39-b462-85d47c304efc",
                "networkid": NETWORK,
                "networkname": "web",
                "netmask": "255.255.255.0",
                "gateway": "10.1.1.1",
                "ipaddress": "10.1.1.19",
                "isdefault": True,
                "macaddress": "02:00:0f:71:00:01",
            }
        ],
        **fields,
    }


def _listed(name: str, known: dict[str, dict[str, Any]], wanted: str) -> dict[str, Any] | None:
    if not wanted:
        return {"count": len(known), name: list(known.values())}
    return {"count": 1, name: [known[wanted]]} if wanted in known else None
