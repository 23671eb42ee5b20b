"""Who is let in: tokens, host names, origins, and the kinds of body that a page cannot send by itself."""

from __future__ import annotations

from pathlib import Path

import pytest
from starlette.datastructures import Headers
from tests.unit.gateway.house import WORKER_TOKEN, House, house, policy

from glowplug.errors import Forbidden, Unauthorized
from glowplug.gateway.auth import OPEN_PATHS, UnsupportedMediaType, allow, bearer
from glowplug.gateway.policy import Access

LOCAL = Access(worker_token=WORKER_TOKEN)
PUBLIC = Access(worker_token=WORKER_TOKEN, api_token="api-secret", loopback=False)
JSON = {"content-type": "application/json"}


def ask(access: Access, method: str, path: str, **headers: str) -> None:
    """Ask for leave; underscores in header names stand for dashes."""
    given = {"host": "localhost:8000"} | {name.replace("_", "-"): value for name, value in headers.items()}
    allow(access, method, path, Headers(given))


OF_VERSION = "/v2/models/echo/versions/1/ready"


class TestTokens:
    def test_on_loopback_the_api_is_open(self) -> None:
        ask(LOCAL, "GET", "/v1/jobs")

    def test_with_a_token_set_the_api_wants_it(self) -> None:
        with pytest.raises(Unauthorized):
            ask(PUBLIC, "GET", "/v1/jobs")
        ask(PUBLIC, "GET", "/v1/jobs", authorization="Bearer api-secret")

    @pytest.mark.parametrize(
        "given", ["Bearer api-secre", "Bearer api-secret2", "Basic api-secret", "api-secret", "Bearer ", "Bearer é"]
    )
    def test_anything_but_the_token_is_refused(self, given: str) -> None:
        with pytest.raises(Unauthorized):
            ask(PUBLIC, "GET", "/v1/jobs", authorization=given)

    @pytest.mark.parametrize("path", sorted(OPEN_PATHS))
    def test_probes_and_documents_need_none(self, path: str) -> None:
        ask(PUBLIC, "GET", path)

    @pytest.mark.parametrize(
        "path", ["/ready/echo", "/readyz/echo", "/ws/init/page-7", "/v2/models/echo/ready", OF_VERSION]
    )
    def test_nor_does_the_readiness_of_one_model(self, path: str) -> None:
        ask(PUBLIC, "GET", path)

    @pytest.mark.parametrize(
        "path",
        [
            "/v1/jobs",
            "/anything",
            "/api/warmup",
            "/api/ready/retry",
            "/api/ready/retry/echo",
            "/livez/x",
            "/ready/",
            "/ready/echo/more",
            "/ready/../v1/jobs",
            "/ws/init/",
            "/ws/jobs/1",
            "/v2/models/echo",
            "/v2/models/echo/infer",
            "/v2/models/a/b/ready",
            "/v2/models/a/versions/ready",
            "/glowplug/overlay.js/x",
        ],
    )
    def test_every_other_path_needs_one(self, path: str) -> None:
        with pytest.raises(Unauthorized):
            ask(PUBLIC, "GET", path)

    def test_paths_can_be_opened(self) -> None:
        access = Access(worker_token="w", api_token="a", loopback=False, open_paths=("/studio/",))
        ask(access, "GET", "/studio/index.html")

    @pytest.mark.parametrize("access", [LOCAL, PUBLIC])
    @pytest.mark.parametrize("given", ["", "Bearer wrong", "Bearer api-secret"])
    def test_internal_routes_want_the_workers_token_even_on_loopback(self, access: Access, given: str) -> None:
        with pytest.raises(Unauthorized):
            ask(access, "POST", "/api/internal/link/claim", authorization=given, **JSON_HEADERS)
        ask(access, "POST", "/api/internal/link/claim", authorization=f"Bearer {WORKER_TOKEN}", **JSON_HEADERS)

    def test_an_empty_worker_token_lets_nobody_in(self) -> None:
        with pytest.raises(Unauthorized):
            ask(Access(worker_token=""), "GET", "/api/internal/ai-services/status", authorization="Bearer ")

    def test_the_scheme_is_read_without_regard_to_case(self) -> None:
        assert bearer(Headers({"authorization": "bearer  abc "})) == "abc"
        assert bearer(Headers({})) == ""


JSON_HEADERS = {"content_type": "application/json"}


