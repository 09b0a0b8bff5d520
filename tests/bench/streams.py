# SPDX-License-Identifier: Apache-2.0
"""Many event streams at once, each looked at only for its first text: a client that costs little beside what it measures."""
import json
import selectors
import socket
import threading
import time


class Follower:
    """One job's stream."""

    def __init__(self, job):
        self.job = job
        self.tail = b""
        self.first_text_s = None  # wall clock
        self.ended = False


class Streams:
    """Submits jobs at a rate and follows each from its beginning."""

    TEXT, END = b"event: text", b"event: end"

    def __init__(self, host, port, key):
        self.to, self.key = (host, port), key
        self.selector = selectors.DefaultSelector()
        self.submitter = socket.create_connection(self.to)
        self.submitter.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.all, self.open = [], 0

    def submit(self, body):
        head = ("POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\n"
                "Content-Length: %d\r\n\r\n" % (self.key, len(body)))
        self.submitter.sendall(head.encode() + body)
        answer = b""
        while b"\r\n\r\n" not in answer or len(answer.partition(b"\r\n\r\n")[2]) < self.length(answer):
            piece = self.submitter.recv(65536)
            if not piece:
                raise SystemExit("streams: the server closed: %s" % answer)
            answer += piece
        if not answer.startswith(b"HTTP/1.1 202"):
            raise SystemExit("streams: %s" % answer)
        return json.loads(answer.partition(b"\r\n\r\n")[2])["id"]

    @staticmethod
    def length(answer):
        for line in answer.partition(b"\r\n\r\n")[0].split(b"\r\n"):
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                return int(value)
        return 0

    def follow(self, job):
        s = socket.create_connection(self.to)
        s.setblocking(False)
        s.send(self.request(job))
        follower = Follower(job)
        self.selector.register(s, selectors.EVENT_READ, follower)
        self.all.append(follower)
        self.open += 1

    def request(self, job):
        return b"GET /v1/jobs/%s/events HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\n\r\n" % (job.encode(), self.key.encode())

    def receive(self, s, follower):
        piece = s.recv(65536)
        now = time.time()
        text = follower.tail + piece
        if follower.first_text_s is None and self.TEXT in text:
            follower.first_text_s = now
        follower.ended = self.END in text
        follower.tail = text[-32:]
        if follower.ended or not piece:
            self.selector.unregister(s)
            s.close()
            self.open -= 1

    def submit_all(self, jobs, per_s, body):
        """In a thread of its own: an answer that is waited for holds up no reading."""
        start = time.monotonic()
        for i in range(jobs):
            time.sleep(max(start + i / per_s - time.monotonic(), 0))
            self.told.send(self.submit(body(i)).encode() + b"\n")
        self.told.close()

    def run(self, jobs, per_s, body):
        """So many jobs, one each 1/per_s; until the last stream has ended. The most streams that were open at once."""
        ids, self.told = socket.socketpair()
        self.selector.register(ids, selectors.EVENT_READ)
        threading.Thread(target=self.submit_all, args=(jobs, per_s, body), daemon=True).start()
        most, end = 0, time.monotonic() + jobs / per_s + 60
        while (len(self.all) < jobs or self.open > 0) and time.monotonic() < end:
            for key, _ in self.selector.select(0.1):
                if key.data:
                    self.receive(key.fileobj, key.data)
                elif not (told := ids.recv(65536)):
                    self.selector.unregister(ids)
                else:
                    for job in told.decode().split():
                        self.follow(job)
            most = max(most, self.open)
        ids.close()
        self.selector.close()
        self.submitter.close()
        if len(self.all) < jobs or not all(f.ended and f.first_text_s for f in self.all):
            raise SystemExit("streams: not all ended with text")
        return most


class Chats(Streams):
    """Streamed chats, each on a connection of its own; their answers begin with "The"."""

    TEXT, END = b'"content":"The', b"data: [DONE]"

    def submit(self, body):
        return body.hex()

    def request(self, job):
        body = bytes.fromhex(job)
        return b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (
            self.key.encode(), len(body), body)
