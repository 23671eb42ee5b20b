"""Users over HTTP: each has a token, sees their own jobs, and takes turns with the others."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.unit.gateway.house import ECHO_OF_FILES, WORKER_TOKEN, House, house, policy

from glowplug.artifact import Artifact
from glowplug.gateway.policy import User
from glowplug.job import STRIDE

ANN, BOB = User(name="ann", token="a-token", weight=2.0), User(name="bob", token="b-token")
SAY = {"task": "echo.say", "input": {"text": "hello"}}


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


A, B, OPERATOR = bearer("a-token"), bearer("b-token"), bearer("the-operator")


@pytest.fixture
async def shared(tmp_path: Path) -> AsyncIterator[House]:
    """Yield a gateway with two users and an operator."""
    access = {"users": (ANN, BOB), "api_token": "the-operator", "link_secret": "links"}
    async with house(tmp_path, chosen=policy(access=access)) as made:
        await made.worker().register(models=(ECHO_OF_FILES,))
        yield made


async def status(home: House, method: str, path: str, headers: dict[str, str], **more: Any) -> int:
    return (await home.client.request(method, path, headers=headers, **more)).status_code


async def chunks() -> AsyncIterator[bytes]:
    yield b"bytes"


class TestOwnership:
    async def test_a_job_is_its_users_and_costs_by_the_users_weight(self, shared: House) -> None:
        anns, bobs = await shared.submit(headers=A), await shared.submit(headers=B)
        assert (anns["owner"], bobs["owner"]) == ("ann", "bob")
        assert [(await shared.store.job(one["id"])).stride for one in (anns, bobs)] == [STRIDE // 2, STRIDE]
        operators = await shared.submit(headers=OPERATOR)
        assert operators["owner"] == "local"

    async def test_everything_about_anothers_job_is_not_found(self, shared: House) -> None:
        job = await shared.submit(headers=A)
        own = f"/v1/jobs/{job['id']}"
        reads = ["", "/events", "/logs", "/deliveries"]
        writes = ["/cancel", "/retry", "/deliveries/webhook/retry"]
        for path in reads:
            assert await status(shared, "GET", own + path, B) == 404, path
        for path in writes:
            assert await status(shared, "POST", own + path, B) == 404, path
        assert (await shared.store.job(job["id"])).state == "queued"
        assert await status(shared, "GET", own, A) == 200
        assert await status(shared, "GET", own, OPERATOR) == 200
        assert await status(shared, "POST", own + "/cancel", A) == 202

    async def test_lists_show_ones_own_and_the_operator_all(self, shared: House) -> None:
        await shared.submit(headers=A)
        await shared.submit(headers=B)

        async def owners(headers: dict[str, str], query: str = "") -> list[str]:
            page = (await shared.client.get(f"/v1/jobs{query}", headers=headers)).json()
            return [job["owner"] for job in page["jobs"]]

        assert await owners(A) == ["ann"]
        assert await owners(A, "?owner=ann") == ["ann"]
        assert sorted(await owners(OPERATOR)) == ["ann", "bob"]
        assert await owners(OPERATOR, "?owner=bob") == ["bob"]
        assert await status(shared, "GET", "/v1/jobs?owner=bob", A) == 403

    async def test_a_batch_is_its_owners(self, shared: House) -> None:
        made = await shared.client.post("/v1/batches", json={"jobs": [SAY, SAY]}, headers=A)
        path = f"/v1/batches/{made.json()['batch_id']}"
        assert {job["owner"] for job in made.json()["jobs"]} == {"ann"}
        assert await status(shared, "GET", path, A) == 200
        assert await status(shared, "GET", path, OPERATOR) == 200
        assert await status(shared, "GET", path, B) == 404

    async def test_two_users_may_have_the_same_idempotency_key(self, shared: House) -> None:
        anns = await shared.submit(headers=A | {"idempotency-key": "k"})
        bobs = await shared.submit(headers=B | {"idempotency-key": "k"})
        again = await shared.submit(headers=A | {"idempotency-key": "k"})
        assert anns["id"] == again["id"] != bobs["id"]


class TestFiles:
    async def finished(self, home: House) -> dict[str, Any]:
        """Return a job of ann's that has an artifact."""
        job = await home.submit(headers=A)
        worker = home.worker()
        grant = await worker.one()
        key = f"jobs/{grant.hold.job_id}/{grant.hold.token}/out.txt"
        path = f"/api/internal/artifacts/{key}"
        saved = await home.client.put(path, content=b"secret", headers=bearer(WORKER_TOKEN))
        assert saved.status_code == 201, saved.text
        said = saved.json()
        artifact = Artifact(**{name: said[name] for name in ("key", "size_bytes", "sha256", "media_type")})
        assert await worker.finish(grant, "done", (artifact,))
        view = (await home.client.get(f"/v1/jobs/{job['id']}", headers=A)).json()
        return dict(view["artifacts"][0])

    async def test_a_jobs_files_are_its_owners(self, shared: House) -> None:
        file = await self.finished(shared)
        bare = f"/v1/artifacts/{file['key']}"
        for method in ("GET", "HEAD"):
            assert await status(shared, method, bare, A) == 200
            assert await status(shared, method, bare, OPERATOR) == 200
            assert await status(shared, method, bare, B) == 404
        assert await status(shared, "DELETE", bare, B) == 404
        assert await status(shared, "DELETE", bare, A) == 409

    async def test_a_signed_link_opens_without_a_token(self, shared: House) -> None:
        file = await self.finished(shared)
        assert "signature=" in file["url"]
        assert await status(shared, "GET", file["url"], {}) == 200
        assert await status(shared, "GET", f"/v1/artifacts/{file['key']}", {}) == 401

    async def test_anothers_file_is_no_input(self, shared: House) -> None:
        file = await self.finished(shared)
        stolen = {"task": "echo.say", "input": {"file": file["uri"]}}
        assert await status(shared, "POST", "/v1/jobs", B, json=stolen) == 422
        assert await status(shared, "POST", "/v1/jobs", A, json=stolen) == 202
        assert await status(shared, "POST", "/v1/run/echo.say", B, json=stolen["input"]) == 422

    async def test_anothers_files_name_is_a_text_like_others(self, shared: House) -> None:
        said = {"text": (await self.finished(shared))["uri"]}
        assert await status(shared, "POST", "/v1/jobs", B, json={"task": "echo.say", "input": said}) == 202
        # As far as a worker that takes direct calls, of which there is none.
        assert await status(shared, "POST", "/v1/run/echo.say", B, json=said) == 503

    async def test_a_folder_is_input_for_who_may_see_all_of_it(self, shared: House) -> None:
        async def answer(who: dict[str, str], folder: str) -> int:
            return await status(shared, "POST", "/v1/jobs", who, json={"task": "echo.say", "input": {"file": folder}})

        file = await self.finished(shared)
        for key in ("datasets/cats/a.png", "inputs/ab12cd/a.png"):
            await shared.artifacts.put(key, chunks())
        of_job = f"artifact:{file['key'].rpartition('/')[0]}/"
        # What is in the bucket beside what is kept here is the operator's, and a listing would tell of others' files.
        for folder in ("artifact:datasets/", "artifact:datasets/cats/", "artifact:inputs/", "artifact:jobs/", of_job):
            assert await answer(OPERATOR, folder) == 202, folder
            assert await answer(A, folder) == 422, folder
            direct = await status(shared, "POST", "/v1/run/echo.say", A, json={"file": folder})
            assert direct == 422, folder
        assert await answer(A, "artifact:inputs/ab12cd/") == 202
        for folder in ("artifact:datasets/dogs/", "artifact:/", "artifact:../", "artifact:inputs//"):
            assert await answer(OPERATOR, folder) == 422, folder

    async def test_what_lies_elsewhere_in_the_bucket_is_the_operators(self, shared: House) -> None:
        await shared.artifacts.put("models/best.onnx", chunks())
        wish = {"task": "echo.say", "input": {"file": "artifact:models/best.onnx"}}
        assert await status(shared, "POST", "/v1/jobs", OPERATOR, json=wish) == 202
        assert await status(shared, "POST", "/v1/jobs", A, json=wish) == 422
        assert await status(shared, "GET", "/v1/artifacts/models/best.onnx", OPERATOR) == 200
        assert await status(shared, "GET", "/v1/artifacts/models/best.onnx", A) == 404
        assert await status(shared, "DELETE", "/v1/artifacts/models/best.onnx", OPERATOR) == 409


