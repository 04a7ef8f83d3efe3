"""A private certificate authority for rigs, and what it signs; also laid out as libvirt reads its certificates."""

import datetime as dt
import hashlib
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from rigs.process import LOOPBACK

_DAY: Final = dt.timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Identity:
    """A certificate with its key, as PEM files."""

    certificate: Path
    key: Path

    @property
    def fingerprint(self) -> str:
        """The SHA-256 of the certificate, as `openssl x509 -fingerprint -sha256` writes it."""
        certificate = x509.load_pem_x509_certificate(self.certificate.read_bytes())
        digest = hashlib.sha256(certificate.public_bytes(serialization.Encoding.DER)).hexdigest().upper()
        return ":".join(digest[at : at + 2] for at in range(0, len(digest), 2))


class Authority:
    """A certificate authority in a directory.

    Args:
        directory: is made if missing.
        name: the authority's.
        file_name: of its own certificate.

    Attributes:
        file: its own certificate, which clients are to trust.
    """

    def __init__(self, directory: Path, name: str = "rig authority", file_name: str = "ca.pem") -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _named(name)
        self.file = directory / file_name
        end = dt.datetime.now(dt.UTC) + 30 * _DAY
        _write(self.file, self._sign(self._name, self._key, end, usage=None))

    def issue(
        self,
        name: str,
        names: Sequence[str] = (),
        *,
        files: tuple[str, str] | None = None,
        client: bool = False,
        expired: bool = False,
    ) -> Identity:
        """Make a certificate.

        Args:
            name: the subject's.
            names: addresses and host names that a server's certificate is for.
            files: of the certificate and its key; named after the subject when left out.
            client: whether it is a client's.
            expired: whether its time was over a day ago.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        end = dt.datetime.now(dt.UTC) + (-_DAY if expired else 30 * _DAY)
        usage = ExtendedKeyUsageOID.CLIENT_AUTH if client else ExtendedKeyUsageOID.SERVER_AUTH
        certificate = self._sign(_named(name), key, end, usage=usage, names=names)
        own, its_key = files or (f"{name}.pem", f"{name}.key")
        identity = Identity(self._directory / own, self._directory / its_key)
        _write(identity.certificate, certificate)
        _write(identity.key, key)
        return identity

    def _sign(
        self,
        subject: x509.Name,
        key: ec.EllipticCurvePrivateKey,
        end: dt.datetime,
        *,
        usage: x509.ObjectIdentifier | None,
        names: Sequence[str] = (),
    ) -> x509.Certificate:
        signs = usage is None
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(end - (430 if signs else 60) * _DAY)
            .not_valid_after(end)
            .add_extension(x509.BasicConstraints(ca=signs, path_length=None), critical=True)
            .add_extension(_key_usage(signs=signs), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
        )
        if usage is not None:
            builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        if names:
            shown = x509.SubjectAlternativeName([_general_name(name) for name in names])
            builder = builder.add_extension(shown, critical=False)
        return builder.sign(self._key, hashes.SHA256())


@dataclass(frozen=True, slots=True)
class Certificates:
    """PEM files below one directory, which is what libvirt's clients call their `pkipath`.

    Attributes:
        directory: holds `cacert.pem`, `clientcert.pem`, `clientkey.pem`, `servercert.pem`, `serverkey.pem`.
    """

    directory: Path

    @classmethod
    def make(cls, directory: Path, hostname: str) -> "Certificates":
        """Make a new authority and a server's and a client's certificate; it signs nothing else afterwards.

        Args:
            directory: is made if missing.
            hostname: the server's name; the loopback address is in its certificate too.
        """
        authority = Authority(directory, file_name="cacert.pem")
        authority.issue(hostname, (hostname, "localhost", LOOPBACK), files=("servercert.pem", "serverkey.pem"))
        authority.issue("rig client", files=("clientcert.pem", "clientkey.pem"), client=True)
        return cls(directory)


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _general_name(name: str) -> x509.GeneralName:
    """Return an address as certificates have it, or a host name."""
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _key_usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs,
        key_cert_sign=signs,
        crl_sign=signs,
        content_commitment=False,
        key_encipherment=not signs,  # libvirt asks for it, whatever the key
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
