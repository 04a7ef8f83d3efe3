"""Which version of the API is spoken, by what a server lists."""

from __future__ import annotations

import pytest

pytest.importorskip("pyVmomi")

from workers.hypervisors.vmware.versions import newest


def listing(*versions: str) -> str:
    prior = "".join(f"<version>{one}</version>" for one in versions[1:])
    spaces = (f"<name>urn:vim25</name>\n<version>{versions[0]}</version><priorVersions>{prior}</priorVersions>",)
    other = "<name>urn:sms</name><version>6.7</version>"
    return "<namespaces>" + "".join(f"<namespace>{one}</namespace>" for one in (other, *spaces)) + "</namespaces>"


@pytest.mark.parametrize(
    ("listed", "spoken"),
    [
        (("6.0", "5.5"), "vim.version.version10"),
        (("6.5", "6.0", "5.5"), "vim.version.version11"),
        (("8.0.3.0", "8.0.2.0", "6.7.3", "6.5", "6.0"), "vim.version.v8_0_3_0"),
        (("99.1", "8.0.3.0", "6.5"), "vim.version.v8_0_3_0"),  # newer than this pyvmomi
        (("5.5", "5.1"), None),
        (("99.1",), None),
    ],
    ids=str,
)
def test_the_newest_that_both_know_and_never_one_before_6_0(listed: tuple[str, ...], spoken: str | None) -> None:
    assert newest(listing(*listed)) == spoken
