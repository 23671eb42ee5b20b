"""Settings of the doors: the message queues that others speak, MQTT, webhooks; and of the users behind them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from glowplug.settings_sources import Count, Options, Port, Secret


class RabbitSettings(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The door to backends that speak RabbitMQ: where it is, its queues, and the tasks they stand for.

    `enabled` None is true once `host` is set; `port` None is 5672, or 5671 with `ssl`. `ca_file` checks the server
    where the system's own authorities do not know it. What has no password is `guest`.
    """

    enabled: bool | None = None
    host: str | None = None
    port: Port | None = None
    user: str = "guest"
    password: Secret | None = None
    vhost: str = "/"
    ssl: bool = False
    ca_file: Path | None = None
    train_request_queue: str = "train_request_q"
    train_update_queue: str = "train_update_q"
    train_result_queue: str = "train_result_q"
    train_task: str = "detector.train"
    convert_request_queue: str = "convert_request_q"
    convert_update_queue: str = "convert_update_q"
    convert_result_queue: str = "convert_result_q"
    convert_task: str = "detector.convert"
    infer_request_queue: str = "infer_request_q"
    infer_update_queue: str = "infer_update_q"
    infer_result_queue: str = "infer_result_q"
    infer_task: str = "detector.infer"

    @property
    def is_on(self) -> bool:
        """Say whether the door is to be opened."""
        return self.host is not None if self.enabled is None else self.enabled


class MqttSettings(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The MQTT broker that is told of jobs and workers: `mqtt://user:password@host:port`, or `mqtts://`."""

    url: Secret | None = None
    prefix: str = "glowplug"
    ca_file: Path | None = None


class EventSettings(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A RabbitMQ that is told every event of every job, as CloudEvents on the topic exchange `exchange`."""

    url: Secret | None = None
    exchange: str = "glowplug.events"


class WebhookSettings(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Webhooks of jobs. `secret` signs them (`whsec_` and base64; several with spaces between them).

    `allow_private` lets them go to addresses inside the network; None allows it on a gateway that is bound to loopback.
    """

    secret: Secret | None = None
    allow_private: bool | None = None


class UserSettings(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Somebody who may submit jobs and sees their own: one of `token` and `token_file` is needed.

    A user of `weight` 2 gets twice the turns of one of weight 1 while both have jobs waiting.
    """

    token: Secret | None = None
    token_file: Path | None = None
    weight: Annotated[float, Meta(ge=0.01, le=100)] = 1.0
    jobs_per_minute: Count | None = None


UserTables = Annotated[
    dict[str, UserSettings],
    Meta(description="tables [users.NAME] in glowplug.toml, each with token or token_file, weight, jobs_per_minute"),
]


class LimitSettings(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How many jobs a user may submit in a minute: of all tasks, and of single ones (`digits.generate=60`)."""

    jobs_per_minute: Count | None = None
    tasks: Options = msgspec.field(default_factory=dict)


DOOR_ALIASES = {
    "ENABLE_RABBITMQ": ("rabbitmq.enabled", ""),
    "RABBITMQ_HOST": ("rabbitmq.host", ""),
    "RABBITMQ_PORT": ("rabbitmq.port", ""),
    "RABBITMQ_USER": ("rabbitmq.user", ""),
    "RABBITMQ_PASSWORD": ("rabbitmq.password", ""),
    "RABBITMQ_VHOST": ("rabbitmq.vhost", ""),
    "RABBITMQ_SSL": ("rabbitmq.ssl", ""),
    "RABBITMQ_CA_FILE": ("rabbitmq.ca_file", ""),
    "TRAIN_REQUEST_QUEUE": ("rabbitmq.train_request_queue", ""),
    "TRAIN_UPDATE_QUEUE": ("rabbitmq.train_update_queue", ""),
    "TRAIN_RESULT_QUEUE": ("rabbitmq.train_result_queue", ""),
    "CONVERT_REQUEST_QUEUE": ("rabbitmq.convert_request_queue", ""),
    "CONVERT_UPDATE_QUEUE": ("rabbitmq.convert_update_queue", ""),
    "CONVERT_RESULT_QUEUE": ("rabbitmq.convert_result_queue", ""),
    "INFER_REQUEST_QUEUE": ("rabbitmq.infer_request_queue", ""),
    "INFER_UPDATE_QUEUE": ("rabbitmq.infer_update_queue", ""),
    "INFER_RESULT_QUEUE": ("rabbitmq.infer_result_queue", ""),
}
