"""Boxes for secrets: opened by whom they are for, where they are for, and nowhere else."""

import base64
import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.public import PrivateKey

from configdrive.client.public_key import PublicSealer
from configdrive.contract.sealing import key_of
from configdrive.errors import FleetError, PermanentCode, PermanentError
from configdrive.model import Generation, HostName, HypervisorName, ImageName, InstanceName, Vm, VmUuid
from configdrive.ports import Sealer
from tests.support import error_of
from workers.config.key_ring import ImageNames, KeyRing
from workers.config.keys import Key

OLD, NEW, STRANGER = Key.generate(), Key.generate(), Key.generate()
CONTEXT = "3a9c10f9-5d53-4d3d-9f3a-0a7d1c2b3e4f/event-1"
SECRET = b"swordfish"
HOST = HostName("host-1")


@dataclass
class KeyFile:
    """A key file that is read now and then."""

    keys: Sequence[Key] = (OLD,)
    reads: int = 0
    fails: bool = field(default=False)

    def read(self) -> Sequence[Key]:
        self.reads += 1
        if self.fails:
            raise PermanentError(PermanentCode.MISCONFIGURED, "the key file cannot be read")
        return self.keys


@pytest.fixture
def file() -> KeyFile:
    return KeyFile()


@pytest.fixture
def ring(file: KeyFile) -> KeyRing:
    return KeyRing(file.read)


def unsealable(sealer: Sealer, sealed: str, context: str = CONTEXT) -> FleetError:
    caught = error_of(sealer.open, sealed, context)
    error = caught
    assert error.code is PermanentCode.UNSEALABLE
    assert error.remedy
    assert error.__context__ is None
    assert "swordfish" not in f"{error!r} {error.args}"
    return error


