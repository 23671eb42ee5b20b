"""Settings: frozen values, read once at the edge of a process and handed down in groups.

Order, the later wins: defaults, `glowplug.toml`, the environment, flags. A setting `worker.port` is `port` in the
table `[worker]` of the file and `GLOWPLUG_WORKER_PORT` in the environment; the gateway's go without their group there:
`GLOWPLUG_PORT`. `ALIASES` lists further names. Unknown names are refused. Times are seconds or carry a unit (`900`,
`15m`, `30d`), sizes are bytes or carry one (`1GiB`).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec import Struct

from glowplug.data_folder import default_folder
from glowplug.errors import SettingsError
from glowplug.settings_doors import (
    DOOR_ALIASES,
    EventSettings,
    LimitSettings,
    MqttSettings,
    RabbitSettings,
    UserTables,
    WebhookSettings,
)
from glowplug.settings_sources import (
    CONFIG_VARIABLE,
    Bytes,
    Count,
    Options,
    OptionTables,
    Port,
    Seconds,
    Secret,
    Url,
    read_settings,
)

FILE_NAME = "glowplug.toml"
_DAY_SECONDS = 86_400.0


class GatewaySettings(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The gateway: where it listens, who may call it, and how long it waits for its workers.

    `url` is where others reach it, for clients and workers too; None stands for `http://host:port`. A job whose hint
    a broker has lost is told it again `redispatch_seconds` after the first time. Links to artifacts that need no token
    are signed with `link_secret`, which gateways that share a store share too; None stands for one in the data folder.
    With `direct_links`, bytes go from and to an object store past the gateway. So many conversations are held at once.
    """

    host: str = "127.0.0.1"
    port: Port = 8000
    url: Url | None = None
    token: Secret | None = None
    allowed_hosts: tuple[str, ...] = ()
    max_upload_bytes: Bytes = 1 << 30
    max_input_bytes: Bytes = 256 << 10
    max_conversations: Count = 64
    lease_seconds: Seconds = 60.0
    service_max_age_seconds: Seconds = 300.0
    service_probe_seconds: Seconds = 30.0
    redispatch_seconds: Seconds = 60.0
    link_secret: Secret | None = None
    link_seconds: Seconds = 3600.0
    direct_links: bool = False


