"""Errors in the words of the protocol that a path belongs to."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.gateway.house import House, house, policy

from glowplug.errors import (
    BugError,
    Forbidden,
    GlowplugError,
    InvalidInput,
    LoadFailed,
    NotFound,
    NotReady,
    OutOfMemory,
    RateLimited,
    TaskFailed,
    TooLarge,
    Unauthorized,
    UnknownTask,
    Unreachable,
    error_classes,
)
from glowplug.gateway.dialects import Said, openai_error, said
from glowplug.problem import problem_body

OPENAI = ["/v1/embeddings", "/v1/images/generations", "/v1/audio/speech", "/v1/chat/completions", "/v1/audio/nothing"]
INFERENCE = ["/v2", "/v2/models/x", "/v2/models/x/infer", "/v2/models/x/versions/1/infer", "/v2/nothing"]
OURS = ["/v1/jobs", "/v1/run/x.y", "/v1/models/x/load", "/v1/embeddingsx", "/v10/chat", "/readyz", "/v22", ""]
BOTH = ["/v1/models", "/v1/models/x"]


def told(path: str, error: GlowplugError) -> Said:
    return said(path, problem_body(error))


class TestByPath:
    @pytest.mark.parametrize("path", OPENAI)
    def test_openais_routes_answer_in_openais_shape(self, path: str) -> None:
        answer = told(path, Forbidden("no"))
        assert answer.body == {
            "error": {"message": "no", "type": "permission_error", "param": None, "code": "forbidden"}
        }
        assert (answer.status, answer.media_type) == (403, "application/json")

    @pytest.mark.parametrize("path", INFERENCE)
    def test_those_of_the_inference_protocol_in_its_shape(self, path: str) -> None:
        answer = told(path, Forbidden("no"))
        assert (answer.status, answer.body, answer.media_type) == (403, {"error": "no"}, "application/json")

    @pytest.mark.parametrize("path", OURS)
    def test_all_others_are_problems(self, path: str) -> None:
        error = Forbidden("no")
        answer = told(path, error)
        assert (answer.status, answer.body, answer.media_type) == (403, problem_body(error), "application/problem+json")

    @pytest.mark.parametrize("path", BOTH)
    def test_the_list_of_models_is_ours_and_openais(self, path: str) -> None:
        error = NotFound("no model", model="x")
        answer = told(path, error)
        assert (answer.status, answer.media_type) == (404, "application/problem+json")
        assert answer.body == {**problem_body(error), "error": openai_error(problem_body(error))}

    @pytest.mark.parametrize("path", ["/v2/health/ready", "/v2/models/x/ready"])
    def test_readiness_is_ours_and_the_inference_protocols(self, path: str) -> None:
        error = NotFound("no model")
        answer = told(path, error)
        assert answer.body == {**problem_body(error), "error": "no model"}
        assert answer.media_type == "application/problem+json"

    def test_a_wrong_value_is_400_where_the_protocol_says_so(self) -> None:
        error = InvalidInput("n is wrong")
        statuses = [told(path, error).status for path in ("/v1/embeddings", "/v2/models/x/infer", "/v1/jobs")]
        assert statuses == [400, 400, 422]


class TestOpenAIErrors:
    @pytest.mark.parametrize(
        ("error", "kind", "code"),
        [
            (Unauthorized("x"), "authentication_error", "invalid_api_key"),
            (InvalidInput("x"), "invalid_request_error", "invalid_input"),
            (TooLarge("x"), "invalid_request_error", "too_large"),
            (NotFound("x", model="m"), "invalid_request_error", "model_not_found"),
            (UnknownTask("x"), "invalid_request_error", "model_not_found"),
            (NotFound("x"), "invalid_request_error", "not_found"),
            (RateLimited("x"), "rate_limit_error", "rate_limit_exceeded"),
            (NotReady("x", state="loading"), "server_error", "model_loading"),
            (NotReady("x", state="sleeping"), "server_error", "model_loading"),
            (NotReady("x", state="error"), "server_error", "not_ready"),
            (NotReady("x", state="offline"), "server_error", "not_ready"),
            (NotReady("x"), "server_error", "not_ready"),
            (LoadFailed("x"), "server_error", "model_load_failed"),
            (OutOfMemory("x"), "server_error", "out_of_memory"),
            (BugError("x"), "server_error", "internal_error"),
        ],
    )
    def test_each_has_a_type_and_a_code(self, error: GlowplugError, kind: str, code: str) -> None:
        made = openai_error(problem_body(error))
        assert made == {"message": "x", "type": kind, "param": None, "code": code}

    @pytest.mark.parametrize("kind", sorted(error_classes().values(), key=lambda kind: kind.code))
    def test_every_error_of_ours_has_the_same_shape(self, kind: Any) -> None:
        body = told("/v1/chat/completions", kind("it went wrong")).body["error"]
        assert set(body) == {"message", "type", "param", "code"}
        assert all(isinstance(body[name], str) and body[name] for name in ("message", "type", "code"))

    @pytest.mark.parametrize("fields", [[{"path": "size"}, {"path": "n"}], [{"loc": "size"}], ["size"], [3, "size"]])
    def test_the_first_wrong_field_is_its_param(self, fields: Any) -> None:
        assert openai_error(problem_body(InvalidInput("x", fields=fields)))["param"] == "size"

    @pytest.mark.parametrize("fields", [[], None, "size", 3, [{"path": ""}], [{"path": 3}], [None]])
    def test_fields_of_another_form_are_no_param(self, fields: Any) -> None:
        assert openai_error(problem_body(InvalidInput("x", fields=fields)))["param"] is None

    def test_clients_do_not_repeat_what_is_hopeless(self) -> None:
        assert told("/v1/embeddings", TaskFailed("x")).headers == {"x-should-retry": "false"}
        assert told("/v1/embeddings", LoadFailed("x")).headers == {"x-should-retry": "false"}
        assert told("/v1/embeddings", Unreachable("x")).headers == {}
        assert told("/v1/embeddings", InvalidInput("x")).headers == {}
        assert told("/v1/jobs", TaskFailed("x")).headers == {}


class TestOverHttp:
    @pytest.mark.parametrize(
        ("path", "reads"),
        [
            ("/v1/embeddings", lambda body: body["error"]["code"]),
            ("/v1/models", lambda body: body["error"]["code"] if body["code"] == "unauthorized" else ""),
            ("/v1/jobs", lambda body: {"unauthorized": "invalid_api_key"}[body["code"]]),
            ("/v2/models/x", lambda body: "invalid_api_key" if "token" in body["error"] else ""),
        ],
    )
    async def test_who_has_no_token_is_told_in_the_words_of_the_path(
        self, tmp_path: Any, path: str, reads: Any
    ) -> None:
        async with house(tmp_path, chosen=policy(access={"api_token": "secret"})) as home:
            answer = await home.client.get(path)
            assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
            assert reads(answer.json()) == "invalid_api_key"

    async def test_unknown_paths_and_methods_too(self, home: House) -> None:
        wrong = await home.client.get("/v1/embeddings")
        assert (wrong.status_code, wrong.json()["error"]["code"]) == (405, "method_not_allowed")
        missing = await home.client.post("/v1/audio/translations", json={})
        assert (missing.status_code, missing.json()["error"]["type"]) == (404, "invalid_request_error")
        nowhere = await home.client.get("/v2/repository/index")
        assert (nowhere.status_code, set(nowhere.json())) == (404, {"error"})

    async def test_a_web_page_is_turned_away_in_their_words(self, home: House) -> None:
        headers = {"origin": "https://evil.example"}
        refused = await home.client.post("/v1/embeddings", json={}, headers=headers)
        assert (refused.status_code, refused.json()["error"]["type"]) == (403, "permission_error")

    @pytest.mark.parametrize("path", ["/v1/embeddings", "/v1/chat/completions", "/v1/images/generations"])
    async def test_a_body_that_is_no_json_or_another_shape(self, home: House, path: str) -> None:
        json = {"content-type": "application/json"}
        for content, status in ((b"{", 400), (b"[]", 400), (b'{"model": 3}', 400), (b"", 400)):
            answer = await home.client.post(path, content=content, headers=json)
            assert (answer.status_code, answer.json()["error"]["type"]) == (status, "invalid_request_error")
        form = await home.client.post(path, data={"model": "x"})
        assert (form.status_code, form.json()["error"]["code"]) == (415, "unsupported_media_type")
