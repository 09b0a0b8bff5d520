# SPDX-License-Identifier: Apache-2.0
"""Providers that mean harm, on the wire: each job ends by the class that its answer deserves, what was sent is paid for or marked, the worker stays up
and small, and the jobs of a good provider in the same worker do not wait for it.
"""

import gzip
import json
import struct
import threading
import time
import zlib

from faults import attempts, one_outcome_each
from hostile import Hostile

PRICE = {"input": "1", "output": "2"}
PATIENT = {"connect": "5s", "first_token": "25s", "between_tokens": "25s", "total": "50s"}
HASTY = {"connect": "5s", "first_token": "1500ms", "between_tokens": "600ms", "total": "2500ms"}
RESULT_BYTES = 16 << 10
CONFIG = {"queue": {"lease": "30s"}, "limits": {"result_bytes": RESULT_BYTES}, "job": {"max_attempts": 2},
          "breaker": {"failures": 50, "calls": 100},
          "retry": {"base": "5ms", "max": "20ms", "overload_base": "5ms", "overload_max": "20ms"}}
GROWTH_MAX = 200 << 20  # bytes of resident memory, with a sanitizer's shadow and quarantine

SSE = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
JSON = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n"
HTML = b"<html><body><h1>502 Bad Gateway</h1></body></html>"
USAGE = {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}


def chunk(content=None, finish=None, usage=None, **delta):
    """One event of a stream of OpenAI's."""
    if content is not None:
        delta["content"] = content
    return event({"id": "x", "object": "chat.completion.chunk", "model": "m", "created": 1, "usage": usage,
                  "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})


def event(value):
    return b"data: " + (value if isinstance(value, bytes) else json.dumps(value).encode()) + b"\n\n"


DONE = b"data: [DONE]\n\n"
TAIL = event({"choices": [], "usage": USAGE}) + DONE
GOOD = chunk("Hello") + chunk(finish="stop") + TAIL


def whole(content="Hello", usage=None, **message):
    return {"id": "x", "object": "chat.completion", "model": "m", "created": 1, "usage": usage or USAGE,
            "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": content, **message}}]}


def says(*pieces):
    """Sends the pieces and leaves."""
    return lambda c: c.send(b"".join(pieces))


def status(code, body=b"", headers=b""):
    return says(b"HTTP/1.1 %d Why\r\n%sContent-Length: %d\r\nConnection: close\r\n\r\n" % (code, headers, len(body)), body)


def endless(start, piece, every=0.0):
    def way(c):
        c.send(start)
        c.forever(piece, every)
    return way


def then_hang(*pieces):
    def way(c):
        c.send(b"".join(pieces))
        c.hang()
    return way


def then_reset(*pieces):
    def way(c):
        c.send(b"".join(pieces))
        time.sleep(3)  # the pieces are read before the reset drops them, on a slow machine too
        c.reset()
    return way


def numbered_headers(c):
    c.send(b"HTTP/1.1 200 OK\r\n")
    n = 0
    while True:
        c.send(b"".join(b"X-%d: v\r\n" % i for i in range(n, n + 100)))
        n += 100


def slow_headers(c):
    c.send(b"HTTP/1.1 200 OK\r\n")
    c.forever(b"X-Slow: yes\r\n", 0.1)


