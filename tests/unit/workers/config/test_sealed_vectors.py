"""The published test vectors for sealed boxes (examples/sealed-vectors.json), opened by the workers' own code."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from nacl.public import PrivateKey

from configdrive.client.public_key import identity_of
from configdrive.contract.guest_data import GuestData
from configdrive.errors import PermanentCode
from tests.support import error_of
from workers.config.key_ring import KeyRing
from workers.config.keys import Key, public_text

VECTORS: dict[str, Any] = json.loads((Path(__file__).parents[4] / "examples/sealed-vectors.json").read_text("utf-8"))
PRIVATE = PrivateKey(base64.b64decode(VECTORS["private_key"]))
KEY = Key(identity_of(PRIVATE.public_key), "2026-01-01T00:00:00+00:00", PRIVATE)


def test_the_keys_belong_together() -> None:
    assert (public_text(KEY), KEY.identity) == (VECTORS["public_key"], VECTORS["key_id"])


@pytest.mark.parametrize("vector", VECTORS["opens"], ids=lambda vector: vector["sealed"][-8:])
def test_each_sealed_box_opens_and_holds_guest_data(vector: dict[str, str]) -> None:
    guest = KeyRing(lambda: [KEY]).open(vector["sealed"], f"{vector['vm']}/{vector['event']}")
    assert guest.decode() == vector["guest"]
    GuestData.model_validate_json(guest)


@pytest.mark.parametrize("vector", VECTORS["refused"], ids=lambda vector: vector["why"])
def test_each_other_sealed_box_is_refused(vector: dict[str, str]) -> None:
    assert (
        error_of(KeyRing(lambda: [KEY]).open, vector["sealed"], f"{vector['vm']}/{vector['event']}").code
        is PermanentCode.UNSEALABLE
    )
