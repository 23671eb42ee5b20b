"""Models, tasks, workers, notices, metrics and the OpenAPI document."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.unit.gateway.house import INPUT_SCHEMA, WORKER_TOKEN, House, house, orders, picture, policy

from glowplug.readiness import Status
from glowplug.store import ModelInfo, TaskInfo

AS_WORKER = {"authorization": f"Bearer {WORKER_TOKEN}"}


async def get(home: House, path: str) -> Any:
    response = await home.client.get(path)
    assert response.status_code == 200, response.text
    return response.json()


class TestModels:
    async def test_a_ready_model_has_every_documented_field(self, home: House) -> None:
        await home.ready_worker()
        told = {"id": "echo", "object": "model", "created": 0, "owned_by": "glowplug", "serves": []}
        assert await get(home, "/v1/models") == {
            "object": "list",
            "data": [told],
            "models": [
                {
                    **told,
                    "name": "echo",
                    "version": "1",
                    "ready": True,
                    "state": "ready",
                    "progress": 100.0,
                    "estimated_seconds": None,
                    "error": None,
                    "workers": ["w1"],
                    "tasks": ["echo.say"],
                }
            ],
        }

    @pytest.mark.parametrize("status", [Status.FETCHING, Status.LOADING, Status.WARMING, Status.SLEEPING])
    async def test_one_that_is_not_says_how_it_stands(self, home: House, status: Status) -> None:
        await home.worker().register(picture(status))
        model = await get(home, "/v1/models/echo")
        assert (model["ready"], model["state"]) == (False, status.value)

    async def test_one_that_failed_says_why(self, home: House) -> None:
        await home.worker().register(picture(Status.ERROR))
        model = await get(home, "/v1/models/echo")
        assert (model["state"], model["error"]) == ("error", "no weights")

    async def test_one_that_no_worker_has_any_more_is_offline(self, home: House) -> None:
        await home.ready_worker()
        await home.gateway.worker_died("w1")
        model = await get(home, "/v1/models/echo")
        assert (model["state"], model["workers"], model["tasks"]) == ("offline", [], ["echo.say"])

    async def test_one_that_has_not_told_its_tasks_is_listed(self, home: House) -> None:
        await home.worker().register(picture(digits=Status.LOADING), models=())
        assert (await get(home, "/v1/models/digits"))["tasks"] == []

    async def test_over_two_workers_the_readier_one_speaks(self, home: House) -> None:
        await home.worker("w1").register(picture(Status.ERROR))
        await home.worker("w2").register(picture(Status.READY))
        model = await get(home, "/v1/models/echo")
        assert (model["state"], model["workers"]) == ("ready", ["w1", "w2"])

    async def test_one_that_does_not_exist(self, home: House) -> None:
        assert (await home.client.get("/v1/models/nope")).status_code == 404
        assert (await home.client.post("/v1/models/nope/load")).status_code == 404


class TestLoading:
    @pytest.mark.parametrize("status", [Status.PENDING, Status.SLEEPING, Status.ERROR])
    async def test_the_workers_that_could_are_ordered_to(self, home: House, status: Status) -> None:
        worker = home.worker()
        await worker.register(picture(status))
        response = await home.client.post("/v1/models/echo/load")
        assert (response.status_code, response.json()["state"]) == (202, status.value)
        assert orders(await worker.claim()) == [("load", "echo")]

    async def test_one_that_is_ready_needs_nothing(self, home: House) -> None:
        worker = await home.ready_worker()
        assert (await home.client.post("/v1/models/echo/load")).status_code == 200
        assert orders(await worker.claim()) == []

    async def test_one_that_loads_already_is_fine(self, home: House) -> None:
        await home.worker().register(picture(Status.LOADING))
        assert (await home.client.post("/v1/models/echo/load")).status_code == 202

    async def test_one_that_nobody_has_cannot_be_loaded(self, home: House) -> None:
        await home.ready_worker()
        await home.gateway.worker_died("w1")
        response = await home.client.post("/v1/models/echo/load")
        assert (response.status_code, response.json()["code"]) == (409, "conflict")


class TestTasks:
    async def test_a_task_has_every_documented_field(self, home: House) -> None:
        await home.ready_worker()
        task = {
            "name": "echo.say",
            "summary": "Say it again",
            "model": "echo",
            "input_schema": INPUT_SCHEMA,
            "output_schema": {"type": "string"},
            "example": {"text": "hello"},
            "batch": 1,
            "streams": False,
            "serves": "",
        }
        assert await get(home, "/v1/tasks") == {"tasks": [task]}
        assert await get(home, "/v1/tasks/echo.say") == task

    async def test_one_that_does_not_exist_is_answered_with_what_was_meant(self, home: House) -> None:
        await home.ready_worker()
        response = await home.client.get("/v1/tasks/echo.sya")
        assert (response.status_code, response.json()["code"]) == (404, "unknown_task")
        assert "echo.say" in response.json()["detail"]

    async def test_one_of_a_model_that_comes_up_for_the_first_time_is_not_known_yet(self, home: House) -> None:
        await home.worker().register(picture(digits=Status.LOADING), models=())
        response = await home.client.get("/v1/tasks/digits.generate")
        assert (response.status_code, response.json()["code"]) == (404, "not_found")


async def test_workers_are_listed(home: House) -> None:
    await home.worker().register(url="http://127.0.0.1:9/")
    assert await get(home, "/v1/workers") == {
        "workers": [
            {
                "instance_id": "w1",
                "status": "ready",
                "last_seen": "2026-01-01T00:00:00Z",
                "url": "http://127.0.0.1:9",
                "models": ["echo"],
                "load_time_seconds": None,
                "error": None,
                "outstanding": 0,
            }
        ]
    }


class TestNotices:
    async def test_a_ready_notice_makes_the_service_known(self, home: House) -> None:
        body = {
            "instance_id": "i-0abc",
            "status": "ready",
            "model_name": "flux",
            "timestamp": 1767225600.5,
            "load_time": 42.5,
            "url": "http://10.0.0.7:8000",
        }
        response = await home.client.post("/api/internal/ai-service-ready", json=body, headers=AS_WORKER)
        assert (response.status_code, response.json()) == (200, {"success": True})
        status = (await home.client.get("/api/internal/ai-services/status", headers=AS_WORKER)).json()
        assert status == {
            "services": [
                {
                    "instanceId": "i-0abc",
                    "status": "ready",
                    "lastSeen": "2026-01-01T00:00:00.000Z",
                    "modelName": "flux",
                    "loadTime": 42.5,
                    "error": None,
                    "url": "http://10.0.0.7:8000",
                }
            ],
            "ready_count": 1,
        }
        assert (await get(home, "/v1/models/flux"))["ready"]

    async def test_an_error_notice_says_why(self, home: House) -> None:
        body = {"instance_id": "i-0abc", "status": "error", "error": "CUDA\nout of memory", "timestamp": 1.0}
        response = await home.client.post("/api/internal/ai-service-error", json=body, headers=AS_WORKER)
        assert response.json() == {"success": True}
        status = (await home.client.get("/api/internal/ai-services/status", headers=AS_WORKER)).json()
        assert (status["services"][0]["error"], status["ready_count"]) == ("CUDA out of memory", 0)

    async def test_fields_of_a_newer_service_are_let_pass(self, home: House) -> None:
        body = {"instance_id": "i-1", "model_name": "m", "gpu": "A10G"}
        response = await home.client.post("/api/internal/ai-service-ready", json=body, headers=AS_WORKER)
        assert response.status_code == 200

    @pytest.mark.parametrize(
        "body",
        [{}, {"instance_id": 7}, {"instance_id": "x", "load_time": "long"}, {"instance_id": "x", "url": "ftp:x"}],
    )
    async def test_a_notice_of_another_shape_is_refused(self, home: House, body: dict[str, Any]) -> None:
        response = await home.client.post("/api/internal/ai-service-ready", json=body, headers=AS_WORKER)
        assert (response.status_code, response.json()["code"]) == (422, "invalid_input")

    async def test_a_restarted_gateway_still_knows_the_service(self, home: House, tmp_path: Path) -> None:
        body = {"instance_id": "i-1", "model_name": "flux"}
        await home.client.post("/api/internal/ai-service-ready", json=body, headers=AS_WORKER)
        async with house(tmp_path, home.clock, store=home.store) as second:
            assert (await get(second, "/v1/models/flux"))["ready"]


class TestMetrics:
    async def test_they_are_served_as_the_roof_writes_them(self, tmp_path: Path) -> None:
        media_type = "text/plain; version=0.0.4; charset=utf-8"
        async with house(tmp_path, metrics=lambda: (b"glowplug_up 1\n", media_type)) as home:
            response = await home.client.get("/metrics")
            assert (response.content, response.headers["content-type"]) == (b"glowplug_up 1\n", media_type)

    async def test_they_need_no_token(self, tmp_path: Path) -> None:
        chosen = policy(access={"api_token": "secret"})
        async with house(tmp_path, chosen=chosen, metrics=lambda: (b"", "text/plain")) as home:
            assert (await home.client.get("/metrics")).status_code == 200

    async def test_nobody_counting_means_no_route(self, home: House) -> None:
        assert (await home.client.get("/metrics")).status_code == 404


class TestTheDocument:
    async def test_every_reference_leads_somewhere(self, home: House) -> None:
        await home.ready_worker()
        document = await get(home, "/openapi.json")
        for reference in references(document):
            assert resolve(document, reference) is not None, reference

    async def test_every_task_is_in_it_with_its_own_schemas(self, home: House) -> None:
        schema = {
            "type": "object",
            "properties": {"box": {"$ref": "#/$defs/Box"}},
            "$defs": {"Box": {"type": "object", "properties": {"inner": {"$ref": "#/$defs/Box"}}}},
        }
        detector = ModelInfo("detect", "1", (TaskInfo("detect.find", "Find things", schema, example={"box": {}}),))
        await home.worker().register(models=(detector,))
        document = await get(home, "/openapi.json")
        operation = document["paths"]["/v1/run/detect.find"]["post"]
        assert operation["summary"] == "Find things"
        assert set(operation["responses"]) == {"200", "202", "default"}
        body = operation["requestBody"]["content"]["application/json"]
        assert body["example"] == {"box": {}}
        found = resolve(document, body["schema"]["$ref"])
        box = resolve(document, found["properties"]["box"]["$ref"])
        assert box["type"] == "object"
        assert all(resolve(document, reference) is not None for reference in references(document))

    async def test_it_names_the_shapes_of_what_is_sent_and_answered(self, home: House) -> None:
        document = await get(home, "/openapi.json")
        submit = document["paths"]["/v1/jobs"]["post"]
        assert submit["requestBody"]["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/Submit"}
        assert submit["responses"]["202"]["content"]["application/json"]["schema"]["$ref"].endswith("/JobView")
        assert submit["responses"]["default"]["content"] == {
            "application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}
        }

    async def test_operations_have_names_of_their_own(self, home: House) -> None:
        await home.ready_worker()
        document = await get(home, "/openapi.json")
        names = [operation["operationId"] for path in document["paths"].values() for operation in path.values()]
        assert len(names) == len(set(names))

    async def test_what_is_for_workers_is_not_in_it(self, home: House) -> None:
        document = await get(home, "/openapi.json")
        assert not [path for path in document["paths"] if "internal" in path]

    async def test_the_page_to_read_it_on_is_there(self, home: House) -> None:
        page = await home.client.get("/docs")
        assert page.status_code == 200
        assert "url: 'openapi.json'" in page.text

    async def test_where_its_script_is_out_of_reach_the_page_says_so(self, home: House) -> None:
        inside = (await home.client.get("/docs")).text.partition('<div id="swagger-ui">')[2].partition("</div>")[0]
        assert '<a href="openapi.json">' in inside

    async def test_whoever_opens_the_address_alone_comes_to_the_page(self, home: House) -> None:
        answer = await home.client.get("/")
        assert (answer.status_code, answer.headers["location"]) == (307, "docs")


def references(value: Any) -> list[str]:
    if isinstance(value, dict):
        own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
        return own + [found for one in value.values() for found in references(one)]
    return [found for one in value for found in references(one)] if isinstance(value, list) else []


def resolve(document: Any, reference: str) -> Any:
    place = document
    for part in reference.removeprefix("#/").split("/"):
        place = place.get(part) if isinstance(place, dict) else None
    return place
