import tomllib
from pathlib import Path
from typing import Any

import pytest

from configdrive.errors import PermanentCode, PermanentError
from configdrive.model import HostName
from tests.support import error_of
from workers.hypervisors.xenserver.inventory import StorageRoute, parse
from workers.hypervisors.xenserver.tls import XapiServer

SSH = {"host": "xs-01", "key_file": "/k", "known_hosts": "/h"}
FINGERPRINT = "ab:" * 31 + "ab"
EXAMPLE = Path(__file__).parents[5] / "deploy" / "inventory.example.toml"


def section(pool: dict[str, object] | None = None, **host: object) -> dict[str, Any]:
    return {
        "pools": {"p": {"password": "secret-swordfish", **(pool or {})}},
        "hosts": {"xs-01": {"pool": "p", "url": "https://xs-01.example", **host}},
    }


def test_a_pool_needs_a_password_and_a_host_its_url() -> None:
    table = parse(section())
    pool, host = table.pools["p"], table.hosts["xs-01"]
    assert (pool.user, pool.storage_route, pool.sessions, pool.folder) == (
        "root",
        StorageRoute.IMPORT,
        4,
        "configdrive",
    )
    assert (host.netloc, host.ssh, host.name_label) == (("xs-01.example", 443), None, None)


def test_the_example_can_be_read() -> None:
    table = parse({**tomllib.loads(EXAMPLE.read_text())["xenserver"], "pools": {"pool-01": {"password": "x"}}})
    assert set(table.hosts) == {"xs-01", "xs-02"}
    example = tomllib.loads(EXAMPLE.read_text())["xenserver"]["pools"]["pool-01"]
    assert parse(section({**example, "password": "x"})).pools["p"].sessions == 4


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({}, "xenserver.pools: Field required"),
        ({"pools": {}, "hosts": {}}, "xenserver.pools: "),
        ({**section(), "hosts": {}}, "xenserver.hosts: "),
        (section({"password": None}), "xenserver.pools.p.password: "),
        (section({"passwort": "x"}), "xenserver.pools.p.passwort: Extra inputs"),
        (section({"sessions": 0}), "xenserver.pools.p.sessions: "),
        (section({"storage_route": "nfs"}), "xenserver.pools.p.storage_route: "),
        (section({"storage_route": "sftp"}), "host xs-01: storage_route 'sftp' needs a table 'ssh'"),
        (section({"folder": "../etc"}), "xenserver.pools.p.folder: "),
        (section({"folder": ""}), "xenserver.pools.p.folder: "),
        (section({"cache_directory": "var/cache"}), "xenserver.pools.p.cache_directory: must be an absolute path"),
        (section({"ca_file": "/a", "verify_tls": False}), "xenserver.pools.p: give one of"),
        (
            section(
                pool=None,
                fingerprint="ab",
            ),
            "xenserver.hosts.xs-01.fingerprint: must be a SHA-256",
        ),
        (section(url="http://xs-01"), "xenserver.hosts.xs-01.url: must be https://"),
        (section(url="https://root:x@xs-01"), "xenserver.hosts.xs-01.url: must be https://"),
        (section(url="https://xs-01/rpc"), "xenserver.hosts.xs-01.url: must be https://"),
        (section(url="https://xs-01:https"), "xenserver.hosts.xs-01.url: is not a URL"),
        (section(url="https://"), "xenserver.hosts.xs-01.url: must be https://"),
        (section(pool_=1), "xenserver.hosts.xs-01.pool_: Extra inputs"),
        (section(ssh={**SSH, "port": 0}), "xenserver.hosts.xs-01.ssh.port: "),
        (section(ssh={"host": "a", "key_file": "/k"}), "xenserver.hosts.xs-01.ssh.known_hosts: Field required"),
        (section(ssh={**SSH, "host": "-oProxyCommand=x"}), "xenserver.hosts.xs-01.ssh.host: "),
    ],
)
def test_a_wrong_field_is_named_with_what_is_wrong(wrong: dict[str, Any], words: str) -> None:
    caught = error_of(parse, wrong)
    assert caught.code is PermanentCode.MISCONFIGURED
    assert words in caught.detail
    assert "swordfish" not in str(caught)


def test_a_host_without_its_pool_is_refused() -> None:
    wrong = section()
    wrong["hosts"]["xs-01"]["pool"] = "q"
    with pytest.raises(PermanentError, match="host xs-01: there is no such pool"):
        parse(wrong)


def test_a_password_does_not_show() -> None:
    assert "swordfish" not in repr(parse(section()))


def test_what_a_host_says_of_tls_goes_before_its_pool() -> None:
    table = parse(section({"ca_file": "/pool.pem"}, fingerprint=f"SHA256:{FINGERPRINT.upper()}"))
    server = XapiServer.of(HostName("xs-01"), table.hosts["xs-01"], table.pools["p"])
    assert (server.ca_file, server.fingerprint) == (None, "ab" * 32)
    table = parse(section({"ca_file": "/pool.pem"}))
    server = XapiServer.of(HostName("xs-01"), table.hosts["xs-01"], table.pools["p"])
    assert (server.ca_file, server.verified, server.known_as) == (Path("/pool.pem"), True, "xs-01.example")


@pytest.mark.parametrize(
    ("url", "written"), [("https://[2001:db8::1]:8443", "https://[2001:db8::1]:8443"), ("https://a/", "https://a:443")]
)
def test_a_url_keeps_its_port_and_brackets(url: str, written: str) -> None:
    table = parse(section(url=url))
    assert XapiServer.of(HostName("xs-01"), table.hosts["xs-01"], table.pools["p"]).url == written
