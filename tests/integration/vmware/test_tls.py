"""Whom the driver talks to: nobody but the server that the inventory names, for API and files alike."""

from __future__ import annotations

from pathlib import Path

import pytest

from configdrive.errors import PermanentCode
from rigs.certificates import Authority, Identity
from rigs.vcsim.server import ADDRESS, PASSWORD
from tests.contract.rig import make_image
from tests.integration.vmware.conftest import MakeDriver, Site
from tests.support import error_of
from workers.hypervisors.vmware.driver import VmwareDriver


@pytest.fixture
def identities(site: Site, tmp_path: Path) -> dict[str, Identity]:
    authority = site.center.authority
    stranger = Authority(tmp_path / "stranger", "rig authority")  # of the same name, with another key
    return {
        "expired": authority.issue("expired", [ADDRESS], expired=True),
        "another address": authority.issue("elsewhere", ["127.0.0.3"]),
        "a stranger's": stranger.issue("server", [ADDRESS]),
    }


def require_refused(site: Site, driver: VmwareDriver, what: str) -> None:
    """The first contact, with the API, is refused before anything is said."""
    caught = error_of(driver.observe, site.define())
    assert caught.code is PermanentCode.ACCESS_DENIED, what
    assert "certificate" in caught.detail, what
    assert PASSWORD not in str(caught)
    assert site.center.calls() == [], what


def require_upload_refused(site: Site, driver: VmwareDriver, identity: Identity, what: str) -> None:
    """A session that stands does not help: the request for the file is refused as well, on a new connection."""
    vm = site.define()
    driver.observe(vm)
    site.center.calls()
    with site.center.showing(identity), site.center.down():
        pass  # the old connections are gone
    with site.center.showing(identity):
        assert error_of(driver.upload, vm, make_image(vm), site.shared).code is PermanentCode.ACCESS_DENIED, what
        assert site.center.calls() == [], what
    assert site.files(vm) == []


@pytest.mark.parametrize("what", ["expired", "another address", "a stranger's"])
def test_a_wrong_certificate_is_refused(
    site: Site, make_driver: MakeDriver, identities: dict[str, Identity], what: str
) -> None:
    site.center.calls()
    with site.center.showing(identities[what]):
        require_refused(site, make_driver(), what)
    require_upload_refused(site, make_driver(), identities[what], what)


def test_the_right_certificate_is_trusted_by_its_fingerprint(site: Site, make_driver: MakeDriver) -> None:
    driver = make_driver(ca_file=None, fingerprint=site.center.identity.fingerprint)
    vm = site.define()
    driver.upload(vm, make_image(vm), site.shared)
    assert [image.name for image in driver.observe(vm).images] == [make_image(vm).name]


@pytest.mark.parametrize("what", ["another address", "a stranger's"])
def test_another_certificate_than_the_one_of_the_fingerprint_is_refused(
    site: Site, make_driver: MakeDriver, identities: dict[str, Identity], what: str
) -> None:
    site.center.calls()
    fingerprint = identities[what].fingerprint
    require_refused(site, make_driver(ca_file=None, fingerprint=fingerprint), what)
    driver = make_driver(ca_file=None, fingerprint=site.center.identity.fingerprint)
    require_upload_refused(site, driver, identities[what], what)


def test_a_fingerprint_does_not_help_an_expired_certificate(
    site: Site, make_driver: MakeDriver, identities: dict[str, Identity]
) -> None:
    site.center.calls()
    expired = identities["expired"]
    with site.center.showing(expired):
        require_refused(site, make_driver(ca_file=None, fingerprint=expired.fingerprint), "expired")


def test_without_ca_and_fingerprint_only_the_system_s_authorities_are_trusted(
    site: Site, make_driver: MakeDriver
) -> None:
    site.center.calls()
    require_refused(site, make_driver(ca_file=None), "unknown authority")


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
