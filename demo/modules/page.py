"""The page around the panel: scripts and styles of the host and of the extensions."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from fastapi import FastAPI, Request
from starlette.responses import HTMLResponse, Response

from modules import scripts

STYLE = "style.css"


def _read(path: str) -> str:
    with open(path, encoding="utf8") as file:
        return file.read()


def head() -> str:
    """Return the page's head: all of ``javascript/`` and every style.css, the host's first."""
    files = scripts.list_scripts("javascript", ".js")
    code = "".join(f"<script>\n{_read(file.path)}\n</script>\n" for file in files)
    return code + "".join(f"<style>\n{_read(path)}\n</style>\n" for path in scripts.list_files_with_name(STYLE))


def serve_page(app: FastAPI) -> None:
    """gradio 3.41 has no setting for the head, so it is put into its page on the way out."""

    @app.middleware("http")
    async def add_head(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        response = await call_next(request)
        if request.url.path != "/" or "text/html" not in response.headers.get("content-type", ""):
            return response
        body = b"".join([part async for part in response.body_iterator]).decode()
        return HTMLResponse(body.replace("</head>", f"{head()}</head>", 1), response.status_code)
