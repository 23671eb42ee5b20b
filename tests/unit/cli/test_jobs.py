"""`glowplug jobs` and `glowplug models`: what there is."""

from __future__ import annotations

import pytest
from tests.journeys.system import free_port, until
from tests.unit.cli.commands import Command
from tests.unit.client.play import Play

from glowplug.cli.jobs import _reason
from glowplug.client import Client

pytestmark = pytest.mark.usefixtures("play")


def job(glowplug: Command, *words: str) -> str:
    """Run a job to its end and return its id."""
    done = glowplug("run", *words, "--json")
    if done.code == 0:
        return str(done.json["job"])
    return str(glowplug("jobs", "ls", "--json").json["jobs"][0]["id"])


def test_jobs_are_a_plain_table_when_piped(glowplug: Command) -> None:
    first, second = job(glowplug, "play.echo", "text=a"), job(glowplug, "play.fail")
    head, *rows = glowplug("jobs", "ls").rows
    assert head == ["JOB", "TASK", "STATE", "PROGRESS", "ATTEMPT", "CREATED"]
    assert [row[:3] for row in rows] == [[second, "play.fail", "failed"], [first, "play.echo", "completed"]]


def test_jobs_can_be_narrowed(glowplug: Command) -> None:
    job(glowplug, "play.echo", "text=a")
    job(glowplug, "play.fail")
    assert [row[1] for row in glowplug("jobs", "ls", "--state", "failed").rows[1:]] == ["play.fail"]
    assert [row[1] for row in glowplug("jobs", "ls", "--task", "play.echo").rows[1:]] == ["play.echo"]
    assert len(glowplug("jobs", "ls", "--limit", "1").rows) == 2


def test_no_jobs_is_a_table_without_rows(glowplug: Command) -> None:
    assert len(glowplug("jobs", "ls").rows) == 1
    assert glowplug("jobs", "ls", "--json").json == {"jobs": [], "next_cursor": None}


def test_a_state_that_there_is_not_is_a_usage_error(glowplug: Command) -> None:
    done = glowplug("jobs", "ls", "--state", "lost")
    assert done.code == 2
    assert "queued" in done.error


def test_one_job_is_shown_with_its_attempts_result_and_files(glowplug: Command) -> None:
    done = glowplug("jobs", "show", job(glowplug, "play.picture"))
    assert "state     completed" in done.out
    assert "attempt 1 on w1: completed" in done.out
    assert "picture-0.png (15 bytes)" in done.out
    assert done.out.splitlines()[-1].startswith('["artifact:')


def test_a_failed_job_is_shown_with_its_reason(glowplug: Command) -> None:
    assert "error     ValueError: it did not work" in glowplug("jobs", "show", job(glowplug, "play.fail")).out


def test_a_webhook_that_is_not_reached_is_shown_with_its_reason(glowplug: Command, play: Play) -> None:
    with Client(play.url) as client:
        made = client.submit("play.echo", {"text": "a"}, webhook=f"http://127.0.0.1:{free_port()}/")
        until(lambda: any(one.error for one in client.deliveries(made)), "the webhook is tried")
    shown = glowplug("jobs", "show", made.id).out
    assert "webhook   tried again at " in shown
    assert "cannot be reached" in shown


def test_what_a_job_printed_is_printed(glowplug: Command) -> None:
    job_id = job(glowplug, "play.steps", "count=2")
    assert glowplug("jobs", "logs", job_id).out == "did 1\ndid 2\n"
    assert glowplug("jobs", "logs", job_id, "--json").json == {"job": job_id, "lines": ["did 1", "did 2"]}


def test_a_job_that_printed_nothing_prints_nothing(glowplug: Command) -> None:
    assert glowplug("jobs", "logs", job(glowplug, "play.echo", "text=a")).out == ""


def test_a_running_job_is_asked_to_stop(glowplug: Command, play: Play) -> None:
    job_id = glowplug("run", "play.hold", "--async").out.strip()
    done = glowplug("jobs", "cancel", job_id)
    assert done.code == 0
    assert job_id in done.out
    play.release()


