"""Routes of uploads in parts: begin or go on, send what is missing, complete."""

from __future__ import annotations

from datetime import timedelta

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import Response

from glowplug.gateway import bodies
from glowplug.gateway.auth import bearer
from glowplug.gateway.documents import described
from glowplug.gateway.schemas import ArtifactView, artifact_view
from glowplug.gateway.service import Gateway
from glowplug.gateway.upload_views import SubmitUpload, UploadPartView, UploadUrls, UploadView
from glowplug.gateway.uploads import Arrived, Upload, Uploads

PATH = "/v1/uploads"
BODY_BYTES = 64 * 1024
LINK_LIFE = timedelta(hours=6)
HASH_HEADER = "x-content-sha256"
_submit = msgspec.json.Decoder(SubmitUpload)


class _Views:
    """Makes the views; with `direct` links, what is missing goes straight to the object store where it can."""

    def __init__(self, gateway: Gateway) -> None:
        self._artifacts = gateway.parts.artifacts
        self._links = gateway.jobs.links
        self._direct = gateway.policy.direct_links
        self._base = gateway.policy.public_url.rstrip("/") + PATH

    async def upload(self, arrived: Arrived) -> UploadView:
        upload = arrived.upload
        own = f"{self._base}/{upload.id}"
        return UploadView(
            id=upload.id,
            name=upload.name,
            size_bytes=upload.size_bytes,
            part_bytes=upload.part_bytes,
            sha256=upload.sha256,
            media_type=upload.media_type,
            parts=[await self.part(upload, number, arrived) for number in range(1, upload.count + 1)],
            artifact=artifact_view(upload.artifact, self._links) if upload.artifact else None,
            urls=UploadUrls(own, f"{own}/complete"),
        )

    async def part(self, upload: Upload, number: int, arrived: Arrived) -> UploadPartView:
        received = upload.artifact is not None or number in arrived.received
        url = None if received else await self._place(upload, number)
        return UploadPartView(number, *upload.span(number), received, url)

    async def _place(self, upload: Upload, number: int) -> str:
        link = await self._artifacts.presign(upload.key(number), "PUT", LINK_LIFE) if self._direct else None
        return link or f"{self._base}/{upload.id}/{number}"


def router(gateway: Gateway) -> APIRouter:
    """Return the routes."""
    routes = APIRouter(tags=["artifacts"])
    policy, links = gateway.policy, gateway.jobs.links
    uploads = Uploads(gateway.parts.artifacts, gateway.room, policy.limits, policy.access.worker_token)
    views = _Views(gateway)

    @routes.post(PATH, status_code=201, **described(SubmitUpload, {201: UploadView, 200: UploadView}))
    async def begin(request: Request) -> Response:
        """Announce a large file; the answer says where its parts go. The same file again goes on with its upload (200).

        A part that is missing is sent with PUT to its `url`, in any order, several at once; then POST `urls.complete`.
        """
        wish = bodies.decode(_submit, await bodies.read(request, BODY_BYTES))
        arrived, new = await uploads.begin(wish, bearer(request.headers))
        view = await views.upload(arrived)
        return bodies.answer(view, 201 if new else 200, {"Location": view.urls.get})

    @routes.get(f"{PATH}/{{upload_id}}", **described(None, {200: UploadView}))
    async def get(upload_id: str) -> Response:
        """Return an upload and which of its parts have arrived."""
        return bodies.answer(await views.upload(await uploads.look(upload_id)))

    @routes.put(f"{PATH}/{{upload_id}}/{{number}}", status_code=204, **described(None, {204: None}))
    async def put(upload_id: str, number: int, request: Request) -> Response:
        """Send one part; the body is its bytes. `X-Content-SHA256` has them checked on arrival."""
        declared = request.headers.get("content-length", "")
        await uploads.take(
            upload_id,
            number,
            (chunk async for chunk in request.stream() if chunk),
            length=int(declared) if declared.isdecimal() else None,
            sha256=request.headers.get(HASH_HEADER),
        )
        return Response(status_code=204)

    @routes.post(f"{PATH}/{{upload_id}}/complete", status_code=201, **described(None, {201: ArtifactView}))
    async def complete(upload_id: str) -> Response:
        """Join the parts and check the whole; the answer's `uri` goes into a job's input. Safe to repeat."""
        view = artifact_view(await uploads.complete(upload_id), links)
        return bodies.answer(view, 201, {"Location": view.url, "ETag": f'"{view.sha256}"'})

    @routes.delete(f"{PATH}/{{upload_id}}", status_code=204, **described(None, {204: None}))
    async def delete(upload_id: str) -> Response:
        """Give an upload up; what has arrived of it is deleted."""
        await uploads.discard(upload_id)
        return Response(status_code=204)

    return routes
