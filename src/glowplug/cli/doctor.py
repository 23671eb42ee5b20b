"""`glowplug doctor`: what is wrong here, and what to do."""

from __future__ import annotations

import typer

from glowplug.cli.output import Json, say, say_json
from glowplug.cli.session import load_settings

NOT_READY = 3


def doctor(json: Json = False) -> None:
    """Check this machine and say what to mend.

    Folders, disk, port, tokens, database and extras. Exits with 3 if something stops Glowplug.
    """
    from glowplug.doctor import examine

    findings = examine(load_settings())
    sick = any(finding.verdict == "fail" for finding in findings)
    if json:
        say_json({"ok": not sick, "findings": findings})
    else:
        for finding in findings:
            say(f"{finding.verdict:4}  {finding.check}: {finding.detail}")
            if finding.fix:
                say(f"      fix: {finding.fix}")
    raise typer.Exit(NOT_READY if sick else 0)
