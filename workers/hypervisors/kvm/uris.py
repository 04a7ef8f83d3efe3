"""The libvirt URIs that are allowed, and why others are not: a link is local, or encrypted to a verified peer."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

if TYPE_CHECKING:
    from pathlib import Path

_SSH: Final = frozenset({"qemu+libssh2", "qemu+libssh"})
_ALLOWED: Final = frozenset({"qemu", "qemu+unix", "qemu+tls", "qemu+tcp", *_SSH})
_UNVERIFIED: Final = {
    "no_verify": "is refused: the peer must be verified; give the CA certificate (TLS) or known_hosts (ssh)",
    "no_sanity": "is refused: the certificates must be sane",
}
_PLAIN: Final = (
    "qemu+tcp is neither encrypted nor verified, and allowed to a loopback address only; write qemu+tls:// instead"
)


def uri_problem(uri: str) -> str | None:
    """Say what is wrong with a URI and what to write instead; `None` when it may be used."""
    try:
        parts = urlsplit(uri)
        host = parts.hostname
        _ = parts.port
    except ValueError:
        return "is not a URI; an example: qemu+libssh2://root@kvm-01/system"
    scheme = parts.scheme
    for wrong, problem in (
        (scheme == "qemu+ssh", "qemu+ssh ignores known_hosts; write qemu+libssh2:// instead, with the table 'ssh'"),
        (scheme not in _ALLOWED, f"must begin with one of: {', '.join(f'{one}://' for one in sorted(_ALLOWED))}"),
        (parts.path not in {"/system", "/session"}, "must end in /system (or /session)"),
        (parts.password is not None, "must hold no password"),
        (scheme == "qemu+tcp" and not _is_loopback(host), _PLAIN),
        (scheme in _SSH and host is None, "names no host"),
    ):
        if wrong:
            return problem
    return _query_problem(scheme, parts.query)


def _query_problem(scheme: str, query: str) -> str | None:
    for key, value in parse_qsl(query, keep_blank_values=True):
        if key in _UNVERIFIED and value != "0":
            return f"{key}={value} {_UNVERIFIED[key]}"
        if scheme in _SSH and key == "known_hosts_verify" and value != "normal":
            return "known_hosts_verify must be 'normal': an unknown host key is refused"
        if scheme in _SSH and key == "sshauth" and value != "privkey":
            return "sshauth must be 'privkey'; nobody is there to type a password"
    return None


def _is_loopback(host: str | None) -> bool:
    if host == "localhost":
        return True
    try:
        return host is not None and ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_ssh(uri: str) -> bool:
    """Say whether libvirt reaches the host by SSH."""
    return urlsplit(uri).scheme in _SSH


def is_plain_tcp(uri: str) -> bool:
    """Say whether the link is neither encrypted nor verified."""
    return urlsplit(uri).scheme == "qemu+tcp"


def names_keys(uri: str) -> bool:
    """Say whether the URI itself names the key and the known host keys."""
    return {"keyfile", "known_hosts"} <= dict(parse_qsl(urlsplit(uri).query)).keys()


def with_ssh(uri: str, key_file: Path | None = None, known_hosts: Path | None = None) -> str:
    """Add the key, and the check that refuses a host key which `known_hosts` does not name; the URI's own stay."""
    parts = urlsplit(uri)
    query = {"known_hosts_verify": "normal", "sshauth": "privkey"}
    if key_file is not None and known_hosts is not None:
        query |= {"keyfile": str(key_file), "known_hosts": str(known_hosts)}
    query |= dict(parse_qsl(parts.query))
    return urlunsplit(parts._replace(query=urlencode(query, quote_via=quote, safe="/")))
