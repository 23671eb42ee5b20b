"""What a worker's process is made of, decided before anything runs."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from glowplug.assembly.worker import open_weights, own_scratch, worker_token
from glowplug.assembly.worker_interior import backend_of, direct_policy, identity
from glowplug.boot import bind
from glowplug.data_folder import DataFolder
from glowplug.errors import SettingsError
from glowplug.settings import Settings
from glowplug.supervisor.plan import guessed_name, place_name


def settings(folder: Path, **environment: str) -> Settings:
    return Settings.load(
        {"GLOWPLUG_DATA": str(folder / "data"), "GLOWPLUG_CACHE": str(folder / "cache"), **environment}
    )


class TestWorkerToken:
    def test_it_is_the_one_that_is_set(self, tmp_path: Path) -> None:
        assert worker_token(settings(tmp_path, GLOWPLUG_WORKER_TOKEN="mine")) == "mine"

    def test_else_it_is_the_one_that_the_gateway_made_here(self, tmp_path: Path) -> None:
        folder = DataFolder(tmp_path / "data")
        folder.prepare()
        made = folder.read_worker_token()
        assert worker_token(settings(tmp_path)) == made

    def test_an_empty_file_is_no_token(self, tmp_path: Path) -> None:
        folder = DataFolder(tmp_path / "data")
        folder.prepare()
        folder.worker_token.write_text("\n")
        with pytest.raises(SettingsError, match="GLOWPLUG_WORKER_TOKEN_FILE"):
            worker_token(settings(tmp_path))

    def test_without_one_the_fix_is_said_in_a_line(self, tmp_path: Path) -> None:
        with pytest.raises(SettingsError, match="GLOWPLUG_WORKER_TOKEN_FILE") as caught:
            worker_token(settings(tmp_path))
        assert "\n" not in caught.value.message
        assert str(tmp_path / "data" / "tokens" / "worker") in caught.value.message


class TestNames:
    @pytest.mark.parametrize(
        ("target", "name"),
        [
            ("digits", "digits"),
            ("models/captioner.py", "captioner"),
            ("/abs/My.Model.py", "my.model"),
            ("models/captioner.py:Captioner", "captioner"),
            ("shop.models.captioner", "captioner"),
            ("shop.models:Captioner", "captioner"),
        ],
    )
    def test_a_model_is_called_after_its_class_its_file_or_its_module(self, target: str, name: str) -> None:
        assert guessed_name(target) == name

    @pytest.mark.parametrize(
        ("place", "name"), [("digits", "digits"), ("a/b/net.py", "net"), ("a.b.net", "net"), ("net.py", "net")]
    )
    def test_a_place_has_the_name_of_its_last_part(self, place: str, name: str) -> None:
        assert place_name(place) == name


class TestOwnScratch:
    def ended_pid(self) -> int:
        done = subprocess.Popen([sys.executable, "-c", ""])
        done.wait(20)
        return done.pid

    def test_it_is_named_after_this_process(self, tmp_path: Path) -> None:
        assert own_scratch(tmp_path) == tmp_path / f"worker-{os.getpid()}"

    def test_what_dead_workers_left_goes_and_nothing_else(self, tmp_path: Path) -> None:
        dead, living = tmp_path / f"worker-{self.ended_pid()}", tmp_path / f"worker-{os.getppid()}"
        others = [tmp_path / "worker-mine", tmp_path / "calls", tmp_path / "12345678"]
        for folder in (dead, living, *others):
            (folder / "deep").mkdir(parents=True)
            (folder / "deep" / "file").write_text("x")
        own_scratch(tmp_path)
        assert not dead.exists()
        assert all((folder / "deep" / "file").exists() for folder in (living, *others))

    def test_a_folder_that_is_not_there_yet_holds_nothing_to_remove(self, tmp_path: Path) -> None:
        assert own_scratch(tmp_path / "none").parent == tmp_path / "none"

    def test_a_link_of_a_dead_worker_is_not_followed(self, tmp_path: Path) -> None:
        precious = tmp_path / "precious"
        precious.mkdir()
        (precious / "photo").write_text("x")
        (tmp_path / f"worker-{self.ended_pid()}").symlink_to(precious)
        own_scratch(tmp_path)
        assert (precious / "photo").exists()


class TestBackend:
    def token_shown(self, made: Settings) -> str | None:
        backend = backend_of(made, "the-token")
        assert backend is not None
        return backend._token

    def test_without_a_url_nobody_is_told(self, tmp_path: Path) -> None:
        assert backend_of(settings(tmp_path), "the-token") is None

    def test_a_token_that_was_made_here_is_not_shown_to_strangers(self, tmp_path: Path) -> None:
        assert self.token_shown(settings(tmp_path, BACKEND_URL="http://backend:3001")) is None

    def test_a_token_that_was_set_is_shown(self, tmp_path: Path) -> None:
        made = settings(tmp_path, BACKEND_URL="http://backend:3001", GLOWPLUG_WORKER_TOKEN="the-token")
        assert self.token_shown(made) == "the-token"

    def test_the_gateway_itself_is_no_stranger(self, tmp_path: Path) -> None:
        made = settings(tmp_path, BACKEND_URL="http://gate:8000/", GLOWPLUG_URL="http://gate:8000")
        assert self.token_shown(made) == "the-token"


class TestDirectCalls:
    def test_on_loopback_everybody_may_call(self, tmp_path: Path) -> None:
        assert direct_policy(settings(tmp_path), "t").admission.token is None

    def test_elsewhere_the_worker_token_is_asked_for(self, tmp_path: Path) -> None:
        assert direct_policy(settings(tmp_path, GLOWPLUG_WORKER_HOST="0.0.0.0"), "t").admission.token == "t"


class TestIdentity:
    def of(self, made: Settings, host: str) -> str | None:
        listener = bind(host, 0)
        try:
            who = identity(made, listener)
            assert who.url is not None
            return who.url.removesuffix(f":{listener.getsockname()[1]}")
        finally:
            listener.close()

    def test_it_is_the_one_that_is_set_else_the_machine_and_the_process(self, tmp_path: Path) -> None:
        listener = bind("127.0.0.1", 0)
        try:
            assert identity(settings(tmp_path, GLOWPLUG_WORKER_INSTANCE_ID="gpu-7"), listener).instance_id == "gpu-7"
            own = identity(settings(tmp_path), listener)
            assert own.instance_id == f"{socket.gethostname()}-{os.getpid()}"
            assert (own.host, own.pid) == (socket.gethostname(), os.getpid())
        finally:
            listener.close()

    def test_each_start_is_another_incarnation(self, tmp_path: Path) -> None:
        listener = bind("127.0.0.1", 0)
        try:
            assert len({identity(settings(tmp_path), listener).incarnation for _ in range(5)}) == 5
        finally:
            listener.close()

    def test_its_url_is_one_that_can_be_called(self, tmp_path: Path) -> None:
        assert self.of(settings(tmp_path), "127.0.0.1") == "http://127.0.0.1"
        assert self.of(settings(tmp_path), "0.0.0.0") == f"http://{socket.gethostname()}"

    def test_an_address_of_the_longer_kind_stands_in_brackets(self, tmp_path: Path) -> None:
        class Listener:
            def getsockname(self) -> tuple[str, int, int, int]:
                return ("fd00::1", 7, 0, 0)

        assert identity(settings(tmp_path), Listener()).url == "http://[fd00::1]:7"  # type: ignore[arg-type]


def test_weights_in_object_storage_are_opened_by_address() -> None:
    store, key = open_weights("s3://models/captioner/v1")
    assert key.endswith("v1")
    assert store is not None
