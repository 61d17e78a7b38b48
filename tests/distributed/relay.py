"""A relay between a process and a server, whose line can be cut: nothing is refused, and nothing comes through."""

import socket
import threading
from contextlib import suppress

from tests.storages.relay import Relay


class Line(Relay):
    """Listens on a port of its own and hands on what it gets, for `with`."""

    def __init__(self, port: int) -> None:
        super().__init__(port)
        self._passes = threading.Event()
        self._passes.set()

    def go_silent(self) -> None:
        """From here on what is said waits, and who calls does. Nobody is told."""
        self._passes.clear()

    def heal(self, *, lost: bool) -> None:
        """What was said meanwhile arrives late; or it is *lost*, and each connection with it."""
        if lost:
            self._hang_up()
        self._passes.set()

    def _hand_on(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError), client:
            while data := client.recv(1 << 16):
                self._passes.wait()
                server.sendall(data)
            self._passes.wait()
            server.shutdown(socket.SHUT_RDWR)

    def _hand_back(self, server: socket.socket, client: socket.socket) -> None:
        self._hand_on(server, client)
