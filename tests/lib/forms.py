# SPDX-License-Identifier: Apache-2.0
"""Forms as browsers and SDKs send them (RFC 7578), and files made with them.

    answer = upload(stack.http(), b"{}\n", "batch", name="in.jsonl")
"""

BOUNDARY = "----millrace-test-boundary"


def part(name, content, filename=None, content_type=None):
    """One part as bytes, from its boundary's line to the end of its content."""
    content = content.encode() if isinstance(content, str) else content
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"'
    if filename is not None:
        head += f'; filename="{filename}"'
    if content_type:
        head += f"\r\nContent-Type: {content_type}"
    return head.encode() + b"\r\n\r\n" + content + b"\r\n"


def form(*parts):
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


def form_headers(**more):
    return {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}", **more}


def upload(http, content, purpose="user_data", name="data.bin", content_type=None, headers=None, **fields):
    """POST /v1/files; the answer."""
    parts = [part("purpose", purpose)] + [part(key, str(value)) for key, value in fields.items()]
    body = form(*parts, part("file", content, name, content_type))
    return http.post("/v1/files", body, headers=form_headers(**(headers or {})))
