"""Settings: what wins over what, what a value may look like, and that every mistake is one line with the fix."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from glowplug.errors import SettingsError
from glowplug.settings import ALIASES, Settings, is_loopback, settings_file
from glowplug.settings_sources import Secret


def load(env: dict[str, str] | None = None, toml: Path | None = None, **overrides: Any) -> Settings:
    return Settings.load(env or {}, toml, {name.replace("__", "."): value for name, value in overrides.items()})


def refusal(env: dict[str, str] | None = None, toml: Path | None = None, **overrides: Any) -> str:
    with pytest.raises(SettingsError) as caught:
        load(env, toml, **overrides)
    assert "\n" not in caught.value.message
    return caught.value.message


def written(folder: Path, text: str) -> Path:
    path = folder / "glowplug.toml"
    path.write_text(text)
    return path


class TestDefaults:
    def test_a_gateway_listens_on_loopback_and_needs_no_setting(self) -> None:
        settings = load()
        assert (settings.gateway.host, settings.gateway.port) == ("127.0.0.1", 8000)
        assert settings.gateway.token is None
        assert settings.gateway_url == "http://127.0.0.1:8000"

    def test_everything_is_kept_in_the_data_folder(self, tmp_path: Path) -> None:
        settings = load({"GLOWPLUG_DATA": str(tmp_path)})
        assert settings.store_url == f"sqlite:///{tmp_path}/glowplug.db"
        assert settings.artifacts_url == f"file://{tmp_path}/artifacts"
        assert settings.broker_url == "rows"

    def test_deadlines_are_those_of_the_contract(self) -> None:
        settings = load()
        assert settings.worker.startup_timeout_seconds == 900
        assert settings.worker.warm_up_seconds == 60
        assert settings.gateway.lease_seconds == 60
        assert settings.gateway.service_max_age_seconds == 300
        assert settings.gateway.service_probe_seconds == 30
        assert settings.worker.preload is True

    def test_jobs_are_kept_for_a_month_and_uploads_for_a_week(self) -> None:
        kept = load().retention
        assert kept.jobs_seconds == 30 * 86_400
        assert kept.inputs_seconds == 7 * 86_400

    def test_an_upload_may_have_one_gibibyte(self) -> None:
        assert load().gateway.max_upload_bytes == 1 << 30


class TestOrder:
    def test_a_flag_wins_over_the_environment_which_wins_over_the_file(self, tmp_path: Path) -> None:
        toml = written(tmp_path, "[gateway]\nport = 1001\nhost = '::1'\nlease_seconds = 5")
        settings = load({"GLOWPLUG_PORT": "1002", "GLOWPLUG_HOST": "localhost"}, toml, gateway__port=1003)
        assert settings.gateway.port == 1003
        assert settings.gateway.host == "localhost"
        assert settings.gateway.lease_seconds == 5

    def test_a_flag_that_was_not_given_changes_nothing(self) -> None:
        assert load({"GLOWPLUG_PORT": "1002"}, gateway__port=None).gateway.port == 1002

    def test_an_empty_variable_is_one_that_is_not_set(self) -> None:
        settings = load({"BACKEND_URL": "", "GLOWPLUG_PORT": " "})
        assert settings.worker.backend_url is None
        assert settings.gateway.port == 8000

    def test_our_own_name_wins_over_the_contract_s(self) -> None:
        env = {"STARTUP_TIMEOUT": "100", "GLOWPLUG_WORKER_STARTUP_TIMEOUT_SECONDS": "200"}
        assert load(env).worker.startup_timeout_seconds == 200

    def test_settings_cannot_be_changed_afterwards(self) -> None:
        with pytest.raises(AttributeError):
            load().gateway.port = 1  # type: ignore[misc]


class TestNames:
    @pytest.mark.parametrize("variable", sorted(ALIASES))
    def test_every_name_of_the_contract_is_known(self, variable: str) -> None:
        value = {"BACKEND_URL": "http://backend:9000", "MODEL_PRELOAD": "false"}.get(variable, "1")
        assert load({variable: value}) != load()

    def test_the_registry_s_ages_are_milliseconds_as_the_contract_has_them(self) -> None:
        env = {"AI_SERVICE_MAX_AGE": "60000", "AI_SERVICE_HEALTH_CHECK_INTERVAL": "1500"}
        gateway = load(env).gateway
        assert gateway.service_max_age_seconds == 60
        assert gateway.service_probe_seconds == 1.5

    def test_the_gateway_s_variables_go_without_its_name(self) -> None:
        settings = load({"GLOWPLUG_URL": "http://gate:1", "GLOWPLUG_WORKER_PORT": "2"})
        assert settings.gateway_url == "http://gate:1"
        assert settings.worker.port == 2

    @pytest.mark.parametrize(
        ("variable", "meant"),
        [
            ("GLOWPLUG_PROT", "GLOWPLUG_PORT"),
            ("GLOWPLUG_LEASE_SECONDZ", "GLOWPLUG_LEASE_SECONDS"),
            ("GLOWPLUG_WORKER_SLOT", "GLOWPLUG_WORKER_SLOTS"),
        ],
    )
    def test_an_unknown_variable_is_refused_with_what_was_meant(self, variable: str, meant: str) -> None:
        said = refusal({variable: "1"})
        assert variable in said
        assert f"did you mean {meant}?" in said

    def test_variables_of_others_are_none_of_our_business(self) -> None:
        assert load({"PORT": "nonsense", "GLOWPLUGX": "1"}) == load()

    def test_an_unknown_key_of_the_file_is_refused_with_what_was_meant(self, tmp_path: Path) -> None:
        said = refusal(toml=written(tmp_path, "[gateway]\nprot = 1"))
        assert "gateway.prot" in said
        assert "gateway.port" in said

    def test_an_unknown_table_of_the_file_is_refused(self, tmp_path: Path) -> None:
        assert "getaway" in refusal(toml=written(tmp_path, "[getaway]\nport = 1"))

    def test_an_unknown_override_is_refused(self) -> None:
        assert "gateway.prot" in refusal(gateway__prot=1)


class TestValues:
    @pytest.mark.parametrize(
        ("text", "seconds"), [("900", 900), ("2.5", 2.5), ("250ms", 0.25), ("90s", 90), ("15m", 900), ("2h", 7200)]
    )
    def test_a_time_is_seconds_or_carries_its_unit(self, text: str, seconds: float) -> None:
        assert load({"STARTUP_TIMEOUT": text}).worker.startup_timeout_seconds == pytest.approx(seconds)

    @pytest.mark.parametrize(
        ("text", "size"),
        [("1000", 1000), ("1KiB", 1024), ("1.5 MiB", 1_572_864), ("2GB", 2_000_000_000), ("1gib", 1 << 30), ("7B", 7)],
    )
    def test_a_size_is_bytes_or_carries_its_unit(self, text: str, size: int) -> None:
        assert load({"GLOWPLUG_MAX_UPLOAD_BYTES": text}).gateway.max_upload_bytes == size

    @pytest.mark.parametrize(
        ("text", "meant"), [("true", True), ("false", False), ("False", False), ("1", True), ("0", False)]
    )
    def test_a_switch_means_what_it_says(self, text: str, meant: bool) -> None:
        assert load({"MODEL_PRELOAD": text}).worker.preload is meant

    @pytest.mark.parametrize("text", ["maybe", "2", "ja"])
    def test_a_switch_that_says_neither_is_refused(self, text: str) -> None:
        assert "MODEL_PRELOAD" in (said := refusal({"MODEL_PRELOAD": text}))
        assert "true or false" in said

    @pytest.mark.parametrize(
        ("variable", "value", "expected"),
        [
            ("GLOWPLUG_PORT", "99999", "a port"),
            ("GLOWPLUG_PORT", "eighty", "a port"),
            ("GLOWPLUG_LEASE_SECONDS", "soon", "a time"),
            ("GLOWPLUG_LEASE_SECONDS", "-1", "a time"),
            ("GLOWPLUG_MAX_INPUT_BYTES", "much", "a size"),
            ("GLOWPLUG_WORKER_SLOTS", "0", "a whole number from 1"),
            ("GLOWPLUG_WORKER_SLOTS", "1.5", "a whole number from 1"),
            ("GLOWPLUG_LOG_LEVEL", "loud", "one of debug, info, warning, error"),
            ("GLOWPLUG_URL", "localhost:8000", "a URL"),
            ("BACKEND_URL", "ftp://backend", "a URL"),
        ],
    )
    def test_a_wrong_value_is_named_with_its_place_and_what_is_expected(
        self, variable: str, value: str, expected: str
    ) -> None:
        said = refusal({variable: value})
        assert said.startswith(f"{variable}: {value!r} is not ")
        assert expected in said

    def test_a_wrong_value_in_the_file_is_named_with_the_file(self, tmp_path: Path) -> None:
        path = written(tmp_path, "[worker]\npreload = 'maybe'")
        assert str(path) in (said := refusal(toml=path))
        assert "worker.preload" in said

    def test_a_number_in_the_file_is_no_switch(self, tmp_path: Path) -> None:
        assert "true or false" in refusal(toml=written(tmp_path, "[worker]\npreload = 1"))

    def test_a_wrong_flag_is_named_as_a_flag(self) -> None:
        assert refusal(gateway__port=70_000).startswith("--port: 70000")

    def test_what_is_answered_while_models_load_is_425_or_503(self, tmp_path: Path) -> None:
        assert load().not_ready_status == 425
        assert load({"GLOWPLUG_NOT_READY_STATUS": "503"}).not_ready_status == 503
        assert load({}, written(tmp_path, "not_ready_status = 503")).not_ready_status == 503
        with pytest.raises(SettingsError, match="one of 425, 503"):
            load({"GLOWPLUG_NOT_READY_STATUS": "404"})

    def test_a_list_is_written_with_commas_in_the_environment(self) -> None:
        assert load({"GLOWPLUG_ALLOWED_HOSTS": "a.example, b.example,"}).gateway.allowed_hosts == (
            "a.example",
            "b.example",
        )

    def test_a_list_is_a_list_in_the_file(self, tmp_path: Path) -> None:
        assert load(toml=written(tmp_path, "targets = ['a.py', 'digits']")).targets == ("a.py", "digits")

    def test_a_list_of_something_else_is_refused(self, tmp_path: Path) -> None:
        assert "a list of texts" in refusal(toml=written(tmp_path, "targets = [1]"))


class TestFile:
    def test_a_relative_path_belongs_to_the_file_and_not_to_where_one_stands(self, tmp_path: Path) -> None:
        assert load(toml=written(tmp_path, "data = 'here'")).data == tmp_path / "here"

    def test_a_home_folder_is_spelled_out(self, tmp_path: Path) -> None:
        assert load({"GLOWPLUG_DATA": "~/plug"}).data == Path.home() / "plug"
        assert load(toml=written(tmp_path, "data = '~/plug'")).data == Path.home() / "plug"

    def test_a_file_that_is_no_toml_is_named(self, tmp_path: Path) -> None:
        path = written(tmp_path, "[gateway\nport = 1")
        assert refusal(toml=path).startswith(f"{path}: cannot be read as TOML")

    def test_a_file_that_is_no_text_is_named(self, tmp_path: Path) -> None:
        path = tmp_path / "glowplug.toml"
        path.write_bytes(b"\xff\xfe\x00")
        assert str(path) in refusal(toml=path)

    def test_the_file_of_the_folder_is_found(self, tmp_path: Path) -> None:
        assert settings_file({}, tmp_path) is None
        path = written(tmp_path, "")
        assert settings_file({}, tmp_path) == path

    def test_the_environment_may_name_another_file(self, tmp_path: Path) -> None:
        other = tmp_path / "other.toml"
        other.write_text("[gateway]\nport = 1234")
        env = {"GLOWPLUG_CONFIG": str(other)}
        assert settings_file(env, tmp_path) == other
        assert load(env, other).gateway.port == 1234

    def test_a_named_file_that_is_absent_is_an_error(self, tmp_path: Path) -> None:
        with pytest.raises(SettingsError, match="GLOWPLUG_CONFIG: there is no file"):
            settings_file({"GLOWPLUG_CONFIG": str(tmp_path / "absent.toml")}, tmp_path)


class TestSecrets:
    def test_a_token_is_never_shown_by_accident(self) -> None:
        settings = load({"GLOWPLUG_TOKEN": "hunter2"})
        assert "hunter2" not in repr(settings)
        assert "hunter2" not in str(settings.gateway.token)
        assert settings.gateway.token is not None
        assert settings.gateway.token.reveal() == "hunter2"

    def test_a_token_may_come_from_a_file(self, tmp_path: Path) -> None:
        path = tmp_path / "token"
        path.write_text("hunter2\n")
        env = {"GLOWPLUG_TOKEN_FILE": str(path), "GLOWPLUG_WORKER_TOKEN_FILE": str(path)}
        settings = load(env)
        assert [token and token.reveal() for token in (settings.gateway.token, settings.worker.token)] == [
            "hunter2",
            "hunter2",
        ]

    def test_a_token_file_that_cannot_be_read_is_named(self, tmp_path: Path) -> None:
        assert refusal({"GLOWPLUG_TOKEN_FILE": str(tmp_path / "absent")}).startswith("GLOWPLUG_TOKEN_FILE: cannot read")

    def test_an_empty_token_file_is_no_token(self, tmp_path: Path) -> None:
        path = tmp_path / "token"
        path.write_text(" \n")
        assert "is empty" in refusal({"GLOWPLUG_WORKER_TOKEN_FILE": str(path)})

    def test_a_token_in_the_file_must_be_a_text(self, tmp_path: Path) -> None:
        said = refusal(toml=written(tmp_path, "[gateway]\ntoken = 12345"))
        assert "a token is a text" in said
        assert "12345" not in said

    def test_a_setting_that_is_no_secret_has_no_file(self) -> None:
        assert "GLOWPLUG_PORT_FILE" in refusal({"GLOWPLUG_PORT_FILE": "/etc/port"})

    def test_a_secret_hides_itself(self) -> None:
        assert repr(Secret("hunter2")) == "Secret(***)"


class TestOpenGateway:
    @pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.org"])
    def test_other_machines_are_let_in_only_with_a_token(self, host: str) -> None:
        with pytest.raises(SettingsError, match="GLOWPLUG_TOKEN"):
            load({"GLOWPLUG_HOST": host}).refuse_open_gateway()
        load({"GLOWPLUG_HOST": host, "GLOWPLUG_TOKEN": "hunter2"}).refuse_open_gateway()

    @pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "[::1]", "localhost"])
    def test_this_machine_needs_none(self, host: str) -> None:
        load({"GLOWPLUG_HOST": host}).refuse_open_gateway()
        assert is_loopback(host)

    @pytest.mark.parametrize(
        ("host", "url"),
        [("0.0.0.0", "http://127.0.0.1:8000"), ("::1", "http://[::1]:8000"), ("10.0.0.1", "http://10.0.0.1:8000")],
    )
    def test_the_url_is_one_that_can_be_called(self, host: str, url: str) -> None:
        assert load({"GLOWPLUG_HOST": host}).gateway_url == url


class TestOptionsOfModels:
    def test_those_for_all_models_and_those_of_one_may_stand_in_the_file(self, tmp_path: Path) -> None:
        text = "[worker.options]\nthreads = 2\n[options.embeddings]\nsource = 'hub:a/b'\nwarm = true\nscale = 0.5"
        settings = load({}, written(tmp_path, text))
        assert settings.worker.options == {"threads": "2"}
        assert settings.options == {"embeddings": {"source": "hub:a/b", "warm": "true", "scale": "0.5"}}

    def test_they_may_come_from_the_environment(self) -> None:
        env = {"GLOWPLUG_WORKER_OPTIONS": "threads=2, source=s3://a/b?c=d", "GLOWPLUG_OPTIONS": "digits.steps=3"}
        settings = load(env)
        assert settings.worker.options == {"threads": "2", "source": "s3://a/b?c=d"}
        assert settings.options == {"digits": {"steps": "3"}}

    @pytest.mark.parametrize("text", ["threads", "=2", "a=1,b", "a=1,=b"])
    def test_what_is_no_list_of_options_is_refused(self, text: str) -> None:
        assert "options as name=value" in refusal({"GLOWPLUG_WORKER_OPTIONS": text})

    @pytest.mark.parametrize("text", ["steps=3", "digits=3", ".steps=3", "digits.=3"])
    def test_an_option_of_one_model_names_the_model(self, text: str) -> None:
        assert "options as model.name=value" in refusal({"GLOWPLUG_OPTIONS": text})

    @pytest.mark.parametrize("value", ["[1, 2]", "{deep = 1}", "2026-01-01"])
    def test_an_option_is_one_value(self, tmp_path: Path, value: str) -> None:
        assert "worker.options" in refusal({}, written(tmp_path, f"[worker.options]\na = {value}"))

    def test_without_any_there_are_none(self) -> None:
        assert (load().options, load().worker.options) == ({}, {})


class TestWorkersOfThisGateway:
    def test_a_token_that_nobody_set_is_not_handed_on(self, tmp_path: Path) -> None:
        given = load({"GLOWPLUG_DATA": str(tmp_path)}).for_workers("http://127.0.0.1:1", tmp_path / "token", "json")
        assert "GLOWPLUG_WORKER_TOKEN_FILE" not in given

    def test_they_get_the_place_of_their_token_and_never_the_token(self, tmp_path: Path) -> None:
        env = {"GLOWPLUG_DATA": str(tmp_path), "GLOWPLUG_WORKER_TOKEN": "hunter2", "GLOWPLUG_TOKEN": "hunter3"}
        given = load(env).for_workers("http://127.0.0.1:1", tmp_path / "tokens" / "worker", "json")
        assert given["GLOWPLUG_WORKER_TOKEN_FILE"] == str(tmp_path / "tokens" / "worker")
        assert "hunter" not in str(given)

    def test_what_they_get_are_settings_that_they_can_load(self, tmp_path: Path) -> None:
        token = tmp_path / "token"
        token.write_text("hunter2")
        env = {"GLOWPLUG_DATA": str(tmp_path), "GLOWPLUG_LOG_LEVEL": "debug"}
        settings = load(load(env).for_workers("http://127.0.0.1:1", token, "json"))
        assert settings.gateway_url == "http://127.0.0.1:1"
        assert settings.data == tmp_path
        assert settings.log.level == "debug"
        assert settings.log.format == "json"

    def test_they_leave_it_to_the_gateway_to_tell_of_their_models(self, tmp_path: Path) -> None:
        env = {"GLOWPLUG_ALERTS_WEBHOOK_URL": "https://h/hunter2", "GLOWPLUG_ALERTS_WEBHOOK_SECRET": "hunter3"}
        given = load(env).for_workers("http://127.0.0.1:1", tmp_path / "token", "json")
        assert load(given).alerts.enabled is False
        assert "hunter" not in str(given)


def test_urls_that_may_hold_passwords_do_not_show_them(tmp_path: Path) -> None:
    secret = tmp_path / "store"
    secret.write_text("postgresql://ann:hunter2@db/jobs\n")
    settings = Settings.load({"GLOWPLUG_STORE_FILE": str(secret), "GLOWPLUG_BROKER": "amqp://ann:hunter2@mq/"})
    assert (settings.store_url, settings.broker_url) == ("postgresql://ann:hunter2@db/jobs", "amqp://ann:hunter2@mq/")
    assert "hunter2" not in repr(settings)


def test_users_are_tables_whose_token_files_belong_to_the_settings_file(tmp_path: Path) -> None:
    path = tmp_path / "glowplug.toml"
    path.write_text('[users.ann]\ntoken = "t1"\nweight = 2\n[users.bob]\ntoken_file = "bob"\njobs_per_minute = 5\n')
    users = Settings.load({}, path).users
    assert (users["ann"].weight, users["bob"].token_file) == (2.0, tmp_path / "bob")
    assert users["ann"].token is not None
    assert users["ann"].token.reveal() == "t1"
    assert "t1" not in repr(users)


@pytest.mark.parametrize(
    "table", ['token = "hunter2"\nweight = "x"', 'token = "hunter2"\nweight = 0', 'tokn = "hunter2"', "token = 5"]
)
def test_a_wrong_user_is_refused_without_showing_the_token(tmp_path: Path, table: str) -> None:
    path = tmp_path / "glowplug.toml"
    path.write_text(f"[users.ann]\n{table}\n")
    with pytest.raises(SettingsError) as caught:
        Settings.load({}, path)
    assert "hunter2" not in caught.value.message
    assert "users" in caught.value.message


@pytest.mark.parametrize(
    ("environment", "is_on"),
    [
        ({}, False),
        ({"RABBITMQ_HOST": "mq"}, True),
        ({"ENABLE_RABBITMQ": "true"}, True),
        ({"RABBITMQ_HOST": "mq", "ENABLE_RABBITMQ": "false"}, False),
    ],
)
def test_the_message_door_opens_once_there_is_a_host(environment: dict[str, str], is_on: bool) -> None:
    assert Settings.load(environment).rabbitmq.is_on is is_on


def test_the_contracts_names_set_the_message_queues() -> None:
    settings = Settings.load({"TRAIN_REQUEST_QUEUE": "t", "INFER_RESULT_QUEUE": "i", "RABBITMQ_PORT": "5673"}).rabbitmq
    assert (settings.train_request_queue, settings.infer_result_queue, settings.port) == ("t", "i", 5673)
    assert settings.convert_update_queue == "convert_update_q"
