"""The error tree: what each class promises to people and to machines, and that the drawing is the truth."""

from __future__ import annotations

import pickle
import re

import pytest

from glowplug import errors
from glowplug.errors import (
    Canceled,
    Conflict,
    GlowplugError,
    Interrupted,
    MissingExtra,
    NotFound,
    NotReady,
    RemoteError,
    SettingsError,
    Stop,
    TooLarge,
    UnknownTask,
    UserError,
    error_classes,
)

# Others may derive from the tree; the drawing is of the classes that stand beside it.
EVERY = sorted(
    (kind for kind in error_classes().values() if kind.__module__ == errors.__name__), key=lambda kind: kind.__name__
)


def drawn() -> dict[str, tuple[str | None, int | None]]:
    """Read the tree at the top of the module: name to its parent's name and its HTTP status."""
    tree: dict[str, tuple[str | None, int | None]] = {}
    path: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        match = re.match(r"((?:│   |    |├── |└── )*)([A-Z]\w+)\s*(?:\(BaseException\))?(.*)", line)
        if match is None or match[2] == "Every":
            continue
        depth = len(match[1]) // 4
        path[depth:] = [match[2]]
        status = re.search(r"(\d{3})$", match[3].strip())
        tree[match[2]] = (path[depth - 1] if depth else None, int(status[1]) if status else None)
    return tree


def test_the_drawing_names_every_error_its_parent_and_its_status() -> None:
    tree = drawn()
    assert {kind.__name__ for kind in EVERY} == set(tree) - {"Stop", "Canceled", "Interrupted"}
    for kind in EVERY:
        parent, status = tree[kind.__name__]
        if parent is not None:
            assert kind.__base__ is not None
            assert (kind.__base__.__name__, kind.status) == (parent, status)


def test_each_class_has_a_code_of_its_own() -> None:
    codes = [kind.code for kind in EVERY]
    assert len(set(codes)) == len(codes)
    assert all(re.fullmatch(r"[a-z_]+", code) for code in codes)
    assert all("code" in vars(kind) for kind in EVERY)


@pytest.mark.parametrize("kind", EVERY)
def test_a_code_leads_back_to_its_class(kind: type[GlowplugError]) -> None:
    assert error_classes()[kind.code] is kind


@pytest.mark.parametrize("kind", EVERY)
def test_each_class_says_when_it_is_raised(kind: type[GlowplugError]) -> None:
    assert kind.__doc__ != GlowplugError.__doc__ or kind is GlowplugError
    assert (kind.__doc__ or "").strip().endswith(".")


def test_the_caller_s_mistakes_are_never_worth_a_retry() -> None:
    assert not any(kind.retryable for kind in EVERY if issubclass(kind, UserError))


@pytest.mark.parametrize(
    ("family", "low", "high"), [(UserError, 400, 499), (NotReady, 503, 503), (RemoteError, 409, 599)]
)
def test_a_family_stays_in_its_range_of_statuses(family: type[GlowplugError], low: int, high: int) -> None:
    assert all(low <= kind.status <= high for kind in EVERY if issubclass(kind, family))


def test_an_error_carries_a_message_and_data() -> None:
    error = TooLarge("5 MB is too much", limit_bytes=1000)
    assert (str(error), error.message, error.data) == ("5 MB is too much", "5 MB is too much", {"limit_bytes": 1000})


def test_data_may_hold_any_name() -> None:
    assert Conflict("no", message="said", self=1).data == {"message": "said", "self": 1}


def test_an_error_survives_the_way_to_another_process() -> None:
    error = UnknownTask("no such task", task="m.t")
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is UnknownTask
    assert (copy.message, copy.data) == (error.message, error.data)


def test_an_unknown_task_is_something_not_found() -> None:
    with pytest.raises(NotFound):
        raise UnknownTask("no")


def test_a_missing_extra_says_how_to_install_it() -> None:
    error = MissingExtra.of("s3", "Weights from a bucket")
    assert error.message == "Weights from a bucket needs an extra: pip install 'glowplug[s3]'"
    assert error.data == {"extra": "s3"}
    assert isinstance(error, SettingsError)


@pytest.mark.parametrize("kind", [Canceled, Interrupted])
def test_a_stop_passes_through_a_model_s_own_handler(kind: type[Stop]) -> None:
    def run() -> None:
        try:
            raise kind
        except Exception:  # noqa: BLE001 - it stands for what a model's author may have written
            pytest.fail("swallowed")

    with pytest.raises(kind):
        run()
    assert not issubclass(kind, Exception)
