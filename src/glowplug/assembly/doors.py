"""Which doors a gateway has: webhooks always, the others once a setting says where they lead."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import quote

from glowplug.assembly.adapters import extra
from glowplug.clock import Clock
from glowplug.door import Door
from glowplug.readiness import Feed
from glowplug.settings import Settings, is_loopback
from glowplug.settings_doors import EventSettings, MqttSettings, RabbitSettings


def open_doors(settings: Settings, clock: Clock, readiness: Callable[[], Feed] | None = None) -> list[Door]:
    """Return the doors that the settings ask for; `readiness` finds the feed of all workers once there is one.

    Raises `SettingsError`, `MissingExtra`.
    """
    doors = [job_webhooks(settings, clock)]
    if settings.rabbitmq.is_on:
        doors.append(message_door(settings.rabbitmq, clock, production=settings.production))
    if settings.mqtt.url is not None:
        doors.append(mqtt_door(settings.mqtt, clock, settings.gateway_url, readiness))
    if settings.events.url is not None:
        doors.append(event_exchange(settings.events, clock, settings.gateway_url))
    return doors


def mqtt_door(wanted: MqttSettings, clock: Clock, source: str, readiness: Callable[[], Feed] | None) -> Door:
    """Return the door to an MQTT broker."""
    with extra("mqtt", "the door to MQTT"):
        from glowplug.doors.mqtt import MqttDoor, MqttOptions
    url = wanted.url.reveal() if wanted.url else ""
    options = MqttOptions.from_url(
        url, ca_file=wanted.ca_file, prefix=wanted.prefix, source=source, readiness=readiness
    )
    options.check()
    return MqttDoor(options, clock=clock)


def event_exchange(wanted: EventSettings, clock: Clock, source: str) -> Door:
    """Return the door to a RabbitMQ that hears of every job."""
    with extra("amqp", "the event exchange"):
        from glowplug.doors.event_exchange import EventExchange
    url = wanted.url.reveal() if wanted.url else ""
    return EventExchange(url, wanted.exchange, clock=clock, source=source)


def job_webhooks(settings: Settings, clock: Clock) -> Door:
    """Return the door to the URLs that callers name with their jobs."""
    from glowplug.doors.job_webhook import JobWebhookOptions, JobWebhooks

    wanted, base = settings.webhooks, settings.gateway_url
    # Who can only be called from this machine has nobody to protect from it.
    private = is_loopback(settings.gateway.host) if wanted.allow_private is None else wanted.allow_private
    options = JobWebhookOptions(
        secret=wanted.secret.reveal() if wanted.secret else "",
        allow_private=private,
        artifact_url=lambda key: f"{base}/v1/artifacts/{quote(key)}",
    )
    return JobWebhooks(options, clock=clock)


def message_door(wanted: RabbitSettings, clock: Clock, *, production: bool) -> Door:
    """Return the door to backends that speak RabbitMQ."""
    with extra("amqp", "the door to RabbitMQ"):
        from glowplug.doors.message_intake import KindOptions
        from glowplug.doors.rabbitmq import RabbitDoor, RabbitDoorOptions
        from glowplug.drivers.amqp import AmqpAddress
    address = AmqpAddress(
        host=wanted.host or "localhost",
        port=wanted.port or (5671 if wanted.ssl else 5672),
        user=wanted.user,
        password=wanted.password.reveal() if wanted.password else "guest",
        vhost=wanted.vhost,
        ssl=wanted.ssl,
        ca_file=wanted.ca_file,
    )
    options = RabbitDoorOptions(
        address=address,
        train=KindOptions(
            task=wanted.train_task,
            request_queue=wanted.train_request_queue,
            update_queue=wanted.train_update_queue,
            result_queue=wanted.train_result_queue,
        ),
        convert=KindOptions(
            task=wanted.convert_task,
            request_queue=wanted.convert_request_queue,
            update_queue=wanted.convert_update_queue,
            result_queue=wanted.convert_result_queue,
        ),
        infer=KindOptions(
            task=wanted.infer_task,
            request_queue=wanted.infer_request_queue,
            update_queue=wanted.infer_update_queue,
            result_queue=wanted.infer_result_queue,
        ),
        production=production,
    )
    options.check()
    return RabbitDoor(options, clock=clock)
