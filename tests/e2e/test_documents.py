# SPDX-License-Identifier: Apache-2.0
"""A document reaches every provider as it was sent, byte for byte; one that no target of the route can take is refused at the door."""

import base64
import hashlib
import random

import pytest

PDF = b"%PDF-1.7\n" + random.Random(8).randbytes(200_000)
FORMATS = {"openai": "/v1", "anthropic": "/v1", "gemini": "/v1beta", "bedrock": ""}


def pdf_part(name="contract.pdf"):
    return {"type": "file", "file": {"filename": name, "file_data": "data:application/pdf;base64," + base64.b64encode(PDF).decode()}}


def audio_part():
    return {"type": "input_audio", "input_audio": {"data": base64.b64encode(b"RIFF" + bytes(100)).decode(), "format": "wav"}}


def asking(*parts):
    return {"messages": [{"role": "user", "content": [{"type": "text", "text": "What is in it?"}, *parts]}], "max_tokens": 50}


@pytest.fixture
def formats(make_stack):
    """A route of each provider's format, and some of providers that take less; `both` has one that takes PDFs and one that does not."""
    stack = make_stack(start=False)
    base = stack.simulator.base_url.removesuffix("/v1")
    targets = {name: {"provider": name, "base_url": base + path, "model": f"{name}.model", "api_key": "k"} for name, path in FORMATS.items()}
    targets["bedrock"]["region"] = "us-east-1"
    targets["groq"] = {"provider": "groq", "base_url": stack.simulator.base_url, "model": "groq.model", "api_key": "k"}
    for process in stack.apis + stack.workers:
        process.config["targets"] = targets
        process.config["routes"] = {**{name: {"targets": [name]} for name in targets}, "both": {"targets": ["groq", "anthropic"]}}
    return stack.start()


def calls_of(stack, model):
    return [c for c in stack.simulator.http().get("/_control/calls").json["calls"] if c["model"] == model]


def test_a_pdf_arrives_byte_for_byte_at_every_provider(formats):
    jobs = {name: formats.submit(asking(pdf_part()), route=name)["id"] for name in FORMATS}
    formats.wait_for_all(jobs.values())
    wanted = [{"type": "application/pdf", "bytes": len(PDF), "sha256": hashlib.sha256(PDF).hexdigest()}]
    got = {name: [c["files"] for c in calls_of(formats, f"{name}.model")] for name in FORMATS}
    assert got == {name: [wanted] for name in FORMATS}


@pytest.mark.parametrize("route, part, word", [("anthropic", audio_part(), "audio"), ("groq", pdf_part(), "PDF files")])
def test_what_no_target_takes_is_refused_at_the_door_by_its_place(formats, route, part, word):
    answer = formats.http().post("/v1/jobs", formats.body(asking(part), route=route))
    assert answer.status == 422, answer
    problem = answer.json
    assert problem["code"] == "unsupported" and problem["param"] == "/request/messages/0/content/1", problem
    assert problem["detail"] == f"no target of route {route} takes {word}"
    assert calls_of(formats, f"{route}.model") == []


def test_a_target_that_cannot_take_it_is_left_out_where_another_one_can(formats):
    job = formats.wait_for(formats.submit(asking(pdf_part()), route="both")["id"])
    assert (job["served_by"]["target"], job["attempts"]) == ("anthropic", 1)
    assert calls_of(formats, "groq.model") == [] and calls_of(formats, "anthropic.model")[0]["files"][0]["bytes"] == len(PDF)
