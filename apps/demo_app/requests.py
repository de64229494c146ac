"""What all buttons of the page share: whose request it is, the one queue to the model, and what is said of mistakes."""

from __future__ import annotations

import contextlib
import html
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from avol.apps.demo_app.clip import CancelledError
from avol.apps.demo_app.desk import plain
from avol.runtime.errors import AvolError

MODEL_QUEUE: dict[str, Any] = {"concurrency_id": "model", "concurrency_limit": 1}  # one request at a time
MESSAGE_SECONDS = 20.0  # how long a message stays, unless it is closed


def visitor_of(request: gr.Request) -> str:
    """The session of a request; those of the bare HTTP interface have none and share a name."""
    return request.session_hash or "nobody"


@contextlib.contextmanager
def mistakes_as_messages(*paths: str | None) -> Iterator[None]:
    """A mistake becomes a message on the page, a bug one too, with its traceback on the server's standard error.

    Args:
        paths: files of the request; messages say their names only.
    """
    try:
        yield
    except AvolError as error:
        files = [Path(path) for path in paths if path]
        raise gr.Error(html.escape(plain(error, *files)), MESSAGE_SECONDS, print_exception=False) from None
    except (gr.Error, CancelledError):
        raise
    except Exception:
        traceback.print_exc()
        raise gr.Error(
            "avol could not do this because of a mistake of its own; the server's log says more. Other files may work.",
            MESSAGE_SECONDS,
            print_exception=False,
        ) from None


def required(value: str | None, what: str) -> Path:
    """The path of an upload.

    Raises:
        AvolError: there is none.
    """
    if not value:
        raise AvolError(f"{what}: none given yet. Upload one, record one, or take the example.")
    return Path(value)


def take_files_as_they_are(component: gr.Image | gr.Audio) -> None:
    """Let a component hand out the paths of uploads unopened: what is wrong with a file is for avol to say."""

    def path_of(payload: Any) -> Any:  # noqa: ANN401 (as in the components)
        return None if payload is None else payload.path

    # Not a class of its own: Gradio would write a stub file beside its source.
    component.preprocess = path_of  # type: ignore[method-assign]
