"""`glowplug doctor --fix` on real stores: rules are set once, those of others stay, and what is wrong is said."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from tests.servers.moto import MotoServer, aws_keys, moto
from tests.servers.seaweed import ACCESS_KEY, SECRET_KEY, S3Server, make_bucket, s3
from tests.unit.cli.commands import Command

from glowplug.artifacts.lifecycle import Bucket
from glowplug.buckets import examine_bucket
from glowplug.doctor import Finding
from glowplug.drivers.aws import AwsPlace
from glowplug.settings import Settings

__all__ = ["aws_keys", "moto", "s3"]
pytestmark = pytest.mark.usefixtures("aws_keys")
THEIRS: dict[str, Any] = {
    "ID": "logs",
    "Filter": {"Prefix": "logs/"},
    "Status": "Enabled",
    "Expiration": {"Days": 90},
}


@pytest.fixture
def weed(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
    return s3


@pytest.fixture
def bucket(weed: S3Server) -> str:
    name = f"b{uuid4().hex[:20]}"
    make_bucket(weed, name)
    return name


def settings(bucket: str, folder: str = "glow") -> Settings:
    return Settings.load({"GLOWPLUG_ARTIFACTS": f"s3://{bucket}/{folder}"})


def examined(endpoint: str, bucket: str, *, mend: bool = False, **more: Any) -> Finding:
    return examine_bucket(settings(bucket, **more), {"AWS_ENDPOINT": endpoint}, mend=mend)


def rules(endpoint: str, bucket: str) -> list[dict[str, Any]]:
    return Bucket(AwsPlace("s3", "us-east-1", endpoint), bucket).rules()


class TestRules:
    def test_they_are_missed_set_and_found(self, weed: S3Server, bucket: str) -> None:
        before = examined(weed.endpoint, bucket)
        assert (before.verdict, "--fix" in before.fix) == ("note", True)
        assert "glow/jobs/ goes after 37 d" in before.detail
        assert examined(weed.endpoint, bucket, mend=True).verdict == "ok"
        assert examined(weed.endpoint, bucket).detail == "its 5 lifecycle rules are set"

    def test_those_of_others_stay(self, weed: S3Server, bucket: str) -> None:
        Bucket(AwsPlace("s3", "us-east-1", weed.endpoint), bucket).set_rules([THEIRS])
        examined(weed.endpoint, bucket, mend=True)
        examined(weed.endpoint, bucket, mend=True, folder="another")
        found = rules(weed.endpoint, bucket)
        assert THEIRS in found
        assert len(found) == 11
        assert examined(weed.endpoint, bucket).verdict == "ok"

    def test_setting_them_again_changes_nothing(self, weed: S3Server, bucket: str) -> None:
        examined(weed.endpoint, bucket, mend=True)
        before = rules(weed.endpoint, bucket)
        assert examined(weed.endpoint, bucket, mend=True).detail == "its 5 lifecycle rules are set"
        assert rules(weed.endpoint, bucket) == before

    def test_moto_takes_them_too(self, moto: MotoServer) -> None:
        moto.client("s3").create_bucket(
            Bucket="bucket", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"}
        )
        assert examined(moto.endpoint, "bucket", mend=True).verdict == "ok"


class TestWhatIsWrong:
    def test_a_bucket_that_is_not_there_is_to_be_created(self, weed: S3Server) -> None:
        found = examined(weed.endpoint, "nowhere")
        assert (found.verdict, "aws s3 mb s3://nowhere" in found.fix) == ("fail", True)
        assert examined(weed.endpoint, "nowhere", mend=True) == found

    def test_a_wrong_secret_is_said_without_it(
        self, weed: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hidden-and-wrong")
        found = examined(weed.endpoint, bucket)
        assert (found.verdict, "check the access key" in found.fix) == ("fail", True)
        assert "hidden" not in f"{found}"

    def test_missing_keys_are_named(self, weed: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        found = examined(weed.endpoint, bucket)
        assert (found.verdict, "AWS_ACCESS_KEY_ID" in found.fix) == ("fail", True)

    def test_a_store_that_is_away_is_told(self) -> None:
        found = examined("http://127.0.0.1:9", "bucket")
        assert (found.verdict, "check address" in found.fix) == ("fail", True)

    @pytest.mark.parametrize(("status", "code"), [(501, "NotImplemented"), (405, "MethodNotAllowed")])
    def test_a_store_without_such_a_call_stops_nothing(self, status: int, code: str) -> None:
        with answering(status, code) as endpoint:
            found = examined(endpoint, "bucket", mend=True)
        assert (found.verdict, found.detail.endswith("has no lifecycle rules")) == ("note", True)
        assert found.fix

    def test_what_we_may_not_do_is_named(self) -> None:
        with answering(403, "AccessDenied") as endpoint:
            found = examined(endpoint, "bucket")
        assert (found.verdict, "GetBucketLifecycleConfiguration" in found.fix) == ("fail", True)

    def test_a_store_that_forgets_them_is_found_out(self) -> None:
        with answering(200, "") as endpoint:
            found = examined(endpoint, "bucket", mend=True)
        assert (found.verdict, "did not keep them" in found.detail) == ("note", True)


class TestCommand:
    @pytest.fixture
    def glowplug(
        self,
        tmp_path: Path,
        weed: S3Server,
        bucket: str,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> Command:
        command = Command(tmp_path, capsys, monkeypatch)
        command.set("GLOWPLUG_RETENTION_MIN_FREE_BYTES", "1")
        command.set("GLOWPLUG_PORT", "0")
        command.set("GLOWPLUG_ARTIFACTS", f"s3://{bucket}/glow")
        command.set("AWS_ENDPOINT", weed.endpoint)
        return command

    def test_doctor_names_what_is_missing_and_fix_sets_it(self, glowplug: Command) -> None:
        said = [glowplug(*words).out for words in (["doctor"], ["doctor", "--fix"], ["doctor"])]
        assert "note  bucket: no lifecycle rule" in said[0]
        assert "ok    bucket: lifecycle rules were set" in said[1]
        assert "ok    bucket: its 5 lifecycle rules are set" in said[2]

    def test_without_boto3_the_rest_is_looked_at(self, glowplug: Command, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delitem(sys.modules, "glowplug.buckets")
        monkeypatch.delitem(sys.modules, "glowplug.artifacts.lifecycle")
        monkeypatch.delitem(sys.modules, "glowplug.drivers.aws")
        monkeypatch.setitem(sys.modules, "boto3", None)
        found = {one["check"]: one for one in glowplug("doctor", "--json").json["findings"]}
        assert (found["bucket"]["verdict"], found["bucket"]["fix"]) == ("note", "pip install 'glowplug[sqs]'")


@contextmanager
def answering(status: int, code: str) -> Iterator[str]:
    """Serve the same answer to everything, as S3 words it."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            body = f"<Error><Code>{code}</Code><Message>so it is</Message></Error>" if code else "<Rules></Rules>"
            self.send_response(status)
            self.send_header("Content-Type", "application/xml")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        def do_PUT(self) -> None:
            self.do_GET()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's own name
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    serving.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        serving.join()
        server.server_close()