class TestReach:
    @pytest.mark.parametrize(
        ("method", "path"),
        [
            ("POST", "/v1/models/echo/load"),
            ("POST", "/api/warmup"),
            ("POST", "/api/ready/retry"),
            ("GET", "/admin"),
            ("GET", "/v1/workers"),
            ("POST", "/api/internal/link/claim"),
        ],
    )
    async def test_what_is_the_operators_is_forbidden_in_words(self, shared: House, method: str, path: str) -> None:
        refused = await shared.client.request(method, path, headers=A)
        assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
        assert "token" in refused.json()["detail"]

    async def test_models_tasks_and_readiness_are_to_be_seen(self, shared: House) -> None:
        for path in (
            "/v1/models",
            "/v1/models/echo",
            "/v1/tasks",
            "/v1/tasks/echo.say",
            "/openapi.json",
        ):
            assert await status(shared, "GET", path, A) == 200, path

    async def test_without_an_operators_token_there_is_no_way_in_without_one(self, tmp_path: Path) -> None:
        async with house(tmp_path, chosen=policy(access={"users": (ANN,)})) as home:
            assert await status(home, "GET", "/v1/jobs", {}) == 401
            assert await status(home, "GET", "/v1/jobs", A) == 200
            assert await status(home, "GET", "/livez", {}) != 401

    async def test_whoever_needs_no_token_on_an_open_path_submits_nothing(self, tmp_path: Path) -> None:
        access = {"users": (ANN,), "open_paths": ("/v1/",)}
        async with house(tmp_path, chosen=policy(access=access)) as home:
            await home.ready_worker()
            assert await status(home, "POST", "/v1/jobs", {}, json=SAY) == 401
            assert (await home.client.get("/v1/jobs")).json()["jobs"] == []
            assert await status(home, "POST", "/v1/jobs", A, json=SAY) == 202


class TestTurns:
    async def test_thirty_jobs_of_one_do_not_hold_up_the_one_of_another(self, shared: House) -> None:
        for _ in range(30):
            await shared.submit(headers=B)
        late = await shared.submit(headers=A)
        worker = await shared.ready_worker()
        first = (await worker.claim(slots=2)).grants
        assert late["id"] in {grant.hold.job_id for grant in first}

    async def test_a_user_of_twice_the_weight_has_twice_the_turns(self, shared: House) -> None:
        for _ in range(6):
            await shared.submit(headers=B)
            await shared.submit(headers=A)
        worker = await shared.ready_worker()
        owners = [grant.owner for grant in (await worker.claim(slots=6)).grants]
        assert (owners.count("ann"), owners.count("bob")) == (4, 2)
