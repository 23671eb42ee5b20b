"""`glowplug doctor`: what is wrong here, and what to do."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

import typer

from glowplug.cli.output import Json, say, say_json
from glowplug.cli.session import load_settings

if TYPE_CHECKING:
    from glowplug.doctor import Finding
    from glowplug.settings import Settings

NOT_READY = 3


def doctor(
    fix: Annotated[
        bool, typer.Option("--fix", help="Set the bucket's lifecycle rules, where they are missing.")
    ] = False,
    json: Json = False,
) -> None:
    """Check this machine and say what to mend.

    Folders, disk, port, tokens, database, bucket and extras. Exits with 3 if something stops Glowplug.
    """
    from glowplug.doctor import examine

    settings = load_settings()
    findings = [*examine(settings), *_bucket(settings, mend=fix)]
    sick = any(finding.verdict == "fail" for finding in findings)
    if json:
        say_json({"ok": not sick, "findings": findings})
    else:
        for finding in findings:
            say(f"{finding.verdict:4}  {finding.check}: {finding.detail}")
            if finding.fix:
                say(f"      fix: {finding.fix}")
    raise typer.Exit(NOT_READY if sick else 0)


def _bucket(settings: Settings, *, mend: bool) -> list[Finding]:
    if not settings.artifacts_url.startswith("s3://"):
        return []
    try:
        # Only here boto3 is needed, which is not part of every installation.
        from glowplug.buckets import examine_bucket
    except ModuleNotFoundError as error:
        if error.name not in ("boto3", "botocore"):
            raise
        from glowplug.doctor import Finding

        return [Finding("bucket", "note", "not looked at: there is no boto3", "pip install 'glowplug[sqs]'")]
    return [examine_bucket(settings, os.environ, mend=mend)]