def test_an_ended_job_cannot_be_stopped(glowplug: Command) -> None:
    done = glowplug("jobs", "cancel", job(glowplug, "play.echo", "text=a"))
    assert done.code == 2
    assert "already completed" in done.error


def test_a_failed_job_is_sent_again(glowplug: Command) -> None:
    job_id = job(glowplug, "play.fail")
    assert glowplug("jobs", "retry", job_id, "--json").json["id"] == job_id
    assert glowplug("jobs", "retry", job(glowplug, "play.echo", "text=a")).code == 2


@pytest.mark.parametrize("verb", ["show", "logs", "cancel", "retry"])
def test_a_job_that_is_not_there_is_a_usage_error(glowplug: Command, verb: str) -> None:
    done = glowplug("jobs", verb, "nowhere")
    assert done.code == 2
    assert "nowhere" in done.error


def test_models_are_a_table_of_all_workers(glowplug: Command) -> None:
    head, row = glowplug("models").rows
    assert head == ["MODEL", "VERSION", "STATE", "WORKERS", "TASKS"]
    assert row[:4] == ["play", "3", "ready", "1"]
    assert "play.echo" in row[4]


def test_one_model_is_shown_with_its_tasks_and_their_parameters(glowplug: Command) -> None:
    done = glowplug("models", "play")
    assert done.out.startswith("play 3 is ready\n")
    assert "play.echo  Play echo" in done.out
    assert "  text=string  required" in done.out
    assert "  times=integer  default 1" in done.out
    assert "  file=@FILE  required" in done.out


def test_a_model_that_could_not_be_loaded_is_shown_with_the_reason(glowplug: Command, play: Play) -> None:
    play.broken()
    assert glowplug("models", "play").out.startswith("play 3 is not ready: no weights\n")


def test_models_come_as_json_too(glowplug: Command) -> None:
    (model,) = glowplug("models", "--json").json
    assert (model["name"], model["ready"]) == ("play", True)
    said = glowplug("models", "play", "--json").json
    assert {task["name"] for task in said["tasks"]} == set(model["tasks"])


def test_a_model_that_is_not_there_is_a_usage_error(glowplug: Command) -> None:
    done = glowplug("models", "nobody")
    assert done.code == 2
    assert "play" in done.error


def test_failed_jobs_are_sent_again_together(glowplug: Command) -> None:
    job_id = job(glowplug, "play.fail")
    assert glowplug("jobs", "redrive", "--error-code", "Other").out == "0 jobs are queued again\n"
    assert glowplug("jobs", "redrive", "--failed-before", "2020-01-01").out == "0 jobs are queued again\n"
    assert glowplug("jobs", "redrive", "--json").json == {"redriven": [job_id], "more": False}


def test_more_than_were_asked_for_is_said(glowplug: Command) -> None:
    job(glowplug, "play.fail")
    job(glowplug, "play.fail")
    done = glowplug("jobs", "redrive", "--limit", "1")
    assert done.out == "1 job is queued again; more of them match, so ask again\n"


def test_a_job_is_queued_with_a_time_to_give_up(glowplug: Command) -> None:
    job_id = glowplug("jobs", "submit", "play.hold", "--expires-in", "3600", "--priority", "2").out.strip()
    shown = glowplug("jobs", "show", job_id, "--json").json
    assert (shown["priority"], shown["expires_at"] > shown["created_at"]) == (2, True)
    glowplug("jobs", "cancel", job_id)


def test_a_failed_attempt_is_shown_with_its_reason(glowplug: Command) -> None:
    shown = glowplug("jobs", "show", job(glowplug, "play.fail")).out
    assert "attempt 1 on w1: failed after " in shown
    assert "(ValueError: it did not work)" in shown


def test_a_reason_that_begins_with_its_code_is_said_once() -> None:
    assert _reason({"code": "ValueError", "message": "ValueError: no"}) == "ValueError: no"
    assert _reason({"code": "lost", "message": "no lease"}) == "lost: no lease"


def test_jobs_are_listed_by_owner(glowplug: Command) -> None:
    job(glowplug, "play.echo", "text=a")
    assert len(glowplug("jobs", "ls", "--owner", "local").rows) == 2
    assert len(glowplug("jobs", "ls", "--owner", "nobody").rows) == 1
