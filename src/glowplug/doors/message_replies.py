"""What backends are told by message: the bodies that a job's events become. Pure functions.

A training that was resumed or told by another gateway is told the same: what a message needs besides its event comes
from the job's log (`Seen`), never from what this process happens to remember.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from glowplug.artifact import SCHEME
from glowplug.door import plain_timestamp
from glowplug.doors.message_requests import Kind
from glowplug.job import TERMINAL_TYPES, Job, JobEvent

TOLD_TYPES = ("metrics", "progress", *sorted(TERMINAL_TYPES))
METRICS = ("train_loss", "mAP50", "box_loss", "cls_loss", "dfl_loss")
CANCELED = "canceled"
_NOUNS: Mapping[Kind, str] = {Kind.TRAIN: "training", Kind.CONVERT: "conversion", Kind.INFER: "inference"}
_ABOUT_EPOCHS = frozenset({"epoch", "total_epochs"})


@dataclass(frozen=True, slots=True)
class Reply:
    """A message to the caller; a final one goes to the result queue, any other to the update queue."""

    body: Mapping[str, Any]
    final: bool


@dataclass(frozen=True, slots=True)
class Seen:
    """The last that a training reported: its epoch, loss and mAP50, None while nothing was."""

    epoch: int | None = None
    loss: float | None = None
    map50: float | None = None

    @property
    def is_whole(self) -> bool:
        """Say whether an earlier event could add nothing."""
        return None not in (self.epoch, self.loss, self.map50)

    def preceded_by(self, events: Sequence[JobEvent]) -> Seen:
        """Fill what is missing from earlier events, given in order."""
        seen = self
        for event in reversed(events):
            if event.type == "metrics":
                loss = event.data.get("train_loss", event.data.get("loss"))
                seen = replace(
                    seen,
                    epoch=_either(seen.epoch, _whole(event.data.get("epoch"))),
                    loss=_either(seen.loss, loss),
                    map50=_either(seen.map50, event.data.get("mAP50")),
                )
        return seen


def needs_the_past(kind: Kind, event: JobEvent) -> bool:
    """Say whether `reply` wants to know what was seen before the event."""
    return kind is Kind.TRAIN and event.type in TERMINAL_TYPES


def reply(
    kind: Kind, job: Job, event: JobEvent, seen: Seen, placed: Mapping[str, str] = MappingProxyType({})
) -> Reply | None:
    """Return the message that tells an event, None if none does. The caller's name of the job is in its metadata.

    `placed` are the keys of files that lie elsewhere too, by those keys: the caller is told of these.
    """
    if event.type == "metrics":
        made = _epoch_update(kind, job, event)
    elif event.type == "progress":
        made = _progress_update(event)
    elif event.type == "completed":
        made = _completed(kind, job, event, seen, placed)
    elif event.type in TERMINAL_TYPES:
        made = _failed(kind, event, seen)
    else:
        return None
    if made is None:
        return None
    head = {"type": made.pop("type"), "job_id": job.metadata["job_id"], "status": made.pop("status")}
    return Reply({**head, **made, "timestamp": plain_timestamp(event.at)}, event.type in TERMINAL_TYPES)


def _epoch_update(kind: Kind, job: Job, event: JobEvent) -> dict[str, Any] | None:
    epoch = _whole(event.data.get("epoch"))
    if kind is not Kind.TRAIN or epoch is None:
        return None
    total = _whole(event.data.get("total_epochs")) or _whole(job.input.get("hyperparams", {}).get("epochs"))
    return {
        "type": "epoch_update",
        "status": "running",
        "current_epoch": epoch,
        "total_epochs": total,
        "progress": round(min(100.0, 100.0 * epoch / total), 1) if total else None,
        "metrics": {
            **dict.fromkeys(METRICS),
            **{name: value for name, value in event.data.items() if name not in _ABOUT_EPOCHS},
        },
    }


def _progress_update(event: JobEvent) -> dict[str, Any]:
    return {
        "type": "progress_update",
        "status": "running",
        "progress": event.data.get("percent"),
        "message": event.data.get("note") or "",
    }


def _completed(kind: Kind, job: Job, event: JobEvent, seen: Seen, placed: Mapping[str, str]) -> dict[str, Any]:
    result = event.data.get("result")
    made = {"type": f"{_NOUNS[kind]}_completed", "status": "completed", "progress": 100.0}
    about: dict[str, Any]
    match kind:
        case Kind.TRAIN:
            about = {
                "model_path": _model_path(job, result, placed),
                "final_metrics": _final_metrics(job, result, seen),
                "training_time": _seconds(job, result, "training_time"),
            }
        case Kind.CONVERT:
            about = {
                "model_path": _model_path(job, result, placed),
                "conversion_time": _seconds(job, result, "conversion_time"),
            }
        case Kind.INFER:
            about = {
                "results": _results(job, result, placed),
                "inference_time": _seconds(job, result, "inference_time"),
            }
    return {**made, **about}


def _failed(kind: Kind, event: JobEvent, seen: Seen) -> dict[str, Any]:
    said = CANCELED if event.type == "canceled" else str(event.data.get("message") or "the job failed")
    made = {"type": f"{_NOUNS[kind]}_failed", "status": "failed"}
    if kind is not Kind.TRAIN:
        return {**made, "error_message": said}
    partial = {"last_loss": seen.loss, "last_mAP50": seen.map50}
    return {**made, "current_epoch": seen.epoch or 0, "error_message": said, "partial_metrics": partial}


def _final_metrics(job: Job, result: Any, seen: Seen) -> dict[str, Any]:
    asked = job.input.get("hyperparams", {}).get("epochs")
    last = {"final_mAP50": seen.map50, "final_loss": seen.loss, "training_epochs": seen.epoch or asked}
    return {**last, **_mapping(_mapping(result).get("final_metrics"))}


def _model_path(job: Job, result: Any, placed: Mapping[str, str]) -> Any:
    said = result if isinstance(result, str) else _mapping(result).get("model_path")
    if not isinstance(said, str):
        said = job.artifacts[0].key if job.artifacts else None
    return _placed(_key(said), placed)


def _results(job: Job, result: Any, placed: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return what was found in each image, the n-th being of the n-th image asked for unless it names its own."""
    said = result if isinstance(result, list) else _mapping(result).get("results")
    items = _mappings(said)
    images = [*job.input.get("images", ()), *[None] * len(items)]
    return [
        {
            "image": _key(item.get("image", images[number])),
            "detections": [_detection(one) for one in _mappings(item.get("detections"))],
            "output": _placed(_key(item.get("output")), placed),
        }
        for number, item in enumerate(items)
    ]


def _detection(found: Mapping[str, Any]) -> dict[str, Any]:
    return {name: found.get(name) for name in ("label", "confidence", "box")}


def _seconds(job: Job, result: Any, name: str) -> float:
    """Return the time that the task says, else that of its attempts."""
    said = _mapping(result).get(name)
    if isinstance(said, int | float):
        return float(said)
    return round(sum(_lasted(job)), 3)


def _lasted(job: Job) -> Iterable[float]:
    for attempt in job.attempts:
        if attempt.ended_at is not None:
            yield max(0.0, (attempt.ended_at - attempt.started_at).total_seconds())


def _key(value: Any) -> Any:
    return value.removeprefix(SCHEME) if isinstance(value, str) else value


def _placed(key: Any, placed: Mapping[str, str]) -> Any:
    return placed.get(key, key) if isinstance(key, str) else key


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _mappings(value: Any) -> list[Mapping[str, Any]]:
    return [_mapping(item) for item in value] if isinstance(value, list) else []


def _whole(value: Any) -> int | None:
    return int(value) if isinstance(value, int | float) and abs(value) < 2**53 else None


def _either(known: Any, earlier: Any) -> Any:
    return earlier if known is None else known
