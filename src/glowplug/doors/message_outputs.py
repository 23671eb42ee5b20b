"""Where a request by message wants the files of its job: pure functions.

What a job has made lies in its own folder; a backend looks for it where it asked: below `output.prefix`, a model under
`output.model_name`, everything else under its own name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from glowplug.artifact import SCHEME
from glowplug.doors.message_requests import Kind
from glowplug.job import Job, JobEvent


def wanted_places(kind: Kind, job: Job, event: JobEvent) -> dict[str, str]:
    """Return the keys of what a completed job has made, each with the key that the caller wants it under."""
    output = job.input.get("output")
    prefix = output.get("prefix") if isinstance(output, Mapping) else None
    if event.type != "completed" or not isinstance(output, Mapping) or not isinstance(prefix, str) or not prefix:
        return {}
    folder, result = prefix.removesuffix("/"), event.data.get("result")
    if kind is Kind.INFER:
        return {key: f"{folder}/{key.rpartition('/')[2]}" for key in _own(job, _outputs(result))}
    name = output.get("model_name")
    model = result if isinstance(result, str) else result.get("model_path") if isinstance(result, Mapping) else None
    if model is None and job.artifacts:
        model = job.artifacts[0].uri
    return {key: f"{folder}/{name or key.rpartition('/')[2]}" for key in _own(job, [model])}


def _outputs(result: Any) -> list[Any]:
    items = result.get("results") if isinstance(result, Mapping) else result
    return [item.get("output") for item in items if isinstance(item, Mapping)] if isinstance(items, list) else []


def _own(job: Job, values: list[Any]) -> Iterator[str]:
    """Yield the keys of the job's own files: a task could name others, which are not its caller's to have copied."""
    own = {artifact.key for artifact in job.artifacts}
    for value in values:
        if isinstance(value, str) and value.removeprefix(SCHEME) in own:
            yield value.removeprefix(SCHEME)