class TestHosts:
    @pytest.mark.parametrize("host", ["localhost", "localhost:8000", "127.0.0.1:8000", "[::1]:8000", "LOCALHOST:1"])
    def test_this_machines_own_names_are_fine(self, host: str) -> None:
        ask(LOCAL, "GET", "/v1/jobs", host=host)

    @pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "127.0.0.1.nip.io", "", "[::1", "::1"])
    def test_any_other_name_is_a_page_in_disguise(self, host: str) -> None:
        with pytest.raises(Forbidden):
            ask(LOCAL, "GET", "/livez", host=host)

    @pytest.mark.parametrize(
        "host",
        [
            "evil.example@localhost",
            "localhost/evil.example",
            "localhost#x",
            "localhost:1:2",
            "127.0.0.1\tx",
            "local host",
        ],
    )
    def test_a_name_with_something_around_it_is_not_read_kindly(self, host: str) -> None:
        with pytest.raises(Forbidden):
            ask(LOCAL, "GET", "/v1/jobs", host=host)

    def test_two_names_are_none(self) -> None:
        twice = Headers(raw=[(b"host", b"localhost"), (b"host", b"evil.example")])
        with pytest.raises(Forbidden):
            allow(LOCAL, "GET", "/v1/jobs", twice)

    def test_names_can_be_added(self) -> None:
        access = Access(worker_token="w", allowed_hosts=("studio.test",))
        ask(access, "GET", "/v1/jobs", host="studio.test:8000")

    def test_beyond_loopback_the_token_decides_alone(self) -> None:
        ask(PUBLIC, "GET", "/v1/jobs", host="models.example", authorization="Bearer api-secret")


class TestOrigins:
    def test_a_page_of_another_site_may_not_change_anything(self) -> None:
        with pytest.raises(Forbidden):
            ask(LOCAL, "POST", "/v1/jobs", origin="https://evil.example", **JSON_HEADERS)

    def test_nor_may_one_of_another_port_of_this_machine(self) -> None:
        with pytest.raises(Forbidden):
            ask(LOCAL, "POST", "/v1/jobs/1/cancel", origin="http://localhost:3000")

    def test_nor_may_it_open_a_socket(self) -> None:
        with pytest.raises(Forbidden):
            ask(LOCAL, "WEBSOCKET", "/ws/jobs/1", origin="https://evil.example")

    def test_but_how_ready_we_are_every_page_may_follow(self) -> None:
        ask(LOCAL, "WEBSOCKET", "/ws/init/page-7", origin="https://shop.example")
        with pytest.raises(Forbidden):
            ask(LOCAL, "WEBSOCKET", "/ws/init/page-7", host="evil.example")

    @pytest.mark.parametrize("path", ["/api/warmup", "/api/ready/retry", "/api/ready/retry/echo"])
    def test_and_make_us_work_none_but_our_own(self, path: str) -> None:
        ask(LOCAL, "POST", path, content_length="0")
        ask(LOCAL, "POST", path, content_length="0", origin="http://localhost:8000")
        with pytest.raises(Forbidden):
            ask(LOCAL, "POST", path, content_length="0", origin="https://shop.example")

    def test_our_own_pages_may(self) -> None:
        ask(LOCAL, "POST", "/v1/jobs", origin="http://localhost:8000", **JSON_HEADERS)
        ask(LOCAL, "WEBSOCKET", "/ws/jobs/1", origin="http://localhost:8000")

    def test_origins_can_be_added(self) -> None:
        access = Access(worker_token="w", allowed_origins=("http://localhost:3000",))
        ask(access, "POST", "/v1/jobs", origin="http://localhost:3000", **JSON_HEADERS)

    def test_reading_is_the_browsers_own_affair(self) -> None:
        ask(LOCAL, "GET", "/v1/jobs", origin="https://evil.example")

    @pytest.mark.parametrize("origin", ["null", "", "http://", "http://[::1"])
    def test_an_origin_that_is_none_is_refused(self, origin: str) -> None:
        with pytest.raises(Forbidden):
            ask(LOCAL, "POST", "/v1/jobs", origin=origin, **JSON_HEADERS)


class TestMediaTypes:
    @pytest.mark.parametrize("media_type", ["application/json", "application/json; charset=utf-8", "Application/JSON"])
    def test_json_passes(self, media_type: str) -> None:
        ask(LOCAL, "POST", "/v1/jobs", content_type=media_type, content_length="2")

    @pytest.mark.parametrize("media_type", ["text/plain", "multipart/form-data", "application/x-www-form-urlencoded"])
    def test_what_a_form_can_send_does_not(self, media_type: str) -> None:
        with pytest.raises(UnsupportedMediaType):
            ask(LOCAL, "POST", "/v1/jobs", content_type=media_type, content_length="2")

    def test_a_body_without_a_type_does_not(self) -> None:
        with pytest.raises(UnsupportedMediaType):
            ask(LOCAL, "POST", "/v1/jobs", content_length="2")
        with pytest.raises(UnsupportedMediaType):
            ask(LOCAL, "POST", "/v1/jobs", transfer_encoding="chunked")

    def test_no_body_needs_no_type(self) -> None:
        ask(LOCAL, "POST", "/v1/jobs/1/cancel")
        ask(LOCAL, "POST", "/v1/jobs/1/cancel", content_length="0")

    def test_uploads_have_the_type_of_the_file(self) -> None:
        ask(LOCAL, "PUT", "/v1/artifacts/cat.png", content_type="image/png", content_length="2")


