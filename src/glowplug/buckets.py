"""Looks at the bucket that the artifacts are in, and gives it the lifecycle rules that it lacks."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from glowplug.artifacts.lifecycle import Bucket, Keep, Rule, merged, missing, wanted
from glowplug.doctor import Finding
from glowplug.drivers.aws import AwsPlace, checked_endpoint
from glowplug.errors import GlowplugError
from glowplug.settings import Settings

CHECK = "bucket"
# The artifact store is told the first, boto3 the others, and operators set one of them.
ENDPOINTS = ("AWS_ENDPOINT", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
REGIONS = ("AWS_REGION", "AWS_DEFAULT_REGION")


def examine_bucket(settings: Settings, env: Mapping[str, str], *, mend: bool = False) -> Finding:
    """Say whether the bucket of the artifacts is there and has its rules; with `mend`, set those that are missing."""
    url = urlsplit(settings.artifacts_url)
    keep = Keep(settings.retention.jobs_seconds, settings.retention.inputs_seconds)
    try:
        return _examined(Bucket(_place(env), url.netloc), wanted(url.path.strip("/"), keep), mend=mend)
    except GlowplugError as error:
        if error.data.get("no_such_call"):
            fix = "nothing here; sweep uploads that were broken off with the store's own means"
            return Finding(CHECK, "note", error.message, fix)
        what, _, fix = error.message.partition("; ")
        return Finding(CHECK, "fail", what, fix or "see that it answers, and that we may read its lifecycle rules")


def _examined(bucket: Bucket, rules: tuple[Rule, ...], *, mend: bool) -> Finding:
    found = bucket.rules()
    lacking = missing(found, rules)
    if not lacking:
        return Finding(CHECK, "ok", f"its {len(rules)} lifecycle rules are set")
    told = "; ".join(map(str, lacking))
    if not mend:
        fix = "glowplug doctor --fix sets it, and leaves the rules of others as they are"
        return Finding(CHECK, "note", f"no lifecycle rule: {told}", fix)
    bucket.set_rules(merged(found, rules))
    if left := missing(bucket.rules(), rules):
        detail = f"the store took the lifecycle rules and did not keep them: {'; '.join(map(str, left))}"
        return Finding(CHECK, "note", detail, "sweep uploads that were broken off with the store's own means")
    return Finding(CHECK, "ok", f"lifecycle rules were set: {told}")


def _place(env: Mapping[str, str]) -> AwsPlace:
    endpoint = next((env[name] for name in ENDPOINTS if env.get(name)), None)
    region = next((env[name] for name in REGIONS if env.get(name)), "us-east-1")
    return AwsPlace("s3", region, checked_endpoint(endpoint) if endpoint else None)
