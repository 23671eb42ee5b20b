"""Lifecycle rules of a bucket on S3: the net below our own retention, and the broom for uploads that nobody ended.

A gateway deletes by itself what is past its time. What it cannot reach are the parts of uploads that were broken off,
and everything once it is gone for good. Rules of others are left as they are.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from glowplug.drivers.aws import AwsPlace, open_client, translating
from glowplug.errors import NotFound, RemoteError, SettingsError

DAY_SECONDS = 86_400.0
# A job's files are older than its end, from which its time counts.
JOB_MARGIN_DAYS = 7
LONGEST_ID = 255
MARK = "glowplug "
NO_SUCH_CALL = frozenset({"NotImplemented", "MethodNotAllowed", "XNotImplemented", "501", "405"})

Rules = list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Keep:
    """How long things are kept, in seconds."""

    jobs_seconds: float
    inputs_seconds: float
    calls_seconds: float = DAY_SECONDS
    uploads_seconds: float = DAY_SECONDS


@dataclass(frozen=True, slots=True)
class Rule:
    """What happens below `prefix`: objects go after some days, or unfinished uploads do."""

    prefix: str
    expire_days: int | None = None
    abort_days: int | None = None

    @property
    def id(self) -> str:
        """Return the name by which the rule is found again."""
        return f"{MARK}{self.prefix}{'' if self.abort_days is None else ' uploads'}"[:LONGEST_ID]

    def written(self, *, plainly: bool = False) -> dict[str, Any]:
        """Return the rule as S3 has it; `plainly` is the older form, with which the newer cannot be mixed."""
        where = {"Prefix": self.prefix} if plainly else {"Filter": {"Prefix": self.prefix}}
        what: dict[str, Any] = {"ID": self.id, "Status": "Enabled", **where}
        if self.expire_days is not None:
            what["Expiration"] = {"Days": self.expire_days}
        if self.abort_days is not None:
            what["AbortIncompleteMultipartUpload"] = {"DaysAfterInitiation": self.abort_days}
        return what

    def __str__(self) -> str:
        if self.abort_days is not None:
            return f"unfinished uploads below {self.prefix or 'the bucket'} go after {self.abort_days} d"
        return f"{self.prefix} goes after {self.expire_days} d"


def wanted(folder: str, keep: Keep) -> tuple[Rule, ...]:
    """Return the rules for artifacts below `folder`, the empty string for the whole bucket."""
    base = f"{folder}/" if folder else ""
    days = {
        "jobs": _days(keep.jobs_seconds) + JOB_MARGIN_DAYS,
        "inputs": _days(keep.inputs_seconds) + 1,
        "calls": _days(keep.calls_seconds) + 1,
        "uploads": _days(keep.uploads_seconds) + 1,
    }
    return (*[Rule(f"{base}{name}/", expire_days=count) for name, count in days.items()], Rule(base, abort_days=1))


def missing(found: Sequence[Mapping[str, Any]], rules: Sequence[Rule]) -> list[Rule]:
    """Return the rules that are not among those found, or otherwise than they should be."""
    have = {str(one.get("ID")): one for one in found}
    return [rule for rule in rules if not _same(have.get(rule.id, {}), rule)]


def merged(found: Sequence[Mapping[str, Any]], rules: Sequence[Rule]) -> Rules:
    """Return all rules: those of others as they are, and ours in the place of older ones of the same names."""
    ours = {rule.id for rule in rules}
    theirs = [dict(one) for one in found if one.get("ID") not in ours]
    return [*theirs, *[rule.written(plainly=any("Prefix" in one for one in theirs)) for rule in rules]]


class Bucket:
    """One bucket at `place`, asked without haste: this is for an operator's commands."""

    def __init__(self, place: AwsPlace, name: str) -> None:
        self._place = place
        self._name = name
        self._client: Any = None

    def rules(self) -> Rules:
        """Return the rules that are there.

        Raises:
            SettingsError: there is no such bucket, or no credentials.
            RemoteError: it does not answer, refuses us, or has no such call, which `data["no_such_call"]` says.
        """
        try:
            answer = self._ask("get_bucket_lifecycle_configuration")
        except NotFound as error:
            if error.data.get("aws_code") != "NoSuchBucket":
                return []
            raise self._absent() from error
        return list(answer.get("Rules", []))

    def set_rules(self, rules: Rules) -> None:
        """Replace all rules by these. Raises what `rules` raises."""
        try:
            self._ask("put_bucket_lifecycle_configuration", LifecycleConfiguration={"Rules": rules})
        except NotFound as error:
            raise self._absent() from error

    def _ask(self, operation: str, **arguments: Any) -> dict[str, Any]:
        if self._client is None:
            self._client = open_client(self._place)
        try:
            with translating(self._place):
                answer: dict[str, Any] = getattr(self._client, operation)(Bucket=self._name, **arguments)
                return answer
        except RemoteError as error:
            if error.data.get("aws_code") in NO_SUCH_CALL:
                raise RemoteError(f"{self._place} has no lifecycle rules", no_such_call=True) from error
            raise

    def _absent(self) -> SettingsError:
        fix = f"create it (aws s3 mb s3://{self._name}), or correct GLOWPLUG_ARTIFACTS"
        return SettingsError(f"there is no bucket {self._name!r} at {self._place}; {fix}", fix=fix)


def _days(seconds: float) -> int:
    return max(1, math.ceil(seconds / DAY_SECONDS))


def _same(found: Mapping[str, Any], rule: Rule) -> bool:
    prefix = found.get("Filter", found).get("Prefix")
    expires = found.get("Expiration", {}).get("Days")
    aborts = found.get("AbortIncompleteMultipartUpload", {}).get("DaysAfterInitiation")
    said = (found.get("Status"), prefix, expires, aborts)
    return said == ("Enabled", rule.prefix, rule.expire_days, rule.abort_days)
