"""The Kubernetes manifests: every probe asks a route that is there, and means what it should."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from tests.examples.programs import ROOT, Program, served
from tests.journeys.system import MODELS, System, free_port, system, until

from glowplug.settings import Settings

FOLDER = ROOT / "deploy" / "kubernetes"
PROBES = ("startupProbe", "livenessProbe", "readinessProbe")
# Routes that follow the models or the store: a process must not be restarted because of them.
FOLLOWS_READINESS = {"/readyz", "/ready", "/startupz", "/api/ready", "/v2/health/ready"}
SECRET = "s" * 32


def manifests(name: str) -> list[dict[str, Any]]:
    return [one for one in yaml.safe_load_all((FOLDER / name).read_text()) if one]


def of_kind(kind: str) -> dict[str, dict[str, Any]]:
    files = sorted(path.name for path in FOLDER.glob("*.yaml"))
    return {one["metadata"]["name"]: one for name in files for one in manifests(name) if one["kind"] == kind}


DEPLOYMENTS = of_kind("Deployment")
SERVICES = of_kind("Service")
each_deployment = pytest.mark.parametrize("name", sorted(DEPLOYMENTS))


def pod(name: str) -> dict[str, Any]:
    spec: dict[str, Any] = DEPLOYMENTS[name]["spec"]["template"]["spec"]
    return spec


def container(name: str) -> dict[str, Any]:
    (only,) = pod(name)["containers"]
    found: dict[str, Any] = only
    return found


def path_of(name: str, probe: str) -> str:
    return str(container(name)[probe]["httpGet"]["path"])


def allowed_seconds(probe: Mapping[str, Any]) -> int:
    """Return how long Kubernetes lets this probe fail."""
    return int(probe["periodSeconds"]) * int(probe["failureThreshold"])


def environment(name: str, **replaced: str) -> dict[str, str]:
    """Return the environment of a container as the pod has it, secrets made up."""
    variables = container(name).get("env", [])
    return {one["name"]: one.get("value", SECRET) for one in variables} | replaced


def flag(name: str, word: str) -> str:
    command = container(name)["command"]
    return str(command[command.index(word) + 1])


def test_there_is_a_deployment_for_each_kind_of_process() -> None:
    assert set(DEPLOYMENTS) == {"voice-backend", "glowplug-gateway", "glowplug-worker"}


@each_deployment
def test_all_three_probes_are_there_and_ask_the_port_that_the_process_listens_on(name: str) -> None:
    (port,) = container(name)["ports"]
    for probe in PROBES:
        assert container(name)[probe]["httpGet"]["port"] == port["name"]
    told = environment(name).get("GLOWPLUG_WORKER_PORT") or flag(name, "--port")
    assert int(told) == port["containerPort"]


@each_deployment
def test_liveness_never_follows_readiness(name: str) -> None:
    assert path_of(name, "livenessProbe") == "/livez"
    assert path_of(name, "livenessProbe") not in FOLLOWS_READINESS
    assert path_of(name, "readinessProbe") == "/readyz"


@each_deployment
def test_a_pod_gets_more_time_to_leave_than_it_takes(name: str) -> None:
    stop = container(name).get("lifecycle", {}).get("preStop", {}).get("exec", {}).get("command", ["sleep", "0"])
    command = container(name)["command"]
    if "--timeout-graceful-shutdown" in command:
        drain = float(flag(name, "--timeout-graceful-shutdown"))
    else:
        drain = Settings.load({}).worker.drain_seconds
    assert pod(name)["terminationGracePeriodSeconds"] > float(stop[1]) + drain


def test_the_start_of_the_app_may_take_as_long_as_a_load_may() -> None:
    worker = Settings.load({}).worker
    probe = container("voice-backend")["startupProbe"]
    assert probe["httpGet"]["path"] == "/startupz"
    assert allowed_seconds(probe) > worker.startup_timeout_seconds + worker.warm_up_seconds


def test_the_start_of_a_worker_is_that_of_its_process_and_its_loads_end_by_themselves() -> None:
    assert path_of("glowplug-worker", "startupProbe") == "/livez"
    assert Settings.load(environment_for_settings("glowplug-worker")).worker.exit_on_load_failure is True


@pytest.mark.parametrize("name", ["voice-backend", "glowplug-worker"])
def test_a_rollout_waits_for_a_whole_load(name: str) -> None:
    worker = Settings.load({}).worker
    assert (
        DEPLOYMENTS[name]["spec"]["progressDeadlineSeconds"] > worker.startup_timeout_seconds + worker.warm_up_seconds
    )


def test_a_dead_process_is_noticed_within_a_minute() -> None:
    assert all(allowed_seconds(container(name)["livenessProbe"]) <= 60 for name in DEPLOYMENTS)


@each_deployment
def test_the_selectors_find_the_pods(name: str) -> None:
    spec = DEPLOYMENTS[name]["spec"]
    assert spec["selector"]["matchLabels"].items() <= spec["template"]["metadata"]["labels"].items()


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_each_service_leads_to_a_named_port_of_pods_that_exist(name: str) -> None:
    selector = SERVICES[name]["spec"]["selector"]
    pods = [one["spec"]["template"] for one in DEPLOYMENTS.values()]
    (found,) = [one for one in pods if selector.items() <= one["metadata"]["labels"].items()]
    (port,) = found["spec"]["containers"][0]["ports"]
    assert [one["targetPort"] for one in SERVICES[name]["spec"]["ports"]] == [port["name"]]


def test_one_service_of_the_app_reaches_pods_that_still_load_and_the_other_does_not() -> None:
    open_ones = {name for name, one in SERVICES.items() if one["spec"].get("publishNotReadyAddresses")}
    assert open_ones == {"voice-backend-progress"}
    assert SERVICES["voice-backend-progress"]["spec"]["selector"] == SERVICES["voice-backend"]["spec"]["selector"]


def test_what_the_overlay_asks_is_led_to_the_open_service() -> None:
    (ingress,) = of_kind("Ingress").values()
    (rule,) = ingress["spec"]["rules"]
    leads = {one["path"]: one["backend"]["service"] for one in rule["http"]["paths"] if one["pathType"] == "Prefix"}
    for path in ("/api/ready", "/glowplug", "/ws/init"):
        assert leads[path]["name"] == "voice-backend-progress"
    assert leads["/"]["name"] == "voice-backend"
    assert all(lead["name"] in SERVICES for lead in leads.values())


def environment_for_settings(name: str) -> dict[str, str]:
    """Return the part of a container's environment that Glowplug reads; fields of the pod stand for themselves."""
    return environment(name, GLOWPLUG_WORKER_HOST="10.0.0.7")


