"""A shell whose `configdrive` is a fork of this process: pages type some eighty, and to load all that one needs takes a
second of CPU each time. What goes on until it is ended is a process of its own, as elsewhere."""

import json
import os
import pkgutil
import socket
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Final

SOCKET: Final = "\0configdrive"
"""In the name space of the machine's network, which nobody else has."""
REAL: Final = str(Path(sys.executable).with_name("configdrive"))
CLIENT: Final = f"""\
#!{sys.executable} -IS
import json, os, socket, sys
if sys.argv[1:2] in (["worker"], ["watch"]):
    os.execv({REAL!r}, sys.argv)
with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as command:
    command.connect({SOCKET!r})
    socket.send_fds(command, [json.dumps([sys.argv, os.getcwd(), dict(os.environ)]).encode()], [0, 1, 2])
    sys.exit((command.recv(1) or b"\\1")[0])
"""
LOADED: Final = (
    "configdrive",
    "tasks",
    "workers.cli",
    "workers.config",
    "workers.hypervisors.simulated",
    "workers.store",
)


def main(script: str, programs: Path) -> int:
    """Run a script for bash; returns how it ended. `programs` is a folder of its PATH."""
    client = programs / "configdrive"
    client.write_text(CLIENT, "utf-8")
    client.chmod(0o755)
    for name in LOADED:
        for module in pkgutil.walk_packages(import_module(name).__path__, f"{name}."):
            import_module(module.name)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as server:
        server.bind(SOCKET)
        server.listen()
        if os.fork():
            return subprocess.run(["bash", script], check=False).returncode  # noqa: S607 - the caller's PATH
        while True:
            command, _ = server.accept()
            if not os.fork():
                _run(command)
            command.close()


def _run(command: socket.socket) -> None:
    """Be a command, and end."""
    from workers.cli import main as configdrive  # noqa: PLC0415 - loaded before

    words, files, _, _ = socket.recv_fds(command, 2**20, 3)
    sys.argv, directory, environment = json.loads(words)
    for number, file in enumerate(files):
        os.dup2(file, number)
    sys.stdin, sys.stdout, sys.stderr = (open(number, mode, buffering=1) for number, mode in enumerate("rww"))  # noqa: SIM115, PTH123 - what they were may have been of another kind
    os.chdir(directory)
    os.environ.clear()
    os.environ.update(environment)
    code = 1
    try:
        configdrive()
    except SystemExit as end:
        code = int(end.code or 0)
        sys.stdout.flush()
    finally:
        command.send(bytes([code]))
        os._exit(code)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2])))
