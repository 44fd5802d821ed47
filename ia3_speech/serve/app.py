"""The application: the entrance and exit of every request, the page at /, /metrics, /healthz and /readyz.

In: a `Server`. Out: an ASGI application. Each request has an id, which appears in its response and in its
lines in the log. A request to /v1 needs a key if there are keys. The limits apply to the size and duration of
a body. The page's files are in page/; a policy allows the page to load and run only these.
"""

import asyncio
import logging
import re
import secrets
import time
import traceback
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from prometheus_client import generate_latest
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket

from ia3_speech import __version__
from ia3_speech.adapters import registry
from ia3_speech.model.location import HELD_OUT_SPEECH
from ia3_speech.serve import adapters_api, openai_api, realtime, voices_api
from ia3_speech.serve.errors import CLIENT_LEFT, INTERNAL, ApiError, api_error
from ia3_speech.serve.forms import ServerOf
from ia3_speech.serve.monitoring import REQUEST_ID
from ia3_speech.serve.options import LOOPBACK
from ia3_speech.serve.state import Server

logger = logging.getLogger(__name__)

# Their warnings may quote texts, or name adapters, which may be people's.
QUIET = [logging.getLogger(f"ia3_speech.{name}") for name in ("adapters.io", "data.numbers_in_words")]
UNLOAD_SECONDS = 5.0
PAGE = Path(__file__).parent / "page"
SAMPLE = HELD_OUT_SPEECH / "audio/1462-170138-0012.ogg"
PAGE_FILES = {file.name: file for file in PAGE.iterdir()} | {"sample.ogg": SAMPLE}
PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "media-src 'self' blob:; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Permissions-Policy": "microphone=(self), camera=(), geolocation=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}


def make_app(server: Server) -> FastAPI:
    """The application of a process. When it ends, it closes the server."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        asyncio.get_running_loop().set_default_executor(server.threads)
        unloading = asyncio.create_task(unload_removed(server))
        yield
        server.closing = True
        unloading.cancel()
        server.close()
        for module_logger in QUIET:
            module_logger.setLevel(logging.NOTSET)

    for module_logger in QUIET:
        module_logger.setLevel(logging.ERROR)
    # No documentation pages: FastAPI's load scripts from elsewhere.
    app = FastAPI(title="ia3-speech", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None)
    app.state.server = server
    for module in (openai_api, adapters_api, realtime, voices_api):
        app.include_router(module.router)
    app.add_api_route("/", page, include_in_schema=False)
    app.add_api_route("/page/{name}", page, include_in_schema=False)
    app.add_api_route("/metrics", metrics, response_class=PlainTextResponse)
    app.add_api_route("/healthz", health)
    app.add_api_route("/readyz", health)
    for kind in (HTTPException, RequestValidationError):
        app.add_exception_handler(kind, error_response)
    app.add_middleware(Entrance, server=server)
    return app


async def unload_removed(server: Server) -> None:
    """Unload adapters that another process has removed, and gates with them, every few seconds."""
    names: list[str] = []
    while server.engine.alive:
        await asyncio.sleep(UNLOAD_SECONDS)
        await asyncio.to_thread(server.engine.forget_removed)
        known, names = names, await asyncio.to_thread(registry.registered_names)
        if {*known} - {*names}:
            server.session.cached_gates.clear()


async def page(name: str = "index.html") -> Response:
    """A file of the page; no name becomes a path."""
    if name not in PAGE_FILES:
        raise HTTPException(404)
    return FileResponse(PAGE_FILES[name], headers=PAGE_HEADERS)


async def metrics(server: ServerOf) -> Response:
    """Counts and times for Prometheus."""
    return Response(generate_latest(server.metrics.registry), media_type="text/plain; version=0.0.4")


async def health(request: Request, server: ServerOf) -> Response:
    """/healthz: whether the process works, or needs a restart. /readyz: whether it accepts requests."""
    ready = request.url.path.endswith("readyz")
    good = server.engine.alive and not (ready and server.closing)
    status = ("ready" if ready else "ok") if good else "unavailable"
    return JSONResponse({"status": status}, 200 if good else 503)


async def error_response(request: Request, error: Exception) -> Response:
    """Errors of Starlette and FastAPI in OpenAI's shape."""
    if (known := api_error(error)) is None:
        unknown = f"Invalid URL ({request.method} {request.url.path[:200]})"
        known = ApiError(error.status_code, unknown if error.status_code == 404 else error.detail)
    return known.response()