@pytest.mark.parametrize("name", ["glowplug-gateway", "glowplug-worker"])
def test_every_setting_in_a_manifest_exists(name: str) -> None:
    settings = Settings.load(environment_for_settings(name))
    assert settings.log.format == "json"


def test_every_secret_that_is_named_is_made_by_the_command_in_its_file() -> None:
    for path in FOLDER.glob("*.yaml"):
        made = [word for word in shlex.split(path.read_text(), comments=False) if word.startswith("--from-literal=")]
        keys = {word.removeprefix("--from-literal=").partition("=")[0] for word in made}
        asked = {
            one["valueFrom"]["secretKeyRef"]["key"]
            for name in DEPLOYMENTS
            if f"name: {name}\n" in path.read_text()
            for one in container(name).get("env", [])
            if "secretKeyRef" in one.get("valueFrom", {})
        }
        assert asked == keys


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """The app of the manifest, whose chat server cannot be reached."""
    folder = tmp_path_factory.mktemp("app")
    told = environment("voice-backend", OLLAMA_HOST="127.0.0.1:9")
    with served(folder, "voice_backend", "backend:app", environment=told) as program:
        program.wait_answering()
        until(lambda: program.body()["state"] == "ERROR", "the chat is given up", log=program.log)
        yield program


@pytest.mark.parametrize(("probe", "status"), [("livenessProbe", 200), ("readinessProbe", 503), ("startupProbe", 503)])
def test_an_app_whose_load_failed_is_alive_and_not_ready(app: Program, probe: str, status: int) -> None:
    assert app.http.get(path_of("voice-backend", probe)).status_code == status


def test_the_paths_of_the_ingress_are_routes_of_the_app(app: Program) -> None:
    assert app.http.get("/api/ready").status_code == 200
    assert app.http.get("/glowplug/overlay.js").status_code == 200
    assert app.http.get("/").status_code == 200


@pytest.fixture
def plug(tmp_path: Path) -> Iterator[System]:
    with system(tmp_path, GLOWPLUG_TOKEN=SECRET, GLOWPLUG_WORKER_TOKEN=SECRET, GLOWPLUG_LOG_FORMAT="json") as made:
        yield made


def probed(name: str, url: str, probe: str) -> int:
    return httpx.get(url + path_of(name, probe), timeout=5).status_code


def answers(name: str, url: str, probe: str, status: int) -> bool:
    try:
        return probed(name, url, probe) == status
    except httpx.TransportError:
        return False


def test_a_gateway_passes_all_its_probes_without_any_worker(plug: System) -> None:
    plug.gateway()
    for probe in PROBES:
        until(partial(answers, "glowplug-gateway", plug.url, probe, 200), f"{probe} passes", log=plug.log)


def test_a_worker_is_alive_while_its_model_loads_and_ready_afterwards(plug: System) -> None:
    name, port = "glowplug-worker", free_port()
    url = f"http://127.0.0.1:{port}"
    plug.gateway()
    until(lambda: plug.answers("/readyz"), "the gateway is ready", log=plug.log)
    told = {"GLOWPLUG_WORKER_PORT": str(port)}
    plug.start("worker", str(MODELS / "slow_load.py"), "--gateway", plug.url, environment=told)
    until(lambda: answers(name, url, "livenessProbe", 200), "the worker lives", log=plug.log)
    assert probed(name, url, "readinessProbe") == 503
    assert probed(name, url, "startupProbe") == 200
    until(lambda: answers(name, url, "readinessProbe", 200), "the model is ready", log=plug.log)
