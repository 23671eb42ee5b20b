"""Who is told when readiness changes: nobody, or the webhook that the settings name."""

from __future__ import annotations

from glowplug.clock import Clock
from glowplug.doors.webhook import Webhook
from glowplug.lifecycle import Startable
from glowplug.readiness import Feed
from glowplug.settings import Settings
from glowplug.web.alerts import Alerts


def alerts_of(settings: Settings, feed: Feed, clock: Clock, instance: str) -> tuple[Startable, ...]:
    """Return what tells of the changes of `feed`, in the order in which it is started; nothing without a webhook.

    Raises `SettingsError` for a URL or a secret that is none.
    """
    wanted = settings.alerts
    if wanted.webhook_url is None or not wanted.enabled:
        return ()
    secret = wanted.webhook_secret.reveal() if wanted.webhook_secret else ""
    webhook = Webhook(wanted.webhook_url.reveal(), secret, clock=clock)
    return webhook, Alerts(feed, webhook.send, clock, instance)
