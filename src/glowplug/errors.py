"""Every error that Glowplug raises on purpose, drawn once.

GlowplugError
├── UserError                  the caller can mend it                       400
│   ├── InvalidInput           a value is wrong                             422
│   ├── IdempotencyMismatch    same key, other request                      422
│   ├── Unauthorized           no token, or the wrong one                   401
│   ├── Forbidden              not allowed from here                        403
│   ├── NotFound               no such thing                                404
│   │   └── UnknownTask        no model here has that task                  404
│   ├── Conflict               the thing's state does not allow it          409
│   ├── TooLarge               more bytes than the limit                    413
│   ├── UnsupportedMediaType   a body that is not JSON                      415
│   └── SettingsError          a setting, file or flag is wrong             400
│       └── MissingExtra       an optional library is not installed         400
├── NotReady                   come back later                              503
│   ├── LoadFailed             the load ended in an error                   503
│   ├── LoadStalled            the load showed no sign of life              503
│   ├── Unavailable            what it needs is not on this machine         503
│   └── Draining               leaving: takes nothing new                   503
├── RateLimited                the same was asked for a moment ago          429
├── RemoteError                another process or machine let us down       502
│   ├── Unreachable            no answer                                    502
│   ├── DeadlineExceeded       no answer in time                            504
│   ├── ModelCrashed           the model's process died                     502
│   ├── TaskFailed             the model's code raised                      500
│   │   └── OutOfMemory        no room for the call; what it held is freed  500
│   ├── JobFailed              a job ended as failed                        502
│   ├── LeaseLost              somebody else owns the job now               409
│   ├── DiskFull               no room to write                             507
│   └── Corrupt                stored bytes are not what was written        500
└── BugError                   our own mistake                              500

Stop (BaseException)           told to a running task, never an answer
├── Canceled                   somebody asked the job to end
└── Interrupted                the machine is leaving; the job goes on elsewhere
"""

from __future__ import annotations

from typing import Any, ClassVar


class GlowplugError(Exception):
    """Root of the tree: a one-line message that says what to do, and data for machines."""

    code: ClassVar[str] = "error"
    status: ClassVar[int] = 500
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, /, **data: Any) -> None:
        super().__init__(message)
        self.message = message
        self.data = data

    def __reduce__(self) -> tuple[Any, ...]:
        return (_rebuild, (type(self), self.message, self.data))


def _rebuild(kind: type[GlowplugError], message: str, data: dict[str, Any]) -> GlowplugError:
    return kind(message, **data)


class UserError(GlowplugError):
    """The caller sent something that cannot be served; sending it again will not help."""

    code = "bad_request"
    status = 400


class InvalidInput(UserError):
    """A value has the wrong type, range or shape; `data["fields"]` names the places, with a reason or without."""

    code = "invalid_input"
    status = 422


class IdempotencyMismatch(UserError):
    """The idempotency key was used before with another request."""

    code = "idempotency_mismatch"
    status = 422


class Unauthorized(UserError):
    """The token is missing or not the right one."""

    code = "unauthorized"
    status = 401


class Forbidden(UserError):
    """The caller may not do this from where it is."""

    code = "forbidden"
    status = 403


class NotFound(UserError):
    """There is no such job, artifact, model or worker."""

    code = "not_found"
    status = 404


class UnknownTask(NotFound):
    """No model known to this gateway has the task."""

    code = "unknown_task"


class Conflict(UserError):
    """The thing exists, but its state does not allow the request."""

    code = "conflict"
    status = 409


class TooLarge(UserError):
    """More bytes than the limit allows; `data["limit_bytes"]` says which limit."""

    code = "too_large"
    status = 413


class UnsupportedMediaType(UserError):
    """A state-changing route was sent something that is not JSON."""

    code = "unsupported_media_type"
    status = 415


class SettingsError(UserError):
    """A setting, file or flag is wrong; the message names it and the fix."""

    code = "settings"


class MissingExtra(SettingsError):
    """An optional library is absent; the message is the exact install command."""

    code = "missing_extra"

    @classmethod
    def of(cls, extra: str, needed_for: str) -> MissingExtra:
        """Build the error for `extra`, naming what it is needed for."""
        return cls(f"{needed_for} needs an extra: pip install 'glowplug[{extra}]'", extra=extra)


class NotReady(GlowplugError):
    """The model cannot take work yet; `data["retry_after"]` says when to ask again, in seconds."""

    code = "not_ready"
    status = 503
    retryable = True


class LoadFailed(NotReady):
    """The model's load ended in an error and nobody retries it by itself."""

    code = "model_load_failed"
    retryable = False


class LoadStalled(NotReady):
    """The load showed no sign of life for longer than its stall deadline."""

    code = "model_load_stalled"


class Unavailable(NotReady):
    """It cannot exist on this machine; a load raises it with the reason, such as "no microphone"."""

    code = "unavailable"
    retryable = False


class Draining(NotReady):
    """The process is leaving: it finishes what it has and takes nothing new."""

    code = "draining"


class RateLimited(GlowplugError):
    """The same was asked for a moment ago; `data["retry_after"]` says when it may be asked again, in seconds."""

    code = "rate_limited"
    status = 429
    retryable = True


class RemoteError(GlowplugError):
    """Another process or machine let us down."""

    code = "remote_error"
    status = 502
    retryable = True


class Unreachable(RemoteError):
    """The other side did not answer at all."""

    code = "unreachable"


class DeadlineExceeded(RemoteError):
    """The other side did not answer in time."""

    code = "deadline_exceeded"
    status = 504


class ModelCrashed(RemoteError):
    """The model's process died; `data["exit"]` says how."""

    code = "model_crashed"


class TaskFailed(RemoteError):
    """The model's own code raised; `data["error_class"]` names the foreign exception."""

    code = "task_failed"
    status = 500
    retryable = False


class OutOfMemory(TaskFailed):
    """The device or the machine had no room for the call; what it held has been freed, and a smaller one may fit."""

    code = "out_of_memory"


class JobFailed(RemoteError):
    """A job that was waited for ended as failed or canceled; `data["job"]` is its last view."""

    code = "job_failed"
    retryable = False


class LeaseLost(RemoteError):
    """The write carried a token that is no longer the job's: stop, and throw the work away."""

    code = "lease_lost"
    status = 409
    retryable = False


class DiskFull(RemoteError):
    """The disk has no room for the write."""

    code = "disk_full"
    status = 507


class Corrupt(RemoteError):
    """Stored bytes are not what was written: a bad hash, or a damaged database."""

    code = "corrupt"
    status = 500
    retryable = False


class BugError(GlowplugError):
    """Glowplug's own mistake: an impossible state was reached."""

    code = "bug"


class Stop(BaseException):
    """Raised inside a running task; not an `Exception`, so that a model's own handler cannot swallow it."""


class Canceled(Stop):
    """Somebody asked for the job to end."""


class Interrupted(Stop):
    """The machine is leaving: checkpoint and return, the job goes on elsewhere."""


def error_classes() -> dict[str, type[GlowplugError]]:
    """Map each code to its class, for rebuilding an error that crossed a wire.

    A subclass without a code of its own stands behind the class that it has the code from.
    """
    found: dict[str, type[GlowplugError]] = {}
    level: list[type[GlowplugError]] = [GlowplugError]
    while level:
        for kind in level:
            found.setdefault(kind.code, kind)
        level = [below for kind in level for below in kind.__subclasses__()]
    return found
