"""What the Hugging Face hub's errors mean, in our words: for every model that may come from there."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from huggingface_hub import errors as hub_errors

from glowplug.errors import DiskFull, GlowplugError, SettingsError, Unreachable

LONGEST_REASON = 200


@contextmanager
def in_our_words(name: str, *, holds: str) -> Iterator[None]:
    """Translate what the hub's library raises inside the block; `holds` says what `name` should be.

    Raises:
        SettingsError: the hub has no such model, or wants a token or a licence accepted for it.
        DiskFull: there is no room for it.
        Unreachable: the hub does not answer.
    """
    try:
        yield
    except GlowplugError:
        raise
    except hub_errors.GatedRepoError as error:
        told = f"{name} is only given to those who accepted its licence on the hub: do so, and set HF_TOKEN"
        raise SettingsError(told) from error
    except (
        hub_errors.RepositoryNotFoundError,
        hub_errors.RevisionNotFoundError,
        hub_errors.HFValidationError,
    ) as error:
        raise SettingsError(f"{name}: the hub has no such model or revision, or it needs HF_TOKEN") from error
    except hub_errors.RemoteEntryNotFoundError as error:
        raise SettingsError(f"{name} is no {holds}: the hub has no such file in it") from error
    except Exception as error:  # its network errors share no base
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise DiskFull(f"no room for {name}: free some, or set HF_HOME to another disk") from error
        why = " ".join(str(error).split())[:LONGEST_REASON]
        raise Unreachable(f"the hub did not give {name}: {why}") from error
