"""Two users of one Glowplug: their tokens, their jobs, their turns."""

from __future__ import annotations

from pathlib import Path

import httpx
from tests.journeys.system import MODELS, System, until

USERS = """
[gateway]
token = "the-operator"

[users.ann]
token = "anns-token"
jobs_per_minute = 5

[users.bob]
token_file = "bob.token"
"""


def client(plug: System, token: str) -> httpx.Client:
    return httpx.Client(base_url=plug.url, headers={"authorization": f"Bearer {token}"}, timeout=30)


def say(http: httpx.Client, text: str) -> httpx.Response:
    return http.post("/v1/jobs", json={"task": "echo.say", "input": {"text": text}})


def test_two_users_have_jobs_turns_and_limits_of_their_own(plug: System, tmp_path: Path) -> None:
    (tmp_path / "glowplug.toml").write_text(USERS)
    (tmp_path / "bob.token").write_text("bobs-token\n")
    plug.environment |= {"GLOWPLUG_CONFIG": str(tmp_path / "glowplug.toml")}
    plug.gateway()
    until(lambda: plug.answers("/livez"), "the gateway answers", log=plug.log)
    with client(plug, "anns-token") as ann, client(plug, "bobs-token") as bob, client(plug, "the-operator") as operator:
        until(lambda: operator.get("/v1/tasks").is_success, "the gateway is open", log=plug.log)
        assert plug.http.get("/v1/jobs").status_code == 401
        assert ann.post("/api/warmup").status_code == 403
        # Once its tasks are known the worker leaves, so that all the work waits when the first of it is taken.
        worker = plug.worker(MODELS / "echo.py")
        until(lambda: "echo.say" in operator.get("/v1/tasks").text, "the task is known", log=plug.log)
        worker.terminate()
        worker.wait(30)

        for number in range(30):
            assert say(bob, f"bob {number}").status_code == 202
        anns = say(ann, "ann").json()
        assert anns["owner"] == "ann"
        assert bob.get(f"/v1/jobs/{anns['id']}").status_code == 404
        assert bob.post(f"/v1/jobs/{anns['id']}/cancel").status_code == 404
        assert {job["owner"] for job in bob.get("/v1/jobs?limit=100").json()["jobs"]} == {"bob"}
        assert len(operator.get("/v1/jobs?limit=100").json()["jobs"]) == 31

        plug.worker(MODELS / "echo.py")
        ended = "/v1/jobs?state=completed&limit=100"
        until(lambda: len(operator.get(ended).json()["jobs"]) == 31, "all are completed", log=plug.log)
        views = operator.get(ended).json()["jobs"]
        order = [view["id"] for view in sorted(views, key=lambda view: view["started_at"])]
        assert order.index(anns["id"]) < 10

        for _ in range(4):
            assert say(ann, "more").status_code == 202
        refused = say(ann, "too much")
        assert refused.status_code == 429
        assert 0 < int(refused.headers["retry-after"]) <= 60
    assert "anns-token" not in plug.log()
