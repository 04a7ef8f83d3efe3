from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import asyncssh
import pytest

from rigs.sshd import SshServer
from tests.support import require_rig

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshServer]:
    with require_rig():
        server = SshServer(tmp_path_factory.mktemp("sshd"))
    with server:
        yield server


def upload(server: SshServer, target: Path, *, key: Path, known_hosts: Path) -> None:
    async def run() -> None:
        async with (
            asyncssh.connect(
                server.host,
                server.port,
                username=server.user,
                client_keys=[str(key)],
                known_hosts=str(known_hosts),
                config=[],
                agent_path=None,
            ) as connection,
            connection.start_sftp_client() as sftp,
            sftp.open(str(target), "wb") as file,
        ):
            await file.write(b"image")

    asyncio.run(run())


def test_its_key_may_upload(server: SshServer, tmp_path: Path) -> None:
    upload(server, tmp_path / "a.iso", key=server.key_file, known_hosts=server.known_hosts)
    assert (tmp_path / "a.iso").read_bytes() == b"image"


def test_another_key_may_not(server: SshServer, tmp_path: Path) -> None:
    other = server.make_key(tmp_path / "other")
    with pytest.raises(asyncssh.PermissionDenied):
        upload(server, tmp_path / "a.iso", key=other, known_hosts=server.known_hosts)
    assert not (tmp_path / "a.iso").exists()


def test_its_known_hosts_file_tells_it_from_another_server(server: SshServer, tmp_path: Path) -> None:
    key = server.make_key(tmp_path / "other").with_suffix(".pub").read_text()
    known_hosts = tmp_path / "known_hosts"
    known_hosts.write_text(f"[{server.host}]:{server.port} {key}")
    with pytest.raises(asyncssh.HostKeyNotVerifiable):
        upload(server, tmp_path / "a.iso", key=server.key_file, known_hosts=known_hosts)
