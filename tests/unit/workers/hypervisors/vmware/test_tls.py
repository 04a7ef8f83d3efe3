"""Whom a pinned context trusts, without a network: the fingerprint, the time, and what is no certificate."""

import datetime as dt
import hashlib
import ssl
from collections.abc import Callable

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("pyVmomi")

from workers.hypervisors.vmware.tls import PinnedContext, trusting, validity

NOW = dt.datetime.now(dt.UTC).replace(microsecond=0)
YEAR = dt.timedelta(days=365)
KEY = ec.generate_private_key(ec.SECP256R1())


def certificate(begin: dt.datetime, end: dt.datetime) -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "vc")])
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(KEY.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(end)
        .sign(KEY, hashes.SHA256())
        .public_bytes(serialization.Encoding.DER)
    )


GOOD = certificate(NOW - YEAR, NOW + YEAR)


@given(
    begin=st.datetimes(dt.datetime(1950, 1, 1), dt.datetime(2100, 1, 1), timezones=st.just(dt.UTC)),  # noqa: DTZ001
    length=st.timedeltas(dt.timedelta(seconds=1), 100 * YEAR),
)
def test_the_time_of_a_certificate_is_read_as_cryptography_reads_it(begin: dt.datetime, length: dt.timedelta) -> None:
    begin = begin.replace(microsecond=0)
    end = (begin + length).replace(microsecond=0)
    assert validity(certificate(begin, end)) == (begin, end)


@given(st.binary(max_size=200) | st.integers(min_value=0, max_value=len(GOOD) - 1).map(lambda cut: GOOD[:cut]))
def test_what_is_no_certificate_or_cut_short_is_refused(data: bytes) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        validity(data)


@pytest.mark.parametrize("digest", [hashlib.sha256, hashlib.sha1])
@pytest.mark.parametrize(
    "form", [str.upper, str.lower, lambda text: ":".join(text[at : at + 2] for at in range(0, len(text), 2))]
)
def test_a_fingerprint_is_known_in_every_way_of_writing(
    digest: Callable[[bytes], "hashlib._Hash"], form: Callable[[str], str]
) -> None:
    assert PinnedContext.of(form(digest(GOOD).hexdigest()))._problem(GOOD) is None


PAST, TO_COME = certificate(NOW - 2 * YEAR, NOW - YEAR), certificate(NOW + YEAR, NOW + 2 * YEAR)


@pytest.mark.parametrize(
    ("pinned", "shown", "words"),
    [
        (GOOD, certificate(NOW - YEAR, NOW + YEAR), "fingerprint is not"),
        (GOOD, None, "no certificate"),
        (GOOD, b"", "no certificate"),
        (PAST, PAST, "valid from"),
        (TO_COME, TO_COME, "valid from"),
    ],
)
def test_another_certificate_or_one_of_another_time_is_refused(pinned: bytes, shown: bytes | None, words: str) -> None:
    problem = PinnedContext.of(hashlib.sha256(pinned).hexdigest())._problem(shown)
    assert problem is not None
    assert words in problem


def test_a_context_without_fingerprint_trusts_nobody() -> None:
    context = PinnedContext(ssl.PROTOCOL_TLS_CLIENT)
    assert context._problem(GOOD) is not None


def test_names_and_signatures_are_verified_unless_the_setting_turns_it_off() -> None:
    context = trusting(None, None)
    assert (context.check_hostname, context.verify_mode) == (True, ssl.CERT_REQUIRED)
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    unsafe = trusting(None, None, verify=False)
    assert (unsafe.check_hostname, unsafe.verify_mode) == (False, ssl.CERT_NONE)
