"""A private certificate authority, with one server's and one client's certificate, laid out as libvirt reads them."""

from __future__ import annotations

import datetime as dt
import ipaddress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from rigs.process import LOOPBACK

if TYPE_CHECKING:
    from pathlib import Path

_VALID = dt.timedelta(days=30)


@dataclass(frozen=True, slots=True)
class Certificates:
    """PEM files below one directory, which is what libvirt's clients call their `pkipath`.

    Attributes:
        directory: holds `cacert.pem`, `clientcert.pem`, `clientkey.pem`, `servercert.pem`, `serverkey.pem`.
    """

    directory: Path

    @classmethod
    def make(cls, directory: Path, hostname: str) -> Certificates:
        """Make a new authority and a server's and a client's certificate; it signs nothing else afterwards.

        Args:
            directory: is made if missing.
            hostname: the server's name; the loopback address is in its certificate too.
        """
        directory.mkdir(parents=True, exist_ok=True)
        authority_key = ec.generate_private_key(ec.SECP256R1())
        authority = _build("rig authority", authority_key, issuer=None, signer=authority_key)
        _write(directory / "cacert.pem", authority)
        for role, name, usage in (
            ("server", hostname, ExtendedKeyUsageOID.SERVER_AUTH),
            ("client", "rig client", ExtendedKeyUsageOID.CLIENT_AUTH),
        ):
            key = ec.generate_private_key(ec.SECP256R1())
            certificate = _build(name, key, issuer=authority.subject, signer=authority_key, usage=usage)
            _write(directory / f"{role}cert.pem", certificate)
            _write(directory / f"{role}key.pem", key)
        return cls(directory)


def _build(
    name: str,
    key: ec.EllipticCurvePrivateKey,
    *,
    issuer: x509.Name | None,
    signer: ec.EllipticCurvePrivateKey,
    usage: x509.ObjectIdentifier | None = None,
) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    authority = usage is None
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer or subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + _VALID)
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .add_extension(_key_usage(authority=authority), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
    )
    if usage is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
    if usage == ExtendedKeyUsageOID.SERVER_AUTH:
        names = [x509.DNSName(name), x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address(LOOPBACK))]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(signer, hashes.SHA256())


def _key_usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        key_cert_sign=authority,
        crl_sign=authority,
        content_commitment=False,
        key_encipherment=not authority,  # libvirt asks for it, whatever the key,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _write(path: Path, item: x509.Certificate | ec.EllipticCurvePrivateKey) -> None:
    if isinstance(item, x509.Certificate):
        path.write_bytes(item.public_bytes(serialization.Encoding.PEM))
        return
    path.touch(mode=0o600)
    path.write_bytes(
        item.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
