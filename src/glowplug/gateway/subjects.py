"""Subjects: who a request comes from, what it may reach, and whose jobs it sees. Decided here and nowhere else."""

from __future__ import annotations

import hmac
import re
from dataclasses import dataclass

from starlette.requests import HTTPConnection
from starlette.types import Scope

from glowplug.errors import Forbidden, NotFound
from glowplug.gateway.policy import Access
from glowplug.job import Job
from glowplug.store import Store

SCOPE_KEY = "glowplug.subject"
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_OF_USERS = re.compile(
    r"/v1/(?:jobs|batches|artifacts|uploads|run|embeddings|images|audio|chat)(?:/.*)?|/v2/models/.+/infer"
    r"|/ws/(?:conversation|test|jobs/[^/]+)",
    re.DOTALL,
)
_READ_BY_USERS = re.compile(r"/v1/(?:models|tasks)(?:/.*)?|/v2(?:/models/.*)?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Subject:
    """Who asks: their jobs are `owner`'s. One that `sees_all` is the operator, or a door on the operator's behalf."""

    owner: str
    sees_all: bool = False

    def sees(self, job: Job) -> bool:
        """Say whether the job is there for this subject."""
        return self.sees_all or job.owner == self.owner

    def owner_asked(self, asked: str | None) -> str | None:
        """Return whose jobs a list shows, None for everybody's. Raises `Forbidden` for those of somebody else."""
        if self.sees_all:
            return asked
        if asked not in (None, self.owner):
            raise Forbidden("a user's token shows that user's jobs alone; leave the owner out")
        return self.owner


# Who has shown no token where none is needed: there, nothing belongs to anybody.
NOBODY = Subject("")


def subject_of_token(access: Access, token: str, operator: str) -> Subject | None:
    """Return who has this token, the operator where none is needed, and None for a wrong one.

    Every token is compared, so that the time tells nothing of which is near.
    """
    if not access.needs_token:
        return Subject(operator, sees_all=True)
    given = token.encode()
    known = [Subject(user.name) for user in access.users if hmac.compare_digest(given, user.token.encode())]
    if access.api_token and hmac.compare_digest(given, access.api_token.encode()):
        return Subject(operator, sees_all=True)
    return known[0] if known and token else None


def check_reach(subject: Subject, method: str, path: str) -> None:
    """Return if the subject may ask for `path`; users have jobs and files, and the rest is the operator's.

    Raises:
        Forbidden: it takes the operator's token.
    """
    if subject.sees_all or _OF_USERS.fullmatch(path):
        return
    if method in SAFE_METHODS and _READ_BY_USERS.fullmatch(path):
        return
    raise Forbidden("a user's token is for jobs and files; this takes the operator's token (GLOWPLUG_TOKEN)")


def remember(scope: Scope, subject: Subject) -> None:
    """Write down who asks, for the routes."""
    scope[SCOPE_KEY] = subject


def subject_of(request: HTTPConnection) -> Subject:
    """Return who asks; whoever did not pass the guard is nobody."""
    subject = request.scope.get(SCOPE_KEY, NOBODY)
    assert isinstance(subject, Subject)
    return subject


async def job_for(store: Store, subject: Subject, job_id: str) -> Job:
    """Return a job that the subject sees. Raises `NotFound` for one of somebody else as if there were none."""
    job = await store.job(job_id)
    if not subject.sees(job):
        raise NotFound(f"no job {job_id[:80]!r}")
    return job