@given(st.binary(max_size=200), st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n"), max_size=60))
def test_what_is_sealed_is_opened_under_the_same_context(plaintext: bytes, context: str) -> None:
    ring = KeyRing(lambda: [OLD])
    sealed = ring.seal(plaintext, context)
    assert ring.open(sealed, context) == plaintext
    assert sealed.isascii()
    assert sealed.isprintable()
    assert len(plaintext) < 6 or plaintext not in sealed.encode()


def test_a_sealed_box_begins_with_its_version_and_the_key_it_is_for(ring: KeyRing) -> None:
    sealed = ring.seal(SECRET, CONTEXT)
    assert sealed.startswith(f"v1.{OLD.identity}.")
    assert key_of(sealed) == OLD.identity
    assert key_of("nothing sealed") == key_of("v1.x.y") == ""


def test_the_same_secret_makes_another_sealed_box_each_time(ring: KeyRing) -> None:
    assert ring.seal(SECRET, CONTEXT) != ring.seal(SECRET, CONTEXT)


@pytest.mark.parametrize(
    "context",
    [
        "0b7e21aa-1c2d-4e3f-8a9b-5c6d7e8f9a0b/event-1",
        "3a9c10f9-5d53-4d3d-9f3a-0a7d1c2b3e4f/event-2",
        "3a9c10f9-5d53-4d3d-9f3a-0a7d1c2b3e4f",
        f"{CONTEXT}\n",
        "",
    ],
)
def test_a_sealed_box_is_refused_for_another_vm_or_event(ring: KeyRing, context: str) -> None:
    assert "another VM or event" in unsealable(ring, ring.seal(SECRET, CONTEXT), context).detail


def test_a_context_cannot_be_forged_by_what_is_in_the_sealed_box(ring: KeyRing) -> None:
    forged = ring.seal(b"event-1\nswordfish", "3a9c10f9")
    unsealable(ring, forged, "3a9c10f9\nevent-1")


def flipped(sealed: str, position: int) -> str:
    head, _, text = sealed.rpartition(".")
    changed = bytearray(base64.urlsafe_b64decode(text))
    changed[position] ^= 1
    return f"{head}.{base64.urlsafe_b64encode(changed).decode()}"


@given(st.data())
def test_a_sealed_box_with_any_bit_changed_is_refused(data: st.DataObject) -> None:
    ring = KeyRing(lambda: [OLD])
    sealed = ring.seal(SECRET, CONTEXT)
    size = len(base64.urlsafe_b64decode(sealed.rpartition(".")[2]))
    unsealable(ring, flipped(sealed, data.draw(st.integers(0, size - 1))))


@given(st.integers(0, 60))
def test_a_sealed_box_that_was_cut_off_is_refused(kept: int) -> None:
    ring = KeyRing(lambda: [OLD])
    sealed = ring.seal(SECRET, CONTEXT)
    unsealable(ring, sealed[: len(sealed) - 1 - kept])


@pytest.mark.parametrize(
    "sealed",
    [
        "",
        "v1",
        "swordfish",
        "v1.swordfishswordfi.AAAA",
        f"v2.{OLD.identity}.AAAA",
        f"v1.{OLD.identity}",
        f"v1.{OLD.identity}.",
        f"v1.{OLD.identity}.AAAA",
        f"v1.{OLD.identity}.A",
        f"v1.{OLD.identity}.not base64!",
        f"v1.{OLD.identity}.größe",
        f"v1.{OLD.identity.upper()}x.AAAA",
        f"v1.{OLD.identity}.AAAA.AAAA",
        f"v1.{OLD.identity}.AAAA\n",
        f"v1..{OLD.identity}",
    ],
    ids=map("form {}".format, range(15)),  # a key has another name in each process
)
def test_what_is_no_sealed_box_is_refused(ring: KeyRing, sealed: str) -> None:
    unsealable(ring, sealed)


def test_a_sealed_box_is_taken_only_as_it_was_written(ring: KeyRing) -> None:
    """Python's decoder would skip what is no base64."""
    sealed = ring.seal(SECRET, CONTEXT)
    unsealable(ring, f"{sealed[:-20]}!{sealed[-20:]}")
    unsealable(ring, f"{sealed[:-20]} {sealed[-20:]}")


# --- keys -------------------------------------------------------------------------------------------------------------


def test_a_sealed_box_for_a_stranger_is_refused_with_the_key_s_name(ring: KeyRing) -> None:
    sealed = PublicSealer(STRANGER.private.public_key).seal(SECRET, CONTEXT)
    assert STRANGER.identity in unsealable(ring, sealed).detail


def test_a_publisher_seals_what_it_cannot_open(ring: KeyRing) -> None:
    publisher = PublicSealer(OLD.private.public_key)
    sealed = publisher.seal(SECRET, CONTEXT)
    assert ring.open(sealed, CONTEXT) == SECRET
    assert "public key" in unsealable(publisher, sealed).detail


def test_a_new_key_is_found_without_a_restart(file: KeyFile, ring: KeyRing) -> None:
    file.keys = (OLD, NEW)
    assert file.reads == 1
    sealed = PublicSealer(NEW.private.public_key).seal(SECRET, CONTEXT)
    assert ring.open(sealed, CONTEXT) == SECRET
    assert file.reads == 2
    assert key_of(ring.seal(SECRET, CONTEXT)) == NEW.identity, "it seals with the newest"


def test_what_old_keys_sealed_is_opened_as_long_as_their_key_is_there(file: KeyFile, ring: KeyRing) -> None:
    sealed = ring.seal(SECRET, CONTEXT)
    file.keys = (OLD, NEW)
    renewed = KeyRing(file.read)
    assert renewed.open(sealed, CONTEXT) == SECRET
    file.keys = (NEW,)
    assert OLD.identity in unsealable(KeyRing(file.read), sealed).detail


def test_the_file_is_read_again_only_for_an_unknown_key(file: KeyFile, ring: KeyRing) -> None:
    sealed = ring.seal(SECRET, CONTEXT)
    for _ in range(5):
        ring.open(sealed, CONTEXT)
        unsealable(ring, sealed, "another")
        unsealable(ring, "swordfish")
    assert file.reads == 1


def test_a_key_file_that_cannot_be_read_again_is_reported(file: KeyFile, ring: KeyRing) -> None:
    file.fails = True
    assert (
        error_of(ring.open, PublicSealer(NEW.private.public_key).seal(SECRET, CONTEXT), CONTEXT).code
        is PermanentCode.MISCONFIGURED
    )
    assert ring.open(ring.seal(SECRET, CONTEXT), CONTEXT) == SECRET, "what it has, it keeps"


def test_no_key_shows_in_the_repr_of_a_sealer(ring: KeyRing) -> None:
    for shown in (repr(ring), repr(PublicSealer(OLD.private.public_key))):
        assert bytes(OLD.private).hex() not in shown
        assert repr(bytes(OLD.private)) not in shown


def test_an_image_s_name_is_keyed_and_known_by_every_key(file: KeyFile) -> None:
    vm = Vm(VmUuid("3a9c10f9-5d53-4d3d-9f3a-0a7d1c2b3e4f"), InstanceName("Web 01 (prod)"), HypervisorName("kvm"), HOST)
    names = ImageNames(file.read, lambda: "abcdefgh")
    content, other = sha256(b"image").hexdigest(), sha256(b"another").hexdigest()
    name = names.name(vm, Generation(7), content)
    assert str(name) == f"web-01-prod.{vm.uuid}.7.{name.fingerprint}-abcdefgh.iso"
    assert (name.fleet, name) == ("abcdefgh", ImageName.parse(name.file))
    assert names.name(vm, Generation(7), other).fingerprint != name.fingerprint
    file.keys = (OLD, NEW)
    assert names.name(vm, Generation(7), content).fingerprint != name.fingerprint, "the newest key names"
    assert names.is_genuine(name, content)
    assert not names.is_genuine(name, other)
    assert not names.is_genuine(ImageName.of("i", vm.uuid, Generation(7)), content), "a name of the first form"
    file.keys = (STRANGER,)
    assert not names.is_genuine(name, content)


@pytest.mark.parametrize(("called", "slug"), [("A" * 200, "a" * 32), ("日本", "vm"), ("../../'x' (1)", "x-1")])
def test_an_image_s_name_is_short_and_plain_whatever_its_vm_is_called(called: str, slug: str) -> None:
    vm = Vm(VmUuid("3a9c10f9-5d53-4d3d-9f3a-0a7d1c2b3e4f"), InstanceName(called), HypervisorName("kvm"), HOST)
    names = ImageNames(lambda: (OLD,), lambda: "abcdefgh")
    name = names.name(vm, Generation(2**53 - 1), sha256(b"image").hexdigest())
    assert (name.instance_name, len(str(name))) == (slug, 84 + len(slug))
    assert re.fullmatch(r"[a-z0-9.-]{1,116}", str(name))
    assert ImageName.parse(name.file) == name


def test_the_fingerprint_is_derived_as_rfc_5869_says() -> None:
    """HKDF-SHA-256 of the private key, as another implementation computes it; then HMAC of the image's digest."""
    key = Key("", "", PrivateKey(bytes(range(32))))
    vm = Vm(VmUuid("3a9c10f9-5d53-4d3d-9f3a-0a7d1c2b3e4f"), InstanceName("i"), HypervisorName("kvm"), HOST)
    name = ImageNames(lambda: (key,), lambda: "abcdefgh").name(vm, Generation(1), sha256(b"image").hexdigest())
    extracted = hmac.new(bytes(32), bytes(range(32)), "sha256").digest()
    derived = hmac.new(extracted, b"configdrive/image-name/1\x01", "sha256").digest()
    digest = hmac.new(derived, sha256(b"image").digest(), "sha256").digest()
    assert name.fingerprint == base64.b32encode(digest[:10]).decode().lower()
