"""The web application: the page, and the files of its results. Import it only after `server.isolate`, as `page`."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gradio
from fastapi import FastAPI, Request
from fastapi.responses import FileResponse, HTMLResponse, PlainTextResponse
from starlette.background import BackgroundTask
from starlette.middleware.trustedhost import TrustedHostMiddleware

from depthmask.app.results import Results, pack_result, render_scene
from depthmask.base.errors import UserError

UPLOAD_BYTES_MAX = 2**30  # far above any photo that is read
# the browser fetches nothing from elsewhere, whatever Gradio's pages name
POLICY = "; ".join(
    (
        "default-src 'self'",
        "script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "media-src 'self' data: blob:",
        "font-src 'self' data:",
        "connect-src 'self' data: blob:",
        "worker-src 'self' blob:",
        "frame-src 'self' blob: data:",
        "object-src 'none'",
        "base-uri 'self'",
        "form-action 'self'",
    )
)
HEADERS = {"Content-Security-Policy": POLICY, "Referrer-Policy": "no-referrer", "X-Content-Type-Options": "nosniff"}


def make_app(page: gradio.Blocks, results: Results, folder: Path, hosts: Sequence[str], **looks: Any) -> Any:
    """The application: the page, and the files of its results. hosts: names to which it answers alone; none: to any.

    folder: for archives while they are sent. looks: theme and css of `gradio.mount_gradio_app`.
    """
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    @app.exception_handler(UserError)
    def refuse(request: Request, error: UserError) -> PlainTextResponse:
        return PlainTextResponse(str(error), status_code=404)

    @app.get("/results/{token}/scene.html")
    def show_scene(token: str) -> HTMLResponse:
        return HTMLResponse(render_scene(results.get(token)))

    @app.get("/results/{token}/{name}.zip")
    def download(token: str, name: str, threshold: float = 0.5, soft: bool = False) -> FileResponse:
        result = results.get(token)
        with tempfile.NamedTemporaryFile(dir=folder, suffix=".zip", delete=False) as packed:
            path = Path(packed.name)
        pack_result(result, min(max(threshold, 0.0), 1.0), soft, path)
        return FileResponse(path, media_type="application/zip", background=BackgroundTask(path.unlink, missing_ok=True))

    gradio.mount_gradio_app(
        app,
        page,
        path="/",
        footer_links=[],
        run_history=False,
        pwa=False,
        ssr_mode=False,
        mcp_server=False,
        enable_monitoring=False,
        max_file_size=UPLOAD_BYTES_MAX,
        **looks,
    )
    if hosts:  # a page of elsewhere cannot reach this one under a name of its own
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=hosts)
    app.add_middleware(_Headers)
    return app


class _Headers:
    """Adds HEADERS to every answer."""

    def __init__(self, app: Callable):
        self._app = app

    async def __call__(self, scope: dict, receive: Callable, send: Callable) -> None:
        async def send_more(message: dict) -> None:
            if message["type"] == "http.response.start":
                added = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]
                message = message | {"headers": [*message.get("headers", ()), *added]}
            await send(message)

        await self._app(scope, receive, send_more if scope["type"] == "http" else send)
