# SPDX-License-Identifier: Apache-2.0
"""Embeddings as OpenAI answers them: numbers or base64, texts or tokens."""

import base64
import json
import struct

import pytest


def embed(stack, **fields):
    return stack.http().post("/v1/embeddings", {"model": "default", **fields})


def floats(text):
    data = base64.b64decode(text)
    return list(struct.unpack(f"<{len(data) // 4}f", data))


def as_float32(numbers):
    return [struct.unpack("<f", struct.pack("<f", n))[0] for n in numbers]


def test_a_text_is_answered_with_its_vector(stack):
    answer = embed(stack, input="a river")
    assert answer.status == 200, answer
    e = answer.json
    assert e["object"] == "list" and e["model"] == "sim-extract" and e["usage"]["prompt_tokens"] == e["usage"]["total_tokens"] > 0
    assert [(d["object"], d["index"]) for d in e["data"]] == [("embedding", 0)]
    assert abs(sum(x * x for x in e["data"][0]["embedding"]) - 1) < 1e-3
    job = stack.get(answer.headers["x-millrace-job-id"])
    assert job["kind"] == "embeddings" and job["status"] == "succeeded" and answer.headers["x-millrace-level"] == "primary"


def test_base64_says_the_same_as_numbers(stack):
    texts = ["a river", "a lake", "the sea"]
    numbers = embed(stack, input=texts, encoding_format="float").json["data"]
    packed = embed(stack, input=texts, encoding_format="base64").json["data"]
    assert [d["index"] for d in packed] == [0, 1, 2] == [d["index"] for d in numbers]
    for number, pack in zip(numbers, packed):
        assert floats(pack["embedding"]) == as_float32(number["embedding"])
    assert len({d["embedding"] for d in packed}) == 3


def test_dimensions_and_tokens_reach_the_provider(stack):
    assert len(embed(stack, input="a river", dimensions=64).json["data"][0]["embedding"]) == 64
    assert len(embed(stack, input=[1, 2, 3]).json["data"]) == 1
    assert len(embed(stack, input=[[1, 2], [3]]).json["data"]) == 2
    bodies = [json.loads(r[0]) for r in stack.sql("select body from payload order by job_id")]
    assert [b["request"] for b in bodies] == [{"input": "a river", "dimensions": 64}, {"input": [1, 2, 3]}, {"input": [[1, 2], [3]]}]


@pytest.mark.parametrize("fields, code, param", [
    ({}, "missing_field", "input"),
    ({"input": ""}, "out_of_range", "input"),
    ({"input": []}, "out_of_range", "input"),
    ({"input": ["a", ""]}, "out_of_range", "input[1]"),
    ({"input": ["a", 1]}, "wrong_type", "input[1]"),
    ({"input": [[1], "a"]}, "wrong_type", "input[1]"),
    ({"input": ["a"] * 2049}, "out_of_range", "input"),
    ({"input": "a", "encoding_format": "hex"}, "out_of_range", "encoding_format"),
    ({"input": "a", "dimensions": "many"}, "wrong_type", "dimensions"),
    ({"input": "a", "stream": True}, "unsupported_value", "stream"),
])
def test_a_mistake_is_refused_by_its_name(make_stack, fields, code, param):
    answer = embed(make_stack(workers=0), **fields)
    assert answer.status == 400 and (answer.json["error"]["code"], answer.json["error"]["param"]) == (code, param), answer
