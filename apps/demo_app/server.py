"""Serving the page: on this machine unless told otherwise, without a request to any other."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from avol.apps.demo_app.card import model_card
from avol.apps.demo_app.desk import Desk
from avol.apps.demo_app.folder import KEEP_SECONDS, PrivateFolder
from avol.apps.demo_app.limits import MEGABYTE, Limits
from avol.runtime.backends import open_backend
from avol.runtime.errors import AvolError
from avol.runtime.system import AvolNetSystem
from avol.runtime.turns import SharedSystem

MOST_WAITING = 32  # requests in the queue; more are told to come back
MOST_SESSIONS = 64  # whose state is kept

# A browser that keeps to this fetches nothing from anywhere else, whatever a page or a library asks for. Gradio needs
# inline scripts and styles, templates that it evaluates, and blobs for media and for the worker that records sound.
POLICY = "; ".join(
    (
        "default-src 'self'",
        "script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "media-src 'self' data: blob:",
        "font-src 'self' data:",
        "connect-src 'self' data: blob:",
        "worker-src 'self' data: blob:",
        "object-src 'none'",
        "base-uri 'self'",
        "form-action 'self'",
    )
)
HEADERS = {
    b"content-security-policy": POLICY.encode(),
    b"referrer-policy": b"no-referrer",
    b"x-content-type-options": b"nosniff",
}

_Message = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[_Message]]
_Send = Callable[[_Message], Awaitable[None]]
_App = Callable[[_Message, _Receive, _Send], Awaitable[None]]


class SecurityHeaders:
    """ASGI middleware that puts ``HEADERS`` on every response."""

    def __init__(self, app: _App) -> None:
        self._app = app

    async def __call__(self, scope: _Message, receive: _Receive, send: _Send) -> None:
        """Pass a request on."""

        async def send_with_headers(message: _Message) -> None:
            if message["type"] == "http.response.start":
                kept = [(name, value) for name, value in message.get("headers", ()) if name.lower() not in HEADERS]
                message["headers"] = [*kept, *HEADERS.items()]
            await send(message)

        await self._app(scope, receive, send_with_headers)


@dataclass(frozen=True, kw_only=True)
class ServerOptions:
    """Where and for whom the page is served.

    Attributes:
        host: the address to listen on.
        port: the port; 0 for a free one.
        root_path: the path under which a proxy shows the page; empty without a proxy.
        credentials: names and passwords; empty: no log-in.
        share: whether to publish the page through Gradio's servers.
        model: folder of an exported model; None: the bundled one.
        device, precision: as for :func:`open_backend`.
        keep_seconds: how long uploads and results are kept after their last use.
        limits: what is too much.
    """

    host: str = "127.0.0.1"
    port: int = 7860
    root_path: str = ""
    credentials: tuple[tuple[str, str], ...] = ()
    share: bool = False
    model: Path | None = None
    device: str = "auto"
    precision: str = "auto"
    keep_seconds: float = KEEP_SECONDS
    limits: Limits = field(default_factory=Limits)


@contextlib.contextmanager
def serve(options: ServerOptions) -> Iterator[tuple[str, str]]:
    """The running server; gives its address, and the model behind it in a line.

    Raises:
        AvolError: no usable model, no such device or precision, or the port is taken.
    """
    port = _port_to_use(options.host, options.port)
    with (
        open_backend(options.model, options.device, options.precision) as backend,
        contextlib.closing(SharedSystem(AvolNetSystem(backend), _nothing)) as system,  # no call outlives the backend
        PrivateFolder(keep_seconds=options.keep_seconds) as folder,
        _keep_to_ourselves(),
    ):
        # Gradio reads its environment when it is imported.
        import gradio as gr

        from avol.apps.demo_app.page import CSS, build_page

        desk = Desk(system, folder, options.limits, model_card(backend))
        page = build_page(desk)
        page.queue(max_size=MOST_WAITING, default_concurrency_limit=1)
        _, local_url, share_url = page.launch(
            server_name=options.host,
            server_port=port,
            auth=list(options.credentials) or None,
            root_path=options.root_path,
            share=options.share,
            max_file_size=round(options.limits.megabytes * MEGABYTE),
            state_session_capacity=MOST_SESSIONS,
            theme=gr.themes.Default(font=("system-ui", "sans-serif"), font_mono=("ui-monospace", "monospace")),
            css=CSS,
            footer_links=[],
            run_history=False,
            ssr_mode=False,
            mcp_server=False,
            pwa=False,
            show_error=False,
            quiet=True,
            inbrowser=False,
            prevent_thread_lock=True,
            app_kwargs={"middleware": [(SecurityHeaders, (), {})]},
        )
        try:
            yield share_url or local_url, backend.description
        finally:
            page.close(verbose=False)


def _nothing() -> None:
    """What there is to free of a backend that is closed elsewhere."""


def _port_to_use(host: str, port: int) -> int:
    """The port, or a free one for 0, tried before anything slow is done.

    Raises:
        AvolError: it cannot be listened on.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen()
        except OSError as error:
            raise AvolError(
                f"{host} port {port}: cannot be listened on: {error.strerror}. Choose another with --host or --port."
            ) from None
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def _keep_to_ourselves() -> Iterator[None]:
    """Gradio and what comes with it report nothing and look for no updates."""
    settings = {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_DISABLE_TELEMETRY": "1", "DO_NOT_TRACK": "1"}
    before = {name: os.environ.get(name) for name in settings}
    os.environ |= settings
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
