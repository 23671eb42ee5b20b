"""Routes of models, tasks and workers: what there is, and how it stands."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from glowplug.errors import Conflict, NotFound
from glowplug.gateway import bodies
from glowplug.gateway.catalog import model_of
from glowplug.gateway.documents import described
from glowplug.gateway.schemas import (
    ModelList,
    ModelView,
    TaskList,
    TaskView,
    WorkerList,
    model_view,
    task_view,
    worker_view,
)
from glowplug.gateway.service import Gateway


def router(gateway: Gateway) -> APIRouter:
    """Return the routes."""
    routes = APIRouter(tags=["models"])
    catalog, registry = gateway.catalog, gateway.registry

    @routes.get("/v1/models", **described(None, {200: ModelList}))
    async def models() -> Response:
        """List the models over all workers, ready or not."""
        names = catalog.models.keys() | registry.unfinished_models()
        return bodies.answer(ModelList.of([_model(gateway, name) for name in sorted(names)]))

    @routes.get("/v1/models/{name}", **described(None, {200: ModelView}))
    async def model(name: str) -> Response:
        """Return a model."""
        return bodies.answer(_known(gateway, name))

    @routes.post("/v1/models/{name}/load", status_code=202, **described(None, {202: ModelView, 200: ModelView}))
    async def load(name: str) -> Response:
        """Load a model on the workers where it sleeps, was never begun, or has failed (200 if it is ready anyway)."""
        view = _known(gateway, name)
        if not gateway.desk.load(name) and not view.ready and not view.workers:
            raise Conflict(f"no worker has the model {name!r}; start one with: glowplug worker TARGET")
        return bodies.answer(view, 200 if view.ready else 202)

    @routes.get("/v1/tasks", **described(None, {200: TaskList}))
    async def tasks() -> Response:
        """List the tasks of all models that are known here."""
        known = sorted(catalog.tasks.values(), key=lambda one: one.name)
        return bodies.answer(TaskList([task_view(one, catalog.models[model_of(one.name)]) for one in known]))

    @routes.get("/v1/tasks/{name}", **described(None, {200: TaskView}))
    async def task(name: str) -> Response:
        """Return a task with its schemas."""
        found = catalog.task(name)
        if found is None:
            raise NotFound(f"the model of {name!r} is still being brought up: its tasks are not known yet")
        return bodies.answer(task_view(found, catalog.models[model_of(name)]))

    @routes.get("/v1/workers", **described(None, {200: WorkerList}))
    async def workers() -> Response:
        """List the workers."""
        return bodies.answer(
            WorkerList([worker_view(entry.record, entry.models, entry.outstanding) for entry in registry])
        )

    return routes


def _known(gateway: Gateway, name: str) -> ModelView:
    if name not in gateway.catalog.models and name not in gateway.registry.unfinished_models():
        known = ", ".join(sorted(gateway.catalog.models)) or "none yet"
        raise NotFound(f"no model {name[:80]!r}; there are: {known}", model=name[:80])
    return _model(gateway, name)


def _model(gateway: Gateway, name: str) -> ModelView:
    workers = [entry.record.instance_id for entry in gateway.registry if entry.online and name in entry.models]
    return model_view(name, gateway.catalog.models.get(name), gateway.registry.board.snapshot().find(name), workers)
