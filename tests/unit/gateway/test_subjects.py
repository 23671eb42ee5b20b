"""Who may ask for what, and whose jobs they see."""

from __future__ import annotations

from dataclasses import replace

import pytest
from starlette.requests import Request

from glowplug.clock import ManualClock
from glowplug.errors import Forbidden, NotFound
from glowplug.gateway.policy import Access, User
from glowplug.gateway.subjects import (
    NOBODY,
    Subject,
    check_reach,
    job_for,
    remember,
    subject_of,
    subject_of_token,
)
from glowplug.job import JobRequest
from glowplug.lifecycle import running
from glowplug.stores.memory import MemoryStore

ANN, BOB = User(name="ann", token="a-token"), User(name="bob", token="b-token")
ALL = Access(worker_token="w", api_token="the-operator", users=(ANN, BOB), loopback=False)
OPERATOR = Subject("local", sees_all=True)


class TestTokens:
    @pytest.mark.parametrize(
        ("token", "subject"),
        [("a-token", Subject("ann")), ("b-token", Subject("bob")), ("the-operator", OPERATOR)],
    )
    def test_each_token_is_somebodys(self, token: str, subject: Subject) -> None:
        assert subject_of_token(ALL, token, "local") == subject

    @pytest.mark.parametrize("token", ["", "a-toke", "a-token2", "w", "é"])
    def test_any_other_is_nobodys(self, token: str) -> None:
        assert subject_of_token(ALL, token, "local") is None

    def test_no_token_is_in_any_text_made_of_them(self) -> None:
        secrets = ("the-operator", "a-token", "the-workers")
        assert not any(secret in repr(replace(ALL, worker_token="the-workers")) for secret in secrets)

    def test_where_none_is_needed_everybody_is_the_operator(self) -> None:
        assert subject_of_token(Access(worker_token="w"), "anything", "local") == OPERATOR

    def test_users_alone_make_a_token_needed(self) -> None:
        access = Access(worker_token="w", users=(ANN,))
        assert access.needs_token
        assert subject_of_token(access, "", "local") is None
        assert subject_of_token(access, "a-token", "local") == Subject("ann")

    def test_a_user_with_an_empty_token_lets_nobody_in(self) -> None:
        assert subject_of_token(Access(worker_token="w", users=(User(name="x", token=""),)), "", "local") is None

    def test_a_token_is_never_shown(self) -> None:
        assert "a-token" not in repr(ALL)


class TestReach:
    @pytest.mark.parametrize(
        ("method", "path"),
        [
            ("GET", "/v1/jobs"),
            ("POST", "/v1/jobs"),
            ("POST", "/v1/jobs/redrive"),
            ("POST", "/v1/jobs/1/cancel"),
            ("POST", "/v1/batches"),
            ("PUT", "/v1/artifacts/cat.png"),
            ("POST", "/v1/uploads"),
            ("POST", "/v1/run/echo.say"),
            ("GET", "/v1/models"),
            ("GET", "/v1/models/echo"),
            ("GET", "/v1/tasks/echo.say"),
            ("POST", "/v1/embeddings"),
            ("POST", "/v1/images/edits"),
            ("POST", "/v1/audio/speech"),
            ("POST", "/v1/chat/completions"),
            ("GET", "/v2"),
            ("GET", "/v2/models/echo.say"),
            ("POST", "/v2/models/echo/infer"),
            ("POST", "/v2/models/echo/versions/1/infer"),
        ],
    )
    def test_users_have_jobs_and_files(self, method: str, path: str) -> None:
        check_reach(Subject("ann"), method, path)

    @pytest.mark.parametrize(
        ("method", "path"),
        [
            ("POST", "/v1/models/echo/load"),
            ("POST", "/api/warmup"),
            ("POST", "/api/ready/retry"),
            ("POST", "/api/ready/retry/echo"),
            ("GET", "/admin"),
            ("GET", "/v1/workers"),
            ("GET", "/v1/jobsx"),
            ("GET", "/anything/new"),
            ("WEBSOCKET", "/v1/models/echo"),
        ],
    )
    def test_the_rest_is_the_operators(self, method: str, path: str) -> None:
        with pytest.raises(Forbidden, match="operator's token"):
            check_reach(Subject("ann"), method, path)
        check_reach(OPERATOR, method, path)


class TestSight:
    async def test_a_job_of_somebody_else_is_not_there(self) -> None:
        store = MemoryStore(clock=ManualClock())
        async with running([store]):
            (made,) = await store.submit([JobRequest(task="echo.say", input={}, owner="ann")])
            assert (await job_for(store, Subject("ann"), made.job.id)).id == made.job.id
            assert (await job_for(store, OPERATOR, made.job.id)).id == made.job.id
            with pytest.raises(NotFound) as hidden:
                await job_for(store, Subject("bob"), made.job.id)
            with pytest.raises(NotFound) as missing:
                await job_for(store, Subject("bob"), "0" * 24)
        assert hidden.value.message.replace(made.job.id, "0" * 24) == missing.value.message
        assert hidden.value.data == missing.value.data

    def test_lists_are_of_ones_own(self) -> None:
        assert Subject("ann").owner_asked(None) == "ann"
        assert Subject("ann").owner_asked("ann") == "ann"
        assert OPERATOR.owner_asked(None) is None
        assert OPERATOR.owner_asked("ann") == "ann"
        with pytest.raises(Forbidden):
            Subject("ann").owner_asked("bob")

    def test_who_did_not_pass_the_guard_is_nobody(self) -> None:
        scope = {"type": "http", "headers": []}
        assert subject_of(Request(scope)) == NOBODY
        remember(scope, OPERATOR)
        assert subject_of(Request(scope)) == OPERATOR
