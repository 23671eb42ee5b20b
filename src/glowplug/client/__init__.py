"""Talking to a gateway from Python: `Client` waits, `AsyncClient` awaits; both do the same."""

from glowplug.client.async_client import AsyncClient
from glowplug.client.blocking import Client
from glowplug.client.problems import RetryPolicy
from glowplug.client.views import (
    ArtifactView,
    BatchView,
    DeliveryView,
    EventView,
    JobPage,
    JobTimes,
    JobView,
    JobWebhook,
    ModelView,
    ProgressView,
    ReadyView,
    RedrivenView,
    Result,
    TaskView,
    WarmUpView,
)

__all__ = [
    "ArtifactView",
    "AsyncClient",
    "BatchView",
    "Client",
    "DeliveryView",
    "EventView",
    "JobPage",
    "JobTimes",
    "JobView",
    "JobWebhook",
    "ModelView",
    "ProgressView",
    "ReadyView",
    "RedrivenView",
    "Result",
    "RetryPolicy",
    "TaskView",
    "WarmUpView",
]
