"""The web server of the page: its address, limits of requests, its end."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Sequence
from pathlib import Path

from nicegui import app, ui
from starlette.formparsers import MultiPartParser
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from ..errors import UserError, reason
from .gallery import Gallery
from .looking import ExploredModel
from .page import build_page
from .uploads import MOST_BYTES

#: Port of the page, if it is free.
PORT = 8080
_FORM_BYTES = 2**16  # of a request around the file
_RECONNECT_SECONDS = 30.0  # a sleeping laptop keeps its window
_ICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 8 8"><rect width="8" height="8" rx="2" '
    'fill="#3b5bdb"/><path d="M2 2h2v2H2zM4 4h2v2H4z" fill="#fff"/></svg>'
)


class UploadLimit:
    """ASGI middleware that refuses requests with a larger body than an upload may have."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it with status 413."""
        if scope["type"] == "http" and scope["method"] == "POST" and "/upload/" in scope["path"]:
            length = dict(scope["headers"]).get(b"content-length", b"")
            if not length.isdigit() or int(length) > MOST_BYTES + _FORM_BYTES:
                refusal = PlainTextResponse("the file is too large", status_code=413)
                await refusal(scope, receive, send)
                return
        await self.app(scope, receive, send)


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def pick_port(host: str, asked: int | None) -> int:
    """The port that was asked for, else :data:`PORT`, else a free one.

    Raises:
        UserError: The port that was asked for, or any port of this host, cannot be had.
    """
    for port in (PORT, 0) if asked is None else (asked,):
        try:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            with socket.create_server((host, port), family=family) as server:
                free: int = server.getsockname()[1]
                return free
        except OSError as error:
            said = reason(error).partition(" (while")[0]  # Python adds the address
    if asked is None:
        raise UserError(f"--host {host} cannot be used ({said}); leave it out for 127.0.0.1")
    raise UserError(
        f"--port {asked} of {host} cannot be used ({said}); leave it out for a free one"
    )


def serve(
    model: ExploredModel,
    images: Sequence[Path],
    run: str | None,
    host: str,
    port: int,
    browser: bool,
) -> None:
    """Serve the page until Ctrl-C.

    Uploads stay in memory; nothing is written to disk, and nothing is sent elsewhere.

    Args:
        model: Model to explore.
        images: Files of the gallery.
        run: Work dir of a run to follow; None for none.
        host: Address to listen on.
        port: Port of :func:`pick_port`.
        browser: Whether a browser is opened.
    """
    MultiPartParser.spool_max_size = MOST_BYTES + _FORM_BYTES  # larger parts go to disk
    app.add_middleware(UploadLimit)
    if is_loopback(host) and ":" not in host:
        # Another site's name that leads to this machine must not read the page.
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost", host])
    gallery = Gallery(images, model.read)
    gallery.add_routes()
    ui.page("/", title=f"{model.title} · explorer", favicon=_ICON)(
        lambda: build_page(model, gallery, run)
    )
    address = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    app.on_startup(lambda: print(f"explorer: {address} (Ctrl-C ends it)", flush=True))
    ui.run(
        host=host,
        port=port,
        show=browser,
        reload=False,
        dark=False,
        tailwind=False,
        show_welcome_message=False,
        reconnect_timeout=_RECONNECT_SECONDS,
    )
