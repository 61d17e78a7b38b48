"""A relay between a storage and its server, which loses what it is told to."""

import socket
import threading
from contextlib import suppress


class Relay:
    """Listens on a port of its own and hands on what it gets, for `with`."""

    def __init__(self, port):
        self._server = ("127.0.0.1", port)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self.swallowed = 0
        self._swallows, self._is_cut, self._is_silent = threading.Event(), threading.Event(), threading.Event()
        self._word, self._forwards = b"", True
        self._lines = []

    def __enter__(self):
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_):
        # A socket that is closed while another thread accepts on it goes on accepting: it is shut down first.
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._hang_up()

    def swallow_next_answer(self):
        """The next that the server says is lost, and the connection with it."""
        self._swallows.set()

    def swallow(self, word, *, forwards):
        """The connection breaks at the client's next *word*: instead of its answer, or before the server gets it."""
        self._word, self._forwards = word, forwards

    def silence(self):
        """From now on nothing that the server says arrives, and nobody is told."""
        self._is_silent.set()

    def cut(self):
        """Connections break, and each new one at once, until `mend`."""
        self._is_cut.set()
        self._hang_up()

    def mend(self):
        self._is_cut.clear()

    def _hang_up(self):
        for line in self._lines:
            with suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)

    def _accept(self):
        with suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                if self._is_cut.is_set():
                    client.close()
                    continue
                server = socket.create_connection(self._server)
                self._lines += [client, server]
                threading.Thread(target=self._hand_on, args=(client, server), daemon=True).start()
                threading.Thread(target=self._hand_back, args=(server, client), daemon=True).start()

    def _hand_on(self, client, server):
        with suppress(OSError), client:
            while data := client.recv(1 << 16):
                if self._word and self._word in data:
                    self._break(client, server, data)
                    return
                server.sendall(data)
            server.shutdown(socket.SHUT_RDWR)

    def _break(self, client, server, data):
        self._word = b""
        self.swallowed += 1
        client.shutdown(socket.SHUT_WR)
        if self._forwards:
            server.sendall(data)
        server.shutdown(socket.SHUT_WR)  # it ends what it was told, then sees the end

    def _hand_back(self, server, client):
        with suppress(OSError), server:
            while data := server.recv(1 << 16):
                if self._is_silent.is_set():
                    continue
                if self._swallows.is_set():
                    self._swallows.clear()
                    self.swallowed += 1
                    client.shutdown(socket.SHUT_RDWR)
                    return
                client.sendall(data)
            client.shutdown(socket.SHUT_RDWR)