def refuses_at_once(c):
    c.send(b"HTTP/1.1 413 Too Large\r\nContent-Type: text/html\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(HTML) + HTML)
    c.wait(1)


refuses_at_once.early = True


def cookies(size):
    """Then a good answer, if nobody sends a cookie back."""
    flood = b"".join(b"Set-Cookie: c%d=%s\r\n" % (i, b"v" * 90) for i in range(size // 110))

    def way(c):
        assert b"\r\ncookie:" not in c.request.lower()
        c.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n" + flood + b"\r\n" + GOOD)
    return way


def good_second(first):
    """The second call is answered well: for what is no attempt."""
    return lambda c: c.send(SSE + GOOD) if c.number > 1 else first(c)


def refused(body=b"", headers=b"", code=429):
    return good_second(status(code, body, headers))


def bomb():
    squeeze = zlib.compressobj(9, zlib.DEFLATED, 31)
    return squeeze.compress(b"data: x\n\n" * (4 << 20)) + squeeze.flush()


def tool(index, arguments="{}", name="f"):
    """A call's index as JSON text."""
    text = '{"choices":[{"index":0,"delta":{"tool_calls":[{"index":%s,"id":"c","function":{"name":"%s","arguments":%s}}]}}]}'
    return says(SSE, event((text % (index, name, json.dumps(arguments))).encode()), chunk(finish="tool_calls"), TAIL)


def with_usage(text):
    return says(SSE, chunk("Hello"), chunk(finish="stop"), event(b'{"choices":[],"usage":%s}' % text.encode()), DONE)


def whole_usage(text):
    return says(JSON, json.dumps(whole()).encode().replace(json.dumps(USAGE).encode(), text.encode()))


NESTED = b"[" * 1_000_000 + b"]" * 1_000_000
ok = None
BAD, CUT, UNKNOWN, NET = "bad_output", "stream_interrupted", "outcome_unknown", "network"

# way → (what it does, the class of every attempt or None for success, calls, options). hasty: short timeouts; stream: False asks for a whole answer.
WAYS = {
    # bodies
    "endless-bytes": (endless(SSE, b"x" * 65536), BAD, 2, {}),
    "endless-bytes-whole": (endless(JSON, b"[" * 65536), BAD, 2, {"stream": False}),
    "endless-error-body": (endless(b"HTTP/1.1 500 Oh\r\n\r\n", b"x" * 65536), "transient", 2, {}),
    "endless-comments": (endless(SSE, b": keep-alive\n" * 4096), BAD, 2, {}),
    "endless-empty-lines": (endless(SSE, b"\n" * 65536), BAD, 2, {}),
    "endless-text": (endless(SSE, chunk("word ") * 400), BAD, 2, {}),
    "endless-reasoning": (endless(SSE, chunk(reasoning_content="hm ") * 400), BAD, 2, {}),
    "endless-tool-arguments": (endless(SSE, chunk(tool_calls=[{"index": 0, "function": {"arguments": "[[["}}]) * 400), BAD, 2, {}),
    "endless-tool-names": (endless(SSE, chunk(tool_calls=[{"index": 0, "function": {"name": "n" * 500, "arguments": "0"}}]) * 100), BAD, 2, {}),
    "endless-empty-events": (endless(SSE, b"data: {}\n\n" * 4096), BAD, 2, {}),
    "endless-event-names": (endless(SSE, b"event: " + b"e" * 30000 + b"\n"), BAD, 2, {}),
    "endless-data-lines": (endless(SSE, b"data: x\n" * 4096), BAD, 2, {}),
    "comments-for-ever": (endless(SSE, b": keep-alive\n\n", 0.1), UNKNOWN, 2, {"hasty": True}),
    "text-for-ever": (endless(SSE, chunk("x"), 0.1), CUT, 2, {"hasty": True}),
    "comments-after-text": (endless(SSE + chunk("x"), b": keep-alive\n\n", 0.1), CUT, 2, {"hasty": True}),
    "a-byte-now-and-then": (endless(SSE + b'data: {"a":"', b"x", 0.1), UNKNOWN, 2, {"hasty": True}),
    "a-byte-now-and-then-after-text": (endless(SSE + chunk("x") + b'data: {"a":"', b"x", 0.1), CUT, 2, {"hasty": True}),
    "a-byte-too-late": (endless(SSE + chunk("x"), b":", 1.0), CUT, 2, {"hasty": True}),
    "a-byte-now-and-then-whole": (endless(JSON, b" ", 0.1), CUT, 2, {"hasty": True, "stream": False}),
    "promises-a-gigabyte": (says(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 1073741824\r\n\r\n", chunk("x")), CUT, 2, {}),
    "promises-a-gigabyte-whole": (says(b"HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n", json.dumps(whole()).encode()), CUT, 2, {"stream": False}),
    "promises-2-to-64": (says(b"HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551616\r\n\r\n", json.dumps(whole()).encode()), None, 0, {"stream": False, "any": True}),
    "length-too-short": (says(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 30\r\n\r\n", GOOD), CUT, 2, {}),
    "length-too-short-whole": (says(b"HTTP/1.1 200 OK\r\nContent-Length: 30\r\n\r\n", json.dumps(whole()).encode()), BAD, 2, {"stream": False}),
    "length-negative": (says(b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n", json.dumps(whole()).encode()), None, 0, {"stream": False, "any": True}),
    "two-lengths": (says(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 50\r\n\r\n", b"x" * 50), None, 0, {"stream": False, "any": True}),
    "nothing-at-all": (says(b""), UNKNOWN, 2, {}),
    "resets-at-once": (then_reset(b""), UNKNOWN, 2, {}),
    # encodings
    "gzip-unasked": (says(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Encoding: gzip\r\n\r\n", gzip.compress(GOOD)), CUT, 2, {}),
    "gzip-unasked-whole": (says(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n", gzip.compress(json.dumps(whole()).encode())), BAD, 2, {"stream": False}),
    "gzip-bomb": (says(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Type: text/event-stream\r\n\r\n", bomb()), None, 0, {"any": True}),
    "br-deflate-zstd": (says(b"HTTP/1.1 200 OK\r\nContent-Encoding: br, deflate, zstd, x\r\n\r\n", GOOD), ok, 1, {}),
    "gzip-transfer": (says(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", b"5\r\nhello\r\n0\r\n\r\n"), None, 0, {"any": True}),
    "chunks-of-garbage": (says(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nZZZ\r\nhello\r\n"), CUT, 2, {}),
    "chunk-too-long": (says(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nhello"), CUT, 2, {}),
    "chunk-sizes-endless": (endless(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;", b"x" * 60000), None, 0, {"any": True, "hasty": True}),
    "trailers-endless": (endless(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"X-T: v\r\n" * 1000), BAD, 2, {}),
    "tiny-chunks": (says(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n",
                         b"".join(b"1\r\n%c\r\n" % b for b in GOOD), b"0\r\n\r\n"), ok, 1, {}),
    # heads
    "http-0.9": (says(b"hello there\n" * 10), UNKNOWN, 2, {}),
    "http-3": (says(b"HTTP/3.0 200 OK\r\n\r\n", GOOD), None, 0, {"any": True}),
    "no-http": (says(b"SSH-2.0-OpenSSH_9.2\r\n"), UNKNOWN, 2, {}),
    "status-of-words": (says(b"HTTP/1.1 OK fine\r\n\r\n", GOOD), None, 0, {"any": True}),
    "head-of-nul": (says(b"HTTP/1.1 200 OK\r\nX-A: a\0b\r\nContent-Type: text/event-stream\r\n\r\n", GOOD), None, 0, {"any": True}),
    "head-of-lf": (says(b"HTTP/1.1 200 OK\nContent-Type: text/event-stream\n\n", GOOD), ok, 1, {}),
    "head-of-bytes": (says(b"HTTP/1.1 200 \xff\xfe\r\nX-Request-Id: \xff\xfe\x01\r\n", b"Content-Type: text/event-stream\r\n\r\n", GOOD), ok, 1, {}),
    "headers-endless": (numbered_headers, BAD, 2, {}),
    "header-endless": (endless(b"HTTP/1.1 200 OK\r\nX-A: ", b"a" * 65536), BAD, 2, {}),
    "status-line-endless": (endless(b"HTTP/1.1 200 ", b"O" * 65536), BAD, 2, {}),
    "headers-slowly": (slow_headers, UNKNOWN, 2, {"hasty": True}),
    "continue-flood": (endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 100), BAD, 2, {}),
    "hints-then-good": (says(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * 20, SSE, GOOD), ok, 1, {}),
    "switches-protocols": (says(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\nhello"), None, 0, {"any": True}),
    "cookies": (cookies(30000), ok, 1, {}),
    "cookie-flood": (cookies(100_000), BAD, 2, {}),
    # statuses
    "redirect-metadata": (status(302, b"", b"Location: http://169.254.169.254/latest/meta-data/\r\n"), "bad_request", 1, {}),
    "redirect-file": (status(301, b"", b"Location: file:///etc/passwd\r\n"), "bad_request", 1, {}),
    "redirect-self": (status(307, b"", b"Location: /redirect-self/again\r\n"), "bad_request", 1, {}),
    "redirect-endless": (status(308, b"", b"Location: " + b"a" * 30000 + b"\r\n"), "bad_request", 1, {}),
    "status-204": (says(b"HTTP/1.1 204 No Content\r\n\r\n"), CUT, 2, {}),
    "status-204-whole": (says(b"HTTP/1.1 204 No Content\r\n\r\n"), BAD, 2, {"stream": False}),
    "status-206": (says(b"HTTP/1.1 206 Part\r\nContent-Type: text/event-stream\r\n\r\n", GOOD), ok, 1, {}),
    "status-304": (says(b"HTTP/1.1 304 Not Modified\r\n\r\n"), "bad_request", 1, {}),
    "status-418": (status(418, HTML), "bad_request", 1, {}),
    "status-451": (status(451, HTML), "bad_request", 1, {}),
    "status-599": (status(599, HTML), "transient", 2, {}),
    "status-999": (status(999, HTML), None, 0, {"any": True}),
    "error-page": (status(200, HTML, b"Content-Type: text/html\r\n"), CUT, 2, {}),
    "error-page-whole": (status(200, HTML, b"Content-Type: text/html\r\n"), BAD, 2, {"stream": False}),
    "error-in-200": (status(200, b'{"error":{"message":"no","type":"server_error"}}', b"Content-Type: application/json\r\n"), "transient", 2, {}),
    "error-in-200-line": (status(200, b'{"error":{"message":"no","type":"server_error"}}\n', b"Content-Type: text/event-stream\r\n"), "transient", 2, {}),
    "error-in-200-whole": (status(200, b'{"error":"no"}'), "transient", 2, {"stream": False}),
    "empty-200-whole": (status(200), BAD, 2, {"stream": False}),
    "error-of-nul": (status(400, b'{"error":{"message":"a\\u0000b","code":"context_length_exceeded"}}'), "bad_request", 1, {}),
    "error-of-bytes": (status(400, b'{"error":{"message":"\xff\xfe","type":"\xc3"}}'), "bad_request", 1, {}),
    "error-of-controls": (status(500, json.dumps({"error": {"message": "\x1b[31m\r\nSet-Cookie: a=b\u2028\ufeff"}}).encode()), "transient", 2, {}),
    "error-nested": (status(500, b'{"error":' + NESTED[:100_000]), "transient", 2, {}),
    "error-huge": (status(500, json.dumps({"error": {"message": "m" * 200_000, "code": "c" * 20_000}}).encode()), "transient", 2, {}),
    "error-larger": (status(500, b'{"error":{"message":"' + b"m" * (1 << 20)), "transient", 2, {}),
    "refuses-early": (refuses_at_once, "provider_too_large", 1, {"prompt": "word " * 200_000}),
    # JSON
    "nested": (says(SSE, event(NESTED[:5_000] + NESTED[-5_000:])), BAD, 2, {}),
    "nested-a-million-times": (says(SSE, event(NESTED)), BAD, 2, {}),
    "nested-whole": (says(JSON, NESTED[:10_000]), BAD, 2, {"stream": False}),
    "many-values": (says(JSON, b'{"choices":[' + b"[]," * (RESULT_BYTES // 3 - 20) + b"[]]}"), BAD, 2, {"stream": False}),
    "text-of-nul": (says(SSE, event(b'{"choices":[{"delta":{"content":"a\\u0000b"}}]}'), GOOD), BAD, 2, {}),
    "nul-in-event": (says(SSE, event(b'{"choices":[{"delta":{"content":"a\0b"}}]}'), GOOD), BAD, 2, {}),
    "nul-in-id": (says(SSE, b"id: a\0b\n", GOOD), ok, 1, {}),
    "bytes-in-text": (says(SSE, chunk("x"), event(b'{"choices":[{"delta":{"content":"\xff\xfe"}}]}'), GOOD), BAD, 2, {}),
    "lone-surrogate": (says(SSE, event(b'{"choices":[{"delta":{"content":"\\ud800"}}]}'), GOOD), BAD, 2, {}),
    "keys-twice": (says(SSE, event(b'{"choices":[],"choices":[{"delta":{"content":"a","content":"b"}}]}'), GOOD), ok, 1, {"text": "bHello"}),
    "wrong-types": (says(SSE, *(event(e) for e in (
        b'{"choices":{"0":1}}', b'{"choices":[7]}', b'{"choices":[{"delta":"x"}]}', b'{"choices":[{"delta":{"content":7}}]}', b"7", b"[]", b"null",
        b'{"choices":[{"delta":{"tool_calls":{"a":1}}}],"id":7,"model":[],"created":"x","usage":"x","system_fingerprint":{}}',
        b'{"choices":[{"delta":{"content":"a"},"finish_reason":{"a":1},"index":"0"}],"created":1e300}')), GOOD), ok, 1, {"text": "aHello"}),
    "names-too-long": (says(SSE, event({"id": "i" * 5_000, "model": "m" * 5_000, "choices": []}), GOOD), ok, 1, {}),
    # numbers
    "usage-1e999": (with_usage('{"prompt_tokens":1e999,"completion_tokens":3}'), BAD, 2, {}),
    "usage-minus-0": (with_usage('{"prompt_tokens":-0,"completion_tokens":-0}'), ok, 1, {"estimated": True}),
    "usage-negative": (with_usage('{"prompt_tokens":-9,"completion_tokens":-3,"total_tokens":-12}'), ok, 1, {"estimated": True}),
    "usage-2-to-63": (with_usage('{"prompt_tokens":9223372036854775808,"completion_tokens":3}'), BAD, 2, {}),
    "usage-2-to-62": (with_usage('{"prompt_tokens":4611686018427387904,"completion_tokens":4611686018427387904}'), None, 0, {"any": True}),
    "usage-1e15": (with_usage('{"prompt_tokens":1000000000000000,"completion_tokens":3}'), None, 0, {"any": True}),
    "usage-of-floats": (with_usage('{"prompt_tokens":9.0,"completion_tokens":3.0}'), ok, 1, {}),
    "usage-of-texts": (with_usage('{"prompt_tokens":"9","completion_tokens":"3"}'), ok, 1, {"estimated": True}),
    "usage-parts-above-all": (with_usage('{"prompt_tokens":9,"completion_tokens":3,"prompt_tokens_details":{"cached_tokens":900},'
                                         '"completion_tokens_details":{"reasoning_tokens":900}}'), ok, 1, {"input": 9, "output": 3}),
    "usage-shrinks": (says(SSE, chunk("Hello", usage={"prompt_tokens": 90, "completion_tokens": 30}), chunk(finish="stop"), TAIL), ok, 1, {"input": 9, "output": 3}),
    "usage-whole-2-to-63": (whole_usage('{"prompt_tokens":9223372036854775808}'), BAD, 2, {"stream": False}),
    # tool calls
    "tool-index-huge": (tool("1000000000"), BAD, 2, {}),
    "tool-index-negative": (tool("-1"), BAD, 2, {}),
    "tool-index-2-to-63": (tool("9223372036854775807"), BAD, 2, {}),
    "tool-index-minimum": (tool("-9223372036854775808"), BAD, 2, {}),
    "tool-index-text": (tool('"0"'), ok, 1, {}),
    "tool-index-127": (tool("127"), ok, 1, {}),
    "tool-arguments-nested": (tool("0", "[" * 10_000), BAD, 2, {}),
    "tool-without-name": (tool("0", "{}", ""), BAD, 2, {}),
    # streams
    "cr-only": (says(SSE, GOOD.replace(b"\n", b"\r")), ok, 1, {}),
    "crlf": (says(SSE, GOOD.replace(b"\n", b"\r\n")), ok, 1, {}),
    "bom": (says(SSE, b"\xef\xbb\xbf", GOOD), ok, 1, {}),
    "done-twice": (says(SSE, GOOD, DONE), ok, 1, {}),
    "text-after-done": (says(SSE, GOOD, chunk("more"), b"data: {{{\n\n"), ok, 1, {"text": "Hello"}),
    "error-after-done": (says(SSE, GOOD, event(b'{"error":{"message":"no"}}')), ok, 1, {"text": "Hello"}),
    "endless-after-done": (endless(SSE + GOOD, b": more\n\n", 0.1), ok, 1, {"text": "Hello", "hasty": True}),
    "hangs-after-done": (then_hang(SSE, GOOD), ok, 1, {"text": "Hello", "hasty": True}),
    "resets-after-done": (then_reset(SSE, GOOD), ok, 1, {"text": "Hello"}),
    "no-last-chunk": (says(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n", b"%x\r\n%s\r\n" % (len(GOOD), GOOD)), ok, 1, {}),
    "finish-unknown": (says(SSE, chunk("Hello"), chunk(finish="banana"), TAIL), ok, 1, {"finish": "banana"}),
    "no-finish": (says(SSE, chunk("Hello"), TAIL), CUT, 2, {}),
    "no-done": (says(SSE, chunk("Hello"), chunk(finish="stop")), CUT, 2, {}),
    "no-content": (says(SSE, chunk(finish="stop"), TAIL), BAD, 2, {}),
    "event-too-large": (says(SSE, event(b'{"a":"' + b"x" * RESULT_BYTES + b'"}'), GOOD), BAD, 2, {}),
    "tiny-events": (says(SSE, event(b'{"choices":[{"delta":{"content":"x"}}]}') * 15_000, chunk(finish="stop"), TAIL), ok, 1, {"text": "x" * 15_000}),
    "tiny-empty-events": (says(SSE, b"data\n\n" * 150_000, GOOD), ok, 1, {}),
    # when to come back
    "retry-after-garbage": (refused(b"", b"Retry-After: soon\r\n"), ok, 2, {}),
    "retry-after-negative": (refused(b"", b"Retry-After: -5\r\n"), ok, 2, {}),
    "retry-after-1e999": (refused(b"", b"Retry-After: 1e999\r\n"), ok, 2, {}),
    "retry-after-nan": (refused(b"", b"Retry-After: NaN\r\nretry-after-ms: inf\r\n"), ok, 2, {}),
    "retry-after-minus-0": (refused(b"", b"Retry-After: -0\r\n"), ok, 2, {}),
    "retry-after-past": (refused(b"", b"Retry-After: Thu, 01 Jan 1970 00:00:00 GMT\r\n"), ok, 2, {}),
    "retry-after-2-to-63": (refused(b"", b"Retry-After: 9223372036854775808\r\n"), ok, 2, {}),
    "retry-after-a-day": (status(429, b"", b"Retry-After: 90000\r\n"), "quota_exhausted", 1, {}),
    "retry-after-far": (status(429, b"", b"Retry-After: Fri, 31 Dec 9999 23:59:59 GMT\r\n"), "quota_exhausted", 1, {}),
    "retry-after-huge": (status(429, b"", b"Retry-After: 31535999\r\n"), "quota_exhausted", 1, {}),
}


# --- the other formats ---


def named(*events):
    """Events of Anthropic's."""
    return b"".join(b"event: %s\ndata: %s\n\n" % (e["type"].encode(), json.dumps(e).encode()) for e in events)


def text_delta(text, index=0):
    return {"type": "content_block_delta", "index": index, "delta": {"type": "text_delta", "text": text}}


BEGIN = {"type": "message_start", "message": {"id": "msg_1", "model": "m", "usage": {"input_tokens": 9, "output_tokens": 1}}}
OPEN = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
END = ({"type": "content_block_stop", "index": 0}, {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 3}},
       {"type": "message_stop"})
CLAUDE = named(BEGIN, OPEN, text_delta("Hello"), *END)


def candidate(text=None, finish=None, usage=True, **more):
    """One event of Gemini's."""
    one = {"content": {"role": "model", "parts": [] if text is None else [{"text": text}]}, **({"finishReason": finish} if finish else {})}
    counts = {"usageMetadata": {"promptTokenCount": 9, "candidatesTokenCount": 3, "totalTokenCount": 12}} if usage else {}
    return event({"candidates": [one], **counts, **more})


GEMINI = candidate("Hello") + candidate(finish="STOP")
EVENTS = b"HTTP/1.1 200 OK\r\nContent-Type: application/vnd.amazon.eventstream\r\nConnection: close\r\n\r\n"


def frame(kind, payload, message=b"event"):
    """One frame of Bedrock's."""
    kinds = b":exception-type" if message == b"exception" else b":event-type"
    headers = b"".join(struct.pack("B", len(n)) + n + b"\7" + struct.pack(">H", len(v)) + v
                       for n, v in ((kinds, kind), (b":content-type", b"application/json"), (b":message-type", message)))
    data = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    prelude = struct.pack(">II", len(headers) + len(data) + 16, len(headers))
    body = prelude + struct.pack(">I", zlib.crc32(prelude)) + headers + data
    return body + struct.pack(">I", zlib.crc32(body))


def delta(text):
    return frame(b"contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": text}, "p": "abcdef"})


STOPPED = frame(b"messageStop", {"stopReason": "end_turn"})
METADATA = frame(b"metadata", {"usage": {"inputTokens": 9, "outputTokens": 3, "totalTokens": 12}})
BEDROCK = delta("Hello") + STOPPED + METADATA

ANTHROPIC_WAYS = {
    "good": (says(SSE, CLAUDE), ok, 1, {"text": "Hello", "input": 9, "output": 3}),
    "endless-pings": (endless(SSE, named({"type": "ping"}) * 2000), BAD, 2, {}),
    "endless-text": (endless(SSE + named(BEGIN, OPEN), named(text_delta("word ")) * 400), BAD, 2, {}),
    "endless-blocks": (endless(SSE + named(BEGIN), named(OPEN, END[0]) * 1000), BAD, 2, {}),
    "endless-calls": (endless(SSE + named(BEGIN), named({**OPEN, "content_block": {"type": "tool_use", "id": "t", "name": "f"}}, END[0]) * 100), BAD, 2, {}),
    "endless-thinking": (endless(SSE + named(BEGIN), named({**OPEN, "content_block": {"type": "redacted_thinking", "data": "x" * 500}}, END[0]) * 100), BAD, 2, {}),
    "pings-for-ever": (endless(SSE, named({"type": "ping"}), 0.1), UNKNOWN, 2, {"hasty": True}),
    "hangs-after-its-end": (then_hang(SSE, CLAUDE), ok, 1, {"hasty": True}),
    "goes-on-after-its-end": (says(SSE, CLAUDE, named(text_delta("more"), {"type": "error", "error": {"type": "api_error"}})), ok, 1, {"text": "Hello"}),
    "delta-of-no-block": (says(SSE, named(BEGIN, text_delta("x"), *END)), BAD, 2, {}),
    "delta-of-another-block": (says(SSE, named(BEGIN, OPEN, text_delta("a"), text_delta("b"), text_delta("x", 7), *END)), BAD, 2, {}),
    "block-of-2-to-63": (says(SSE, named(BEGIN, {**OPEN, "index": 1 << 62}, text_delta("x", 1 << 62), *END)), ok, 1, {"text": "x"}),
    "counts-shrink": (says(SSE, named(BEGIN, OPEN, text_delta("x"), {**END[1], "usage": {"output_tokens": 30}}, *END)), ok, 1, {"output": 30}),
    "counts-negative": (says(SSE, named({**BEGIN, "message": {"usage": {"input_tokens": -9}}}, OPEN, text_delta("x"),
                                        {**END[1], "usage": {"output_tokens": -3}}, END[2])), ok, 1, {"estimated": True}),
    "overloaded-in-200": (says(SSE, named(BEGIN, {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}})), "provider_overloaded", 2, {}),
    "overloaded-page": (status(529, HTML), "provider_overloaded", 2, {}),
    "too-large-page": (status(413, HTML), "provider_too_large", 1, {}),
    "reason-unknown": (says(SSE, named(BEGIN, OPEN, text_delta("x"), {**END[1], "delta": {"stop_reason": "banana"}}, END[2])), ok, 1, {"finish": "banana"}),
    "request-id-of-bytes": (status(500, b'{"type":"error","error":{"type":"api_error","message":"no"}}', b"request-id: \xff\x01\r\n"), "transient", 2, {}),
}
GEMINI_WAYS = {
    "good": (says(SSE, GEMINI), ok, 1, {"text": "Hello", "input": 9, "output": 3}),
    "endless-text": (endless(SSE, candidate("word ") * 400), BAD, 2, {}),
    "endless-calls": (endless(SSE, event({"candidates": [{"content": {"parts": [{"functionCall": {"name": "f", "args": {}}}]}}]}) * 100), BAD, 2, {}),
    "endless-bare-json": (endless(SSE, b'{"candidates": [],\n' * 2000), BAD, 2, {}),
    "endless-signatures": (endless(SSE, event({"candidates": [{"content": {"parts": [{"functionCall": {"name": "f"}, "thoughtSignature": "s" * 900}]}}]}) * 50), BAD, 2, {}),
    "another-candidate": (says(SSE, candidate("Hello"), event({"candidates": [{"index": 1, "content": {"parts": [{"text": "x"}]}}]}), GEMINI), ok, 1, {"text": "HelloHello"}),
    "blocked": (says(SSE, event({"promptFeedback": {"blockReason": "SAFETY"}})), "content_filter", 1, {}),
    "error-in-200": (says(SSE, candidate("x"), event({"error": {"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"}})), "provider_overloaded", 2, {}),
    "error-bare": (says(SSE, candidate("x"), b'{"error": {"code": 500, "message": "no", "status": "INTERNAL"}}\n'), "transient", 2, {}),
    "error-429-in-503": (good_second(status(503, b'[{"error":{"code":429,"message":"Please retry in 0.2s.","status":"RESOURCE_EXHAUSTED"}}]')), None, 0, {"any": True}),
    "no-finish": (says(SSE, candidate("x")), CUT, 2, {}),
    "stop-and-nothing": (says(SSE, candidate(finish="STOP")), BAD, 2, {}),
    "finish-unknown": (says(SSE, candidate("x"), candidate(finish="BANANA")), BAD, 2, {}),
    "counts-of-2-to-63": (says(SSE, candidate("x"), event(b'{"usageMetadata":{"promptTokenCount":9223372036854775808}}'), GEMINI), BAD, 2, {}),
    "nested": (says(SSE, event(NESTED[:10_000]), GEMINI), BAD, 2, {}),
}
BEDROCK_WAYS = {
    "good": (says(EVENTS, BEDROCK), ok, 1, {"text": "Hello", "input": 9, "output": 3}),
    "endless-text": (endless(EVENTS, delta("word ") * 400), BAD, 2, {}),
    "endless-thinking": (endless(EVENTS, frame(b"contentBlockDelta", {"contentBlockIndex": 0, "delta": {"reasoningContent": {"redactedContent": "x" * 900}}}) * 50), BAD, 2, {}),
    "endless-frame": (endless(EVENTS + struct.pack(">II", 0x7fffffff, 64) + struct.pack(">I", zlib.crc32(struct.pack(">II", 0x7fffffff, 64))), b"x" * 65536), BAD, 2, {}),
    "length-of-nothing": (says(EVENTS, struct.pack(">III", 0, 0, zlib.crc32(b"\0" * 8))), BAD, 2, {}),
    "headers-past-the-end": (says(EVENTS, struct.pack(">II", 20, 400) + struct.pack(">I", zlib.crc32(struct.pack(">II", 20, 400))) + b"x" * 8), BAD, 2, {}),
    "sums-wrong": (says(EVENTS, delta("x")[:-1] + b"?", STOPPED, METADATA), BAD, 2, {}),
    "text-instead": (says(EVENTS, b"data: hello\n\n" * 10), BAD, 2, {}),
    "payload-of-garbage": (says(EVENTS, delta("x"), frame(b"contentBlockDelta", b"{{{"), BEDROCK), BAD, 2, {}),
    "payload-nested": (says(EVENTS, frame(b"contentBlockDelta", NESTED[:7_000] + NESTED[-7_000:])), BAD, 2, {}),
    "throttled-inside": (good_second(says(EVENTS, frame(b"throttlingException", {"message": "wait"}, b"exception"))), None, 0, {"any": True}),
    "failed-inside": (says(EVENTS, delta("x"), frame(b"modelStreamErrorException", {"message": "no"}, b"exception")), "transient", 2, {}),
    "no-stop": (says(EVENTS, delta("x"), METADATA), CUT, 2, {}),
    "no-metadata": (says(EVENTS, delta("x"), STOPPED), ok, 1, {"estimated": True}),
    "hangs-after-its-end": (then_hang(EVENTS, BEDROCK), ok, 1, {"hasty": True}),
    "half-a-frame-after-its-end": (says(EVENTS, BEDROCK, delta("x")[:20]), ok, 1, {"text": "Hello"}),
    "call-of-no-block": (says(EVENTS, frame(b"contentBlockDelta", {"contentBlockIndex": 3, "delta": {"toolUse": {"input": "{}"}}}), STOPPED), BAD, 2, {}),
}


def config_of(provider, ways):
    targets = {"good": {"provider": "openai", "base_url": provider.url("good"), "api_key": "k", "model": "m", "price": PRICE, "timeout": PATIENT}}
    for way, (*_, options) in ways.items():
        targets[way] = {"provider": options.get("provider", "openai"), "base_url": provider.url(way), "api_key": "k", "model": "m", "price": PRICE,
                        "timeout": HASTY if options.get("hasty") else PATIENT, "stream": options.get("stream", True), **options.get("target", {})}
    return {**CONFIG, "targets": targets, "routes": {name: {"targets": [name]} for name in targets}}


def status_of(pid, key):
    with open(f"/proc/{pid}/status", encoding="ascii") as lines:
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith(key))


class Others:
    """Jobs of a good provider, one after the other: each ends within a minute, whatever else the worker has to do."""

    def __init__(self, stack):
        self.stack, self.stopping, self.ended, self.failed = stack, threading.Event(), 0, []
        self.thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *exception):
        self.stopping.set()
        self.thread.join(60)

    def _run(self):
        while not self.stopping.is_set():
            try:
                self.stack.wait_for(self.stack.submit("hello", route="good")["id"], limit=60)
            except AssertionError as e:
                self.failed.append(str(e))
            self.ended += 1
            self.stopping.wait(0.1)


def complaint(way, job, tried, made, wanted, calls, options):
    """What is wrong with how a job ended, or None."""
    codes = {a["code"] for a in tried if a["code"] != "provider_rate_limit"}
    estimated = job["usage"]["estimated"]
    paid = job["usage"]["input_tokens"] > 0 and float(job["cost"]["usd"]) > 0
    if job["status"] not in ("succeeded", "failed") or made != len(tried):
        return "ended otherwise, or calls that nobody counted"
    if any(a["http_status"] in (200, None, 0) for a in tried if a["code"] != "network") and not paid:
        return "what may have been billed is neither known nor marked"
    if options.get("any"):
        return None
    if wanted is ok and (job["status"] != "succeeded" or made != calls):
        return "should have succeeded"
    late = {UNKNOWN, CUT} if options.get("hasty") else set()  # which timer is first depends on how slow the machine is
    if wanted is not ok and (job["status"] != "failed" or not codes <= {wanted} | late or job["error"]["code"] not in codes or made != calls):
        return f"should have failed: {wanted}, {calls} calls"
    if wanted is ok and "text" in options and job["result"]["choices"][0]["message"]["content"] != options["text"]:
        return "another text"
    if job["status"] == "succeeded" and tried[-1]["message"]:
        return "a good attempt complains"
    if "finish" in options and job["result"]["choices"][0]["finish_reason"] != options["finish"]:
        return "another finish reason"
    if "estimated" in options and estimated != options["estimated"]:
        return f"estimated is {estimated}"
    if "input" in options and (job["usage"]["input_tokens"], job["usage"]["output_tokens"]) != (options["input"], options["output"]):
        return "other counts"
    return None


def run_ways(make_stack, ways):
    provider = Hostile({**{way: does for way, (does, *_) in ways.items()}, "good": says(SSE, GOOD)})
    try:
        stack = make_stack(simulator=False, config=config_of(provider, ways), env={"ASAN_OPTIONS": "quarantine_size_mb=16:abort_on_error=0"})
        worker = stack.workers[0].pid
        before = status_of(worker, "VmRSS")
        with Others(stack) as others:
            jobs = {way: stack.submit(options.get("prompt", "hello"), route=way)["id"] for way, (*_, options) in ways.items()}
            ended = {way: stack.wait_for(job, ("succeeded", "failed"), limit=90) for way, job in jobs.items()}
        wrong = []
        for way, (_, wanted, calls, options) in ways.items():
            tried = attempts(stack, jobs[way])
            why = complaint(way, ended[way], tried, len(provider.calls[way]), wanted, calls, options)
            if why:
                wrong.append(f"{way}: {why}: {ended[way]['status']} {ended[way]['error']} {ended[way]['usage']} {len(provider.calls[way])} calls "
                             f"{[(a['code'], a['http_status'], a['message']) for a in tried]}")
        assert not wrong, "\n".join(wrong)
        assert stack.workers[0].pid == worker and stack.workers[0].is_running()
        assert not provider.errors and not others.failed, (provider.errors, others.failed)
        grown = status_of(worker, "VmHWM") - before
        assert grown < GROWTH_MAX, f"{grown >> 20} MiB more than at the start"
        assert others.ended > 0
        one_outcome_each(stack)
    finally:
        provider.close()


def test_whatever_a_provider_sends_the_job_ends_by_its_class_and_the_worker_stays_small(make_stack):
    run_ways(make_stack, WAYS)


def test_so_it_is_with_the_other_formats(make_stack):
    formats = {"anthropic": ANTHROPIC_WAYS, "gemini": GEMINI_WAYS, "bedrock": BEDROCK_WAYS}
    run_ways(make_stack, {f"{name}-{way}": (does, wanted, calls, {"provider": name, **options})
                          for name, ways in formats.items() for way, (does, wanted, calls, options) in ways.items()})
