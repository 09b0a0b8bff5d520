# SPDX-License-Identifier: Apache-2.0
"""Models are the routes and targets of the configuration, in OpenAI's form and in Anthropic's."""

import os

import pytest

TARGET = {"provider": "openai", "model": "m", "api_key": "x"}
CONFIG = {"targets": {"openai/gpt": TARGET, "claude": {"provider": "anthropic", "model": "c", "api_key": "x"}},
          "routes": {"default": {"targets": ["openai/gpt", "claude"]}, "claude": {"targets": ["claude"]}}}


@pytest.fixture
def api(make_stack):
    return make_stack(workers=0, simulator=False, config=CONFIG)


def test_models_are_what_a_request_may_name(api):
    models = api.http().get("/v1/models").json
    assert models["object"] == "list"
    assert {m["id"]: m["owned_by"] for m in models["data"]} == {"default": "millrace", "claude": "millrace", "openai/gpt": "openai"}
    assert len(models["data"]) == 3 and {m["object"] for m in models["data"]} == {"model"}
    written = int(os.stat(api.apis[0].config_path).st_mtime)
    assert {m["created"] for m in models["data"]} == {written}


def test_one_model_by_its_name_with_slashes(api):
    assert api.http().get("/v1/models/openai/gpt").json["owned_by"] == "openai"
    assert api.http().get("/v1/models/default").json["id"] == "default"
    missing = api.http().get("/v1/models/nothing")
    assert missing.status == 404 and missing.json["error"]["type"] == "invalid_request_error" and "nothing" in missing.json["error"]["message"]


def test_a_bare_model_is_one_where_all_are_allowed(make_stack):
    api = make_stack(workers=0, simulator=False, config={**CONFIG, "models": {"*": {"provider": "openai", "base_url": "http://127.0.0.1:1/v1"}}})
    assert api.http().get("/v1/models/whatever-7").json["id"] == "whatever-7"


def test_anthropics_clients_get_their_form(api):
    models = api.http().get("/v1/models", headers={"anthropic-version": "2023-06-01"}).json
    assert models["has_more"] is False and models["first_id"] == models["data"][0]["id"] and models["last_id"] == models["data"][-1]["id"]
    assert all(set(m) == {"type", "id", "display_name", "created_at"} for m in models["data"])


def test_models_need_a_key(api):
    bare = api.http()
    bare.key = None
    answer = bare.get("/v1/models")
    assert answer.status == 401 and answer.json["error"]["code"] == "invalid_api_key"
