"""A person at a guest's serial console."""

import contextlib
import re
import socket
from pathlib import Path
from typing import Final

from rigs.process import RigError, wait_until

_PROMPT: Final = r"[#$] $"
_SHOWN: Final = 2000  # characters of the end of what was printed, in an error


class Terminal:
    """Connected from the start of the domain to its end; everything that was waited for is kept.

    Args:
        path: the socket.
        hidden: what an error must not show, such as a password that was typed.
    """

    def __init__(self, path: Path, hidden: tuple[str, ...] = ()) -> None:
        self._hidden = hidden
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(path))
        self._socket.settimeout(0.05)
        self._printed = bytearray()
        self._read = 0

    @property
    def printed(self) -> str:
        """All that was printed until now."""
        return self._printed.decode(errors="replace").replace("\r\n", "\n")

    def enter(self, line: str) -> None:
        """Type a line and the enter key."""
        self._socket.sendall(line.encode() + b"\r")

    def expect(self, pattern: str, *, timeout: float = 60.0) -> str:
        """Wait until something is printed behind what was expected before, and return what came up to its end.

        Raises:
            RigError: the time is over; it shows the end of what was printed.
        """

        def found() -> str | None:
            with contextlib.suppress(TimeoutError):
                self._printed += self._socket.recv(65536)
            text = self.printed[self._read :]
            match = re.search(pattern, text)
            if match is None:
                return None
            self._read += match.end()
            return text[: match.end()]

        try:
            return wait_until(found, f"the guest to print {pattern!r}", timeout=timeout, interval=0.05)
        except RigError as error:
            end = self.printed[-_SHOWN:]
            for secret in self._hidden:
                end = end.replace(secret, "***")
            raise RigError(f"{error}; its console ends with:\n{end}") from None

    def log_in(self, user: str, password: str) -> bool:
        """Answer the questions of login(1), which have to be on the screen next; say whether it was right."""
        self.expect(r"login: $")
        self.enter(user)
        self.expect(r"Password: $")
        self.enter(password)
        refused = r"Login incorrect|Maximum number of tries exceeded"
        return re.search(refused, self.expect(rf"{refused}|{_PROMPT}")) is None

    def run(self, command: str) -> str:
        """Run a command in the shell that is logged in, and return what it prints."""
        self.enter(f"{command}; echo; echo '=''='")
        printed = self.expect(r"\n==\n")
        self.expect(_PROMPT)
        return printed.partition("\n")[2].removesuffix("\n==\n").removesuffix("\n")

    def log_out(self) -> None:
        """Leave the shell."""
        self.enter("exit")

    def close(self) -> None:
        """Hang up."""
        self._socket.close()
