# SPDX-License-Identifier: Apache-2.0
"""Clients of GET /v1/jobs/{id}/events: one that reads one stream, and one that follows many jobs at once without threads, reconnecting as browsers do."""

import json
import selectors
import socket
import time
from urllib.parse import urlsplit


class Event:
    def __init__(self, name, id, data):
        self.name, self.id, self.data = name, id, data

    def __repr__(self):
        return f"<{self.name} {self.id} {str(self.data)[:80]}>"


class Parser:
    """Lines of an event stream; feed() returns the events that are whole."""

    def __init__(self):
        self.buffer = b""
        self.comments = 0

    def feed(self, piece):
        self.buffer += piece
        *blocks, self.buffer = self.buffer.split(b"\n\n")
        return [e for e in map(self.event, blocks) if e]

    def event(self, block):
        fields = {}
        for line in block.decode().split("\n"):
            if line.startswith(":"):
                self.comments += 1
                continue
            name, _, value = line.partition(": ")
            fields[name] = fields[name] + "\n" + value if name in fields else value
        return Event(fields["event"], fields["id"], json.loads(fields["data"])) if "data" in fields else None


class Stream:
    """One stream: iterate over its events; `cut` says whether it ended without its last chunk."""

    def __init__(self, http, job_id, last=None, query="", timeout=30):
        headers = {"Last-Event-ID": last} if last else {}
        self.connection, self.response = http.open("GET", f"/v1/jobs/{job_id}/events{query}", headers=headers, timeout=timeout)
        self.status = self.response.status
        self.parser = Parser()

    def __iter__(self):
        while piece := self.response.read1(65536):
            yield from self.parser.feed(piece)
        assert not self.parser.buffer

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.connection.close()


def follow(http, job_id, last=None, query=""):
    """All events until the stream ends."""
    with Stream(http, job_id, last, query) as stream:
        assert stream.status == 200, stream.response.read()
        return list(stream)


def told(events):
    """The text that a client has after these events."""
    text = ""
    for e in events:
        if e.name == "restart":
            text = ""
        elif e.name == "text":
            text += e.data["text"]
    return text


def contents(events, member="content"):
    """As told, from the deltas."""
    text = ""
    for e in events:
        if e.name == "restart":
            text = ""
        elif e.name == "text":
            text += "".join(d.get(member) or "" for d in e.data["deltas"])
    return text


def names(events):
    return [e.name for e in events]


class Follower:
    """What one of many has."""

    def __init__(self, job_id, url):
        self.job_id, self.url = job_id, url
        self.events, self.seen = [], set()
        self.socket = self.parser = None
        self.raw = b""
        self.head = False
        self.reconnects, self.repeats, self.ended = -1, 0, False
        self.retry_at = 0.0


class Crowd:
    """Follows many jobs with one selector. urls(i) says where follower i connects next."""

    def __init__(self, job_ids, key, where):
        self.key, self.where = key, where
        self.selector = selectors.DefaultSelector()
        self.followers = [Follower(job, None) for job in job_ids]

    def connect(self, number):
        f = self.followers[number]
        f.url = self.where(number, f)
        parts = urlsplit(f.url)
        f.socket = socket.socket()
        f.socket.setblocking(False)
        f.socket.connect_ex((parts.hostname, parts.port))
        f.parser, f.raw, f.head = Parser(), b"", False
        f.reconnects += 1
        self.selector.register(f.socket, selectors.EVENT_WRITE, number)

    def lost(self, number):
        f = self.followers[number]
        self.selector.unregister(f.socket)
        f.socket.close()
        f.socket = None
        f.retry_at = time.monotonic() + 0.2

    def send(self, number):
        f = self.followers[number]
        last = f"Last-Event-ID: {f.events[-1].id}\r\n" if f.events else ""
        try:
            f.socket.send(f"GET /v1/jobs/{f.job_id}/events HTTP/1.0\r\nAuthorization: Bearer {self.key}\r\n{last}\r\n".encode())
        except OSError:
            self.lost(number)
            return
        self.selector.modify(f.socket, selectors.EVENT_READ, number)

    def receive(self, number):
        f = self.followers[number]
        try:
            piece = f.socket.recv(65536)
        except OSError:
            piece = b""
        if not piece:
            self.lost(number)
            return
        if not f.head:
            f.raw += piece
            head, end, piece = f.raw.partition(b"\r\n\r\n")
            if not end:
                return
            assert head.startswith(b"HTTP/1.1 200"), head
            f.head = True
        for event in f.parser.feed(piece):
            f.repeats += event.id in f.seen
            f.seen.add(event.id)
            f.events.append(event)
            f.ended = event.name == "end"
        if f.ended:
            self.lost(number)

    def run(self, limit, when=None):
        """Until all have ended; when() is called now and then."""
        until = time.monotonic() + limit
        while not all(f.ended for f in self.followers):
            assert time.monotonic() < until, f"{sum(not f.ended for f in self.followers)} have not ended"
            for number, f in enumerate(self.followers):
                if not f.ended and not f.socket and time.monotonic() >= f.retry_at:
                    self.connect(number)
            for key, mask in self.selector.select(0.05):
                if mask & selectors.EVENT_WRITE:
                    self.send(key.data)
                else:
                    self.receive(key.data)
            if when:
                when()

    def close(self):
        for f in self.followers:
            if f.socket:
                f.socket.close()
        self.selector.close()