class Entrance:
    """Middleware: ids, keys, limits, the log and the metrics of requests."""

    def __init__(self, app: ASGIApp, server: Server):
        self.app, self.server = app, server

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        request_id, began = f"req_{secrets.token_hex(12)}", time.monotonic()
        token, resources, status = REQUEST_ID.set(request_id), ExitStack(), 500
        scope["state"] = {"client": None, "audio_seconds": 0.0, "resources": resources}

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] in ("http.response.start", "websocket.http.response.start"):
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["x-request-id"] = request_id
                headers.setdefault("cache-control", "no-store")  # browsers would keep texts on disk
            elif message["type"] == "websocket.accept":
                status = 101
            elif message["type"] == "http.response.body" and not message.get("more_body"):
                resources.close()  # so that they are free for the client's next request
            await send(message)

        try:
            self.authorize(scope)
            await self.app(scope, self.limited(receive), send_with_id)
        except ClientDisconnect:
            status = CLIENT_LEFT
        except Exception as error:
            if (known := api_error(error)) is None:  # without the error's message, which may quote a text
                lines = "".join(traceback.format_tb(error.__traceback__))
                logger.error("defect: %s\n%s", type(error).__name__, lines)
            if status == 500:  # nothing has been sent yet
                response = (known or INTERNAL).response()
                if scope["type"] == "websocket":  # in place of its handshake
                    await WebSocket(scope, receive, send_with_id).send_denial_response(response)
                else:
                    await response(scope, receive, send_with_id)
        finally:
            resources.close()
            self.server.metrics.note_request(scope, status, time.monotonic() - began)
            REQUEST_ID.reset(token)

    def authorize(self, scope: Scope) -> None:
        """Set the client of a request, and admit it if it has a form or is a session; `handle` is its place
        in the queue. Raises ApiError for a request that is refused unread."""
        path, root = scope["path"], scope.get("root_path", "")
        path = path[len(root) :] if path.startswith(f"{root}/") else path  # as in Starlette's routes
        if not path.startswith("/v1/"):
            return
        headers, max_bytes = Headers(scope=scope), self.server.limits.max_bytes
        origin, host = headers.get("origin"), headers.get("host", "")
        if self.server.local and re.sub(r":\d*$", "", host).strip("[]").lower() not in LOOPBACK:
            # A page of another site whose domain name points at this machine (DNS rebinding).
            raise ApiError(403, "This server is for this machine alone (--host, --key-file).", "invalid_host")
        if self.server.access.file is None and origin and origin.partition("://")[2] != host:
            # Without keys a page of any other site could use this server through its visitors' browsers.
            raise ApiError(403, "Pages of other sites may not use this server.", "invalid_origin")
        address = (scope.get("client") or ("-",))[0]
        state = scope["state"]
        state["client"] = self.server.access.client(headers, address)
        length = headers.get("content-length", "0")
        if length.isdecimal() and int(length) > max_bytes:
            raise too_large(max_bytes)
        if scope.get("method", "POST") == "POST":
            if scope["type"] == "websocket":
                state["resources"].enter_context(self.server.live_session(state["client"]))
            state["handle"] = state["resources"].enter_context(self.server.admission())

    def limited(self, receive: Receive) -> Receive:
        """`receive`, which raises ApiError for a body that is too long or too slow."""
        limits, loop = self.server.limits, asyncio.get_running_loop()
        left, end, complete = limits.max_bytes, loop.time() + limits.upload_seconds, False

        async def receive_limited() -> Message:
            nonlocal left, complete
            try:
                async with asyncio.timeout_at(None if complete else end):
                    message = await receive()
            except TimeoutError:
                late = f"The body did not arrive within {limits.upload_seconds:g} s."
                raise ApiError(408, late, "timeout") from None
            left, complete = left - len(message.get("body", b"")), not message.get("more_body")
            if left < 0:
                raise too_large(limits.max_bytes)
            return message

        return receive_limited


def too_large(max_bytes: int) -> ApiError:
    return ApiError(413, f"Maximum content size limit ({max_bytes}) exceeded.", "content_too_large")