class WorkerSettings(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A worker and the model processes behind it. `slots` None leaves the number to the model.

    `device` is auto (the best that is here), cpu, cuda (any card), cuda:1, or mps. Models of one machine share its
    cards: together they take at most `device_memory_bytes` of each, None standing for all there is, and one that is in
    use makes room for others that have work after `device_turn_seconds`.
    Without `preload` a model is only imported until work waits for it. With `exit_on_load_failure` the worker ends when
    its model has failed and will not be tried again. Whoever answers at `backend_url` is told when the model is ready
    or has failed. `max_folder_files` and `max_folder_bytes` bound a folder that a job's input names, `max_url_bytes` a
    file that it names by http address, which leads into a private network only with `allow_private_urls`. `options` go
    to every model that knows them, `model.name` to that model alone; more of one model stand in `Settings.options`.
    """

    host: str = "127.0.0.1"
    port: Port = 0
    instance_id: str | None = None
    token: Secret | None = None
    backend_url: Url | None = None
    device: str = "auto"
    device_memory_bytes: Bytes | None = None
    device_turn_seconds: Seconds = 30.0
    slots: Count | None = None
    preload: bool = True
    reload: bool = False
    exit_on_load_failure: bool = False
    startup_timeout_seconds: Seconds = 900.0
    stall_seconds: Seconds = 300.0
    warm_up_seconds: Seconds = 60.0
    load_attempts: Count = 3
    max_restarts: Count = 5
    cancel_grace_seconds: Seconds = 5.0
    drain_seconds: Seconds = 30.0
    memory_limit_bytes: Bytes | None = None
    max_folder_files: Count = 100_000
    max_folder_bytes: Bytes = 64 << 30
    max_url_bytes: Bytes = 64 << 20
    allow_private_urls: bool = False
    options: Options = msgspec.field(default_factory=dict)


class RetentionSettings(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How long things are kept after their end, and the free disk space below which no work is taken."""

    jobs_seconds: Seconds = 30 * _DAY_SECONDS
    inputs_seconds: Seconds = 7 * _DAY_SECONDS
    orphans_seconds: Seconds = _DAY_SECONDS
    min_free_bytes: Bytes = 512 << 20


class AlertSettings(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Who is told when readiness changes: a URL that takes JSON. It is a secret itself, as such addresses often are.

    `webhook_secret` signs what is sent (`whsec_` and base64; several with spaces between them). A gateway tells of its
    models for its local workers too, which therefore have this switched off.
    """

    enabled: bool = True
    webhook_url: Secret | None = None
    webhook_secret: Secret | None = None


class LogSettings(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is logged and how; `auto` is `pretty` on a terminal and `logfmt` otherwise."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "pretty", "logfmt", "json"] = "auto"


class Settings(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Everything that can be set. `store`, `broker` and `artifacts` are URLs; None stands for the data folder.

    URLs with a password in them are secrets. `options` are for models, by the name of their module, file or class.
    `not_ready_status` is what `/api/v1/admin/ready` answers while models load; probes always say 503. In `production`
    what is only warned of elsewhere is refused, such as the default login of a server on another machine.
    """

    data: Path = msgspec.field(default_factory=lambda: default_folder("data"))
    cache: Path = msgspec.field(default_factory=lambda: default_folder("cache"))
    store: Secret | None = None
    broker: Secret | None = None
    artifacts: str | None = None
    targets: tuple[str, ...] = ()
    options: OptionTables = msgspec.field(default_factory=dict)
    not_ready_status: Literal[425, 503] = 425
    production: bool = False
    gateway: GatewaySettings = GatewaySettings()
    worker: WorkerSettings = WorkerSettings()
    retention: RetentionSettings = RetentionSettings()
    alerts: AlertSettings = AlertSettings()
    webhooks: WebhookSettings = WebhookSettings()
    rabbitmq: RabbitSettings = RabbitSettings()
    mqtt: MqttSettings = MqttSettings()
    events: EventSettings = EventSettings()
    limits: LimitSettings = LimitSettings()
    users: UserTables = msgspec.field(default_factory=dict)
    log: LogSettings = LogSettings()

    @classmethod
    def load(
        cls, env: Mapping[str, str], toml_path: Path | None = None, overrides: Mapping[str, Any] | None = None
    ) -> Settings:
        """Read the settings from these three sources and nothing else.

        `overrides` maps dotted names to values; None means not given. Raises `SettingsError`, one line with the fix.
        """
        return read_settings(cls, ALIASES, env, toml_path, overrides or {})

    @property
    def store_url(self) -> str:
        """Return the URL of the store."""
        if self.store is not None:
            return self.store.reveal()
        # The only sign that means something in such a URL.
        return f"sqlite:///{self.data / 'glowplug.db'}".replace("%", "%25")

    @property
    def broker_url(self) -> str:
        """Return the URL of the broker; `rows` is the store itself."""
        return "rows" if self.broker is None else self.broker.reveal()

    @property
    def artifacts_url(self) -> str:
        """Return the URL of the artifact store."""
        return self.artifacts or (self.data / "artifacts").absolute().as_uri()

    @property
    def gateway_url(self) -> str:
        """Return the URL at which others reach the gateway."""
        return self.gateway.url.rstrip("/") if self.gateway.url else self.local_url

    @property
    def local_url(self) -> str:
        """Return the URL at which this machine reaches a gateway of these settings, whatever others are told."""
        host = "127.0.0.1" if self.gateway.host in ("0.0.0.0", "::") else self.gateway.host  # noqa: S104 - compared only
        return f"http://{f'[{host}]' if ':' in host else host}:{self.gateway.port}"

    def for_workers(self, url: str, token_path: Path, log_format: str) -> dict[str, str]:
        """Return the environment that makes a local worker agree with this gateway, which answers at `url`.

        A token that nobody set is found in the data folder: it is for this gateway, and not shown to a backend.
        """
        token = {} if self.worker.token is None else {"GLOWPLUG_WORKER_TOKEN_FILE": str(token_path)}
        return token | {
            "GLOWPLUG_URL": url,
            "GLOWPLUG_DATA": str(self.data),
            "GLOWPLUG_CACHE": str(self.cache),
            "GLOWPLUG_ALERTS_ENABLED": "false",
            "GLOWPLUG_LOG_LEVEL": self.log.level,
            "GLOWPLUG_LOG_FORMAT": log_format,
        }

    def refuse_open_gateway(self) -> None:
        """Raise `SettingsError` if the gateway would answer other machines without a token."""
        if self.gateway.token is None and not self.users and not is_loopback(self.gateway.host):
            raise SettingsError(
                f"gateway.host = {self.gateway.host} lets other machines in without a token; "
                "set GLOWPLUG_TOKEN (or GLOWPLUG_TOKEN_FILE), or bind 127.0.0.1"
            )


# Other names in the environment; the unit is what a bare number means there.
ALIASES: Mapping[str, tuple[str, str]] = {
    "BACKEND_URL": ("worker.backend_url", ""),
    "MODEL_PRELOAD": ("worker.preload", ""),
    "STARTUP_TIMEOUT": ("worker.startup_timeout_seconds", ""),
    "EXIT_ON_LOAD_FAILURE": ("worker.exit_on_load_failure", ""),
    "AI_SERVICE_MAX_AGE": ("gateway.service_max_age_seconds", "ms"),
    "AI_SERVICE_HEALTH_CHECK_INTERVAL": ("gateway.service_probe_seconds", "ms"),
    **DOOR_ALIASES,
}


def settings_file(env: Mapping[str, str], folder: Path) -> Path | None:
    """Return the settings file: the one that `GLOWPLUG_CONFIG` names, else `glowplug.toml` in `folder` if it is there.

    Raises:
        SettingsError: the named file does not exist.
    """
    named = env.get(CONFIG_VARIABLE)
    if named:
        if not Path(named).is_file():
            raise SettingsError(f"{CONFIG_VARIABLE}: there is no file {named}; correct the path or unset it")
        return Path(named)
    path = folder / FILE_NAME
    return path if path.is_file() else None


def is_loopback(host: str) -> bool:
    """Say whether an address to bind is reachable from this machine alone."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
