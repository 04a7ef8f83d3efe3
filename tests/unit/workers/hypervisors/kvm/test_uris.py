from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from workers.hypervisors.kvm.uris import names_keys, uri_problem, with_ssh


@pytest.mark.parametrize(
    "uri",
    [
        "qemu:///system",
        "qemu:///session",
        "qemu+unix:///system?socket=/run/libvirt/libvirt-sock",
        "qemu://kvm-01/system",
        "qemu+tls://kvm-01.example:16514/system?pkipath=/etc/pki/x",
        "qemu+tls://kvm-01/system?no_verify=0",
        "qemu+libssh2://root@kvm-01:2222/system",
        "qemu+libssh://root@[fd00::1]/system?known_hosts=/k&keyfile=/i",
        "qemu+tcp://127.0.0.1:16509/system",
        "qemu+tcp://[::1]/system",
        "qemu+tcp://localhost/system",
    ],
)
def test_a_local_or_verified_link_is_allowed(uri: str) -> None:
    assert uri_problem(uri) is None


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("qemu+ssh://root@kvm-01/system", "qemu+libssh2"),
        ("qemu+tls://kvm-01/system?no_verify=1", "no_verify=1 is refused"),
        ("qemu+libssh2://kvm-01/system?no_verify=1", "known_hosts"),
        ("qemu+tls://kvm-01/system?no_sanity=1", "no_sanity"),
        ("qemu+libssh2://kvm-01/system?known_hosts_verify=auto", "normal"),
        ("qemu+libssh2://kvm-01/system?known_hosts_verify=ignore", "normal"),
        ("qemu+libssh2://kvm-01/system?sshauth=password", "privkey"),
        ("qemu+libssh2:///system", "no host"),
        ("qemu+tcp://kvm-01/system", "qemu+tls"),
        ("qemu+tcp://10.0.0.1/system", "loopback"),
        ("qemu+tcp:///system", "loopback"),
        ("qemu+ext:///system?command=nc", "must begin with"),
        ("xen:///system", "must begin with"),
        ("test:///default", "must begin with"),
        ("", "must begin with"),
        ("qemu:///", "/system"),
        ("qemu+tls://root:secret@kvm-01/system", "password"),
        ("qemu+tls://kvm-01:port/system", "not a URI"),
        ("qemu+tls://[kvm/system", "not a URI"),
    ],
)
def test_any_other_is_refused_with_what_to_write_instead(uri: str, words: str) -> None:
    problem = uri_problem(uri)
    assert problem is not None
    assert words in problem
    assert "secret" not in problem


def test_ssh_gets_the_table_s_key_and_the_strict_check() -> None:
    uri = with_ssh("qemu+libssh2://root@kvm-01:2222/system?proxy=native", Path("/a b/key"), Path("/known&hosts"))
    parts = urlsplit(uri)
    assert (parts.scheme, parts.netloc, parts.path) == ("qemu+libssh2", "root@kvm-01:2222", "/system")
    assert parse_qs(parts.query) == {
        "known_hosts_verify": ["normal"],
        "sshauth": ["privkey"],
        "keyfile": ["/a b/key"],
        "known_hosts": ["/known&hosts"],
        "proxy": ["native"],
    }
    assert "%20" in uri  # libvirt takes a plus sign literally
    assert uri_problem(uri) is None


def test_what_the_uri_says_itself_stays() -> None:
    uri = with_ssh("qemu+libssh2://kvm-01/system?keyfile=/mine&known_hosts=/k", Path("/table"), Path("/t"))
    assert parse_qs(urlsplit(uri).query)["keyfile"] == ["/mine"]
    assert names_keys("qemu+libssh2://kvm-01/system?keyfile=/mine&known_hosts=/k")
    assert not names_keys("qemu+libssh2://kvm-01/system?keyfile=/mine")
