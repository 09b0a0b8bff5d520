# SPDX-License-Identifier: Apache-2.0
"""A provider that means harm: a raw TCP server whose answers are written byte by byte.

    provider = Hostile({"slow": lambda c: c.drip(b"HTTP/1.1 200 OK\\r\\n", 0.1)})
    … base_url = provider.url("slow") …
    provider.calls["slow"]   # requests that came, as bytes

A way is a function of one Caller; when it returns the connection is closed. What it sends may be endless: it ends when the client
leaves, or the provider is closed.
"""

import socket
import threading
import time
from collections import defaultdict

HEAD_MAX = 1 << 20


class Gone(Exception):
    """The client left, or the test is over."""


class Caller:
    def __init__(self, sock, stopping, request, number):
        self.sock, self.stopping, self.request, self.number = sock, stopping, request, number

    def send(self, data):
        try:
            self.sock.sendall(data)
        except OSError as e:
            raise Gone from e

    def wait(self, seconds):
        """Sleeps, but not longer than the client stays."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self.sock.settimeout(min(left, 0.1))
            try:
                if self.sock.recv(4096) == b"":
                    raise Gone
            except TimeoutError:
                pass
            except OSError as e:
                raise Gone from e
            finally:
                self.sock.settimeout(30)
            if self.stopping.is_set():
                raise Gone

    def forever(self, data, every=0.0):
        while True:
            self.send(data)
            if every:
                self.wait(every)

    def drip(self, data, every):
        for i in range(len(data)):
            self.send(data[i:i + 1])
            self.wait(every)

    def hang(self):
        self.wait(600)

    def reset(self):
        """Closes with RST instead of FIN."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


class Hostile:
    def __init__(self, ways):
        self.ways, self.calls, self.stopping, self.lock = ways, defaultdict(list), threading.Event(), threading.Lock()
        self.errors = []
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.threads = []
        threading.Thread(target=self._accept, daemon=True).start()

    def url(self, way, path=""):
        return f"http://127.0.0.1:{self.listener.getsockname()[1]}/{way}{path}"

    def close(self):
        self.stopping.set()
        self.listener.close()
        for thread in self.threads:
            thread.join(10)

    def _accept(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(sock,), daemon=True)
            self.threads.append(thread)
            thread.start()

    def _serve(self, sock):
        with sock:
            try:
                sock.settimeout(30)
                self._answer(sock)
            except (Gone, OSError):
                pass
            except Exception as e:  # a way that is written wrong
                self.errors.append(repr(e))

    def _answer(self, sock):
        request = b""
        while b"\r\n\r\n" not in request:
            piece = sock.recv(65536)
            if not piece or len(request) > HEAD_MAX:
                return
            request += piece
        head, _, body = request.partition(b"\r\n\r\n")
        way = head.split(b" ", 2)[1].decode().split("/")[1].split("?")[0]
        early = getattr(self.ways.get(way), "early", False)
        wanted = next((int(h.split(b":")[1]) for h in head.split(b"\r\n") if h.lower().startswith(b"content-length:")), 0)
        while len(body) < wanted and not early:
            piece = sock.recv(1 << 20)
            if not piece:
                return
            body += piece
        with self.lock:
            self.calls[way].append(head + b"\r\n\r\n" + body)
            number = len(self.calls[way])
        self.ways[way](Caller(sock, self.stopping, head + b"\r\n\r\n" + body, number))