class TestOverHttp:
    async def test_a_refusal_is_a_problem(self, tmp_path: Path) -> None:
        async with house(tmp_path, chosen=policy(access={"api_token": "api-secret"})) as home:
            refused = await home.client.get("/v1/jobs")
            assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
            assert refused.headers["content-type"] == "application/problem+json"
            assert refused.json()["code"] == "unauthorized"
            allowed = await home.client.get("/v1/jobs", headers={"authorization": "Bearer api-secret"})
            assert allowed.status_code == 200

    async def test_internal_routes_are_closed(self, home: House) -> None:
        for path in ("link/claim", "link/register", "ai-service-ready", "artifacts/calls/x/y"):
            assert (await home.client.post(f"/api/internal/{path}", json={})).status_code == 401

    async def test_a_form_gets_415(self, home: House) -> None:
        refused = await home.client.post("/v1/jobs", content=b"{}", headers={"content-type": "text/plain"})
        assert (refused.status_code, refused.json()["code"]) == (415, "unsupported_media_type")

    async def test_a_strange_host_gets_403(self, home: House) -> None:
        assert (await home.client.get("/v1/jobs", headers={"host": "evil.example"})).status_code == 403

    async def test_secrets_are_never_repeated(self, tmp_path: Path) -> None:
        async with house(tmp_path, chosen=policy(access={"api_token": "api-secret"})) as home:
            refused = await home.client.get("/v1/jobs", headers={"authorization": "Bearer my-guess"})
            assert "my-guess" not in refused.text
            assert "api-secret" not in refused.text


FORMS = ("/v1/images/edits", "/v1/audio/transcriptions")
FORM = "multipart/form-data; boundary=x"
INFER = "/v2/models/echo/infer"


class TestOtherProtocols:
    """Their clients send forms and bare bytes, which a page can send too: so it has to be none of another site."""

    @pytest.mark.parametrize("path", FORMS)
    def test_forms_pass_where_they_are_spoken(self, path: str) -> None:
        ask(LOCAL, "POST", path, content_type=FORM, content_length="2")
        for media_type in ("text/plain", "application/x-www-form-urlencoded", ""):
            with pytest.raises(UnsupportedMediaType):
                ask(LOCAL, "POST", path, content_type=media_type, content_length="2")

    @pytest.mark.parametrize("path", ["/v1/images/generations", "/v1/chat/completions", "/v1/audio/speech", "/v1/jobs"])
    def test_and_nowhere_else(self, path: str) -> None:
        with pytest.raises(UnsupportedMediaType):
            ask(LOCAL, "POST", path, content_type=FORM, content_length="2")

    @pytest.mark.parametrize("path", [INFER, "/v2/models/echo/versions/1/infer"])
    @pytest.mark.parametrize("media_type", ["", "application/octet-stream", "application/json"])
    def test_tensors_pass_with_the_types_that_clients_send(self, path: str, media_type: str) -> None:
        ask(LOCAL, "POST", path, content_type=media_type, content_length="2")
        with pytest.raises(UnsupportedMediaType):
            ask(LOCAL, "POST", path, content_type="text/plain", content_length="2")

    @pytest.mark.parametrize(
        ("path", "media_type"), [*((path, FORM) for path in FORMS), (INFER, ""), (INFER, "application/octet-stream")]
    )
    @pytest.mark.parametrize(
        "page",
        [
            {"origin": "https://evil.example"},
            {"origin": "null"},
            {"origin": "http://localhost:9999"},
            {"sec_fetch_site": "cross-site"},
            {"sec_fetch_site": "same-site"},
            {"sec_fetch_site": "none-such"},
        ],
    )
    def test_a_page_of_another_site_cannot_send_them(self, path: str, media_type: str, page: dict[str, str]) -> None:
        with pytest.raises(Forbidden):
            ask(LOCAL, "POST", path, content_type=media_type, content_length="2", **page)

    @pytest.mark.parametrize("page", [{"origin": "http://localhost:8000"}, {"sec_fetch_site": "same-origin"}, {}])
    def test_our_own_pages_and_programs_can(self, page: dict[str, str]) -> None:
        ask(LOCAL, "POST", FORMS[0], content_type=FORM, content_length="2", **page)

    def test_so_can_pages_that_were_allowed(self) -> None:
        access = Access(worker_token="w", allowed_origins=("https://studio.example",))
        page = {"origin": "https://studio.example", "sec_fetch_site": "cross-site"}
        ask(access, "POST", FORMS[0], content_type=FORM, content_length="2", **page)

    @pytest.mark.parametrize("path", [*FORMS, INFER, "/v1/embeddings", "/v2", "/v2/models/echo"])
    def test_beyond_loopback_they_want_a_token(self, path: str) -> None:
        with pytest.raises(Unauthorized):
            ask(PUBLIC, "POST", path, content_type=FORM)
