"""The program that carries a connection where the SSH configuration names a jump or a proxy."""

import socket
import subprocess
import tempfile

from kome_tui.text import clean


class Proxy:
    """A program whose standard input and output are the connection, as a real socket."""

    def __init__(self, command: tuple[str, ...]) -> None:
        self.end, theirs = socket.socketpair()
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed by close()
        try:
            with theirs:
                self._process = subprocess.Popen(
                    command,
                    stdin=theirs.fileno(),
                    stdout=theirs.fileno(),
                    stderr=self._stderr,
                    start_new_session=True,  # a Ctrl-C at the console is not meant for it
                )
        except OSError:
            self.end.close()
            self._stderr.close()
            raise

    def said(self) -> str:
        """The start of its standard error, clean, on one line."""
        if self._stderr.closed:
            return ""
        self._stderr.seek(0)
        return "; ".join(clean(line, 200) for line in self._stderr.read(1024).splitlines() if line)

    def close(self) -> None:
        """End the program. Harmless when repeated; the socket has an owner of its own."""
        self._process.terminate()
        try:
            self._process.wait(2)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._stderr.close()
