"""Whom the driver talks to: nobody but the server that the inventory names, for API and files alike."""

from pathlib import Path

import pytest

from configdrive.errors import PermanentCode
from rigs.certificates import Authority, Identity
from rigs.vcsim.server import ADDRESS, PASSWORD
from tests.contract.rig import make_image
from tests.integration.vmware.conftest import MakeDriver, Site
from tests.support import error_of

RIGHT = "the server's"
WRONG = ("expired", "another address", "a stranger's")


@pytest.fixture
def identities(site: Site, tmp_path: Path) -> dict[str, Identity]:
    authority = site.center.authority
    stranger = Authority(tmp_path / "stranger", "rig authority")  # of the same name, with another key
    return {
        RIGHT: site.center.identity,
        "expired": authority.issue("expired", [ADDRESS], expired=True),
        "another address": authority.issue("elsewhere", ["127.0.0.3"]),
        "a stranger's": stranger.issue("server", [ADDRESS]),
    }


@pytest.mark.parametrize(
    ("pinned", "shown"),
    [
        *(("by the authority", wrong) for wrong in WRONG),
        *((RIGHT, wrong) for wrong in WRONG),
        *((wrong, RIGHT) for wrong in WRONG),
        ("expired", "expired"),
        ("by neither", RIGHT),  # only the system's authorities are trusted
    ],
)
def test_a_server_that_is_not_the_trusted_one_is_refused_before_anything_is_said(
    site: Site, make_driver: MakeDriver, identities: dict[str, Identity], pinned: str, shown: str
) -> None:
    """By its authority, or by its fingerprint, which does not help an expired certificate."""
    fingerprint = identities[pinned].fingerprint if pinned in identities else None
    trust = {} if pinned == "by the authority" else {"ca_file": None, "fingerprint": fingerprint}
    site.center.calls()
    with site.center.showing(identities[shown]):
        caught = error_of(make_driver(**trust).observe, site.define())
    assert caught.code is PermanentCode.ACCESS_DENIED
    assert "certificate" in caught.detail
    assert PASSWORD not in str(caught)
    assert site.center.calls() == []
    if pinned not in {"by the authority", RIGHT}:
        return
    # A session that stands does not help: the request for the file is refused as well, on a new connection.
    driver, vm = make_driver(**trust), site.define()
    driver.observe(vm)
    site.center.calls()
    with site.center.showing(identities[shown]), site.center.down():
        pass  # the old connections are gone
    with site.center.showing(identities[shown]):
        assert error_of(driver.upload, vm, make_image(vm), site.shared).code is PermanentCode.ACCESS_DENIED
        assert site.center.calls() == []
    assert site.files(vm) == []


def test_the_right_certificate_is_trusted_by_its_fingerprint(site: Site, make_driver: MakeDriver) -> None:
    driver = make_driver(ca_file=None, fingerprint=site.center.identity.fingerprint)
    vm = site.define()
    driver.upload(vm, make_image(vm), site.shared)
    assert [image.name for image in driver.observe(vm).images] == [make_image(vm).name]


def test_files_pass_with_a_ticket_each(site: Site, make_driver: MakeDriver) -> None:
    driver = make_driver(transfer="ticket")
    vm = site.define()
    image = make_image(vm)
    driver.upload(vm, make_image(vm, 2), site.shared)  # which makes the folder
    site.center.calls()
    driver.upload(vm, image, site.shared)
    calls = site.center.calls()
    files = [one for one in calls if one in {"GET", "HEAD", "PUT"}]
    assert files == ["PUT", "GET"]
    assert calls.count("AcquireGenericServiceTicket") == len(files)
    assert (site.center.datastore("shared") / "configdrive" / str(image.name)).read_bytes() == image.content


def test_a_ticket_is_made_for_a_host_that_has_the_datastore_and_names_no_datacenter_of_the_vcenter(
    site: Site, make_driver: MakeDriver
) -> None:
    """The second host's own disk: the first host would not find it, and neither would find `DC0`."""
    driver, vm = make_driver(transfer="ticket"), site.define(host="h2", datastore="local-2")
    place = driver.observe(vm).storage
    assert place is not None
    driver.upload(vm, make_image(vm), place)
    assert site.files(vm) == [f"local-2/{make_image(vm).name}"]


def test_a_ca_file_that_cannot_be_read_is_reported_at_the_start(make_driver: MakeDriver, tmp_path: Path) -> None:
    assert error_of(make_driver, ca_file=str(tmp_path / "none.pem")).code is PermanentCode.MISCONFIGURED


def test_a_wrong_password_is_refused_and_not_shown(site: Site, make_driver: MakeDriver) -> None:
    caught = error_of(make_driver(password="wrong-one").observe, site.define())
    assert caught.code is PermanentCode.ACCESS_DENIED
    assert "wrong-one" not in str(caught)
