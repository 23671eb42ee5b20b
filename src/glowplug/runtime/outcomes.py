"""From how a call ended to what the gateway is told of the attempt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from glowplug.artifact import Artifact
from glowplug.errors import GlowplugError, NotReady, TaskFailed, UserError
from glowplug.job import Failure, Outcome, OutcomeKind
from glowplug.problem import told_data
from glowplug.process.call import CallEnd


def failure_of(error: GlowplugError) -> Failure:
    """Tell why an attempt failed: an error of the caller's is final, any other is worth another try."""
    details = {key: value for key, value in told_data(error).items() if key != "retryable"}
    code = str(details.get("error_class", error.code)) if isinstance(error, TaskFailed) else error.code
    retryable = bool(error.data.get("retryable", not isinstance(error, UserError)))
    return Failure(code, error.message, retryable, details)


def failed(error: GlowplugError) -> Outcome:
    """Return the end of an attempt that `error` ended; a model that was not ready never had the job."""
    if isinstance(error, NotReady):
        return Outcome(OutcomeKind.INTERRUPTED, failure=failure_of(error))
    return Outcome(OutcomeKind.FAILED, failure=failure_of(error))


def outcome_of(end: CallEnd, stored: Mapping[str, Artifact], chunks: Sequence[bytes] | None = None) -> Outcome:
    """Return the end of an attempt whose files are stored; a task that streams results in the list of its values."""
    if end.kind is OutcomeKind.FAILED:
        return failed(end.error or TaskFailed("the task failed and did not say why"))
    if end.kind is not OutcomeKind.COMPLETED:
        return Outcome(end.kind, failure=failure_of(end.error) if end.error else None)
    output_json = b"[" + b",".join(chunks) + b"]" if chunks is not None else end.output_json
    try:
        result = msgspec.json.decode(output_json)
    except msgspec.DecodeError as error:
        return failed(TaskFailed(f"the result is not JSON: {error}", retryable=False))
    artifacts = tuple(stored.get(artifact.key, artifact) for artifact in end.artifacts)
    return Outcome(OutcomeKind.COMPLETED, result=result, artifacts=artifacts)
