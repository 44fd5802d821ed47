"""The application: every request's way in and out, the page at /, /metrics, /healthz and /readyz.

In: a `Server`. Out: an ASGI application. Each request gets an id, which its response and every line of the
log carry; those under /v1 need a key where there are keys; no body is read beyond the limit. The page's files
lie below page/; a policy allows it to load and run these alone.
"""

import asyncio
import errno
import logging
import secrets
import time
import traceback
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

from fastapi import FastAPI, Request
from prometheus_client import generate_latest
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket

from ia3_speech import __version__
from ia3_speech.serve import adapters_api, openai_api, realtime, voices_api
from ia3_speech.serve.engine import EngineClosed
from ia3_speech.serve.errors import CLIENT_LEFT, INTERNAL, ApiError, overloaded
from ia3_speech.serve.monitoring import REQUEST_ID
from ia3_speech.serve.options import LOOPBACK
from ia3_speech.serve.state import Server

logger = logging.getLogger(__name__)

# Whose warnings name adapters, which may be people's, or quote texts.
QUIET = [logging.getLogger(f"ia3_speech.{name}") for name in ("adapters.io", "data.numbers_in_words")]
UNLOAD_SECONDS = 5.0
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
PAGE = Path(__file__).parent / "page"
SAMPLE = PAGE.parents[1] / "out_of_domain/librispeech_dev/audio/1462-170138-0012.ogg"
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
    """The application of one process. When it ends, the server is closed."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        asyncio.get_running_loop().set_default_executor(server.threads)
        unloading = asyncio.create_task(unload_removed(server))
        yield
        server.closing = True
        unloading.cancel()
        server.close()
        for each in QUIET:
            each.setLevel(logging.NOTSET)

    for each in QUIET:
        each.setLevel(logging.ERROR)
    # No pages of documentation: theirs load scripts from elsewhere.
    app = FastAPI(title="ia3-speech", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None)
    app.state.server = server
    for module in (openai_api, adapters_api, realtime, voices_api):
        app.include_router(module.router)
    app.add_api_route("/", page, include_in_schema=False)
    app.add_api_route("/page/{name}", page, include_in_schema=False)
    app.add_api_route("/metrics", metrics, response_class=PlainTextResponse)
    app.add_api_route("/healthz", healthz)
    app.add_api_route("/readyz", readyz)
    app.add_exception_handler(HTTPException, http_error)
    app.add_middleware(Entrance, server=server)
    return app


async def unload_removed(server: Server) -> None:
    """Unload, again and again, adapters that another process has removed."""
    while server.engine.alive:
        await asyncio.sleep(UNLOAD_SECONDS)
        with suppress(EngineClosed):
            await asyncio.to_thread(server.engine.forget_removed)


async def page(name: str = "index.html") -> Response:
    """A file of the page; no name becomes a path."""
    if name not in PAGE_FILES:
        raise HTTPException(404)
    return FileResponse(PAGE_FILES[name], headers=PAGE_HEADERS)


async def metrics(request: Request) -> Response:
    """Counts and times for Prometheus."""
    text = generate_latest(request.app.state.server.metrics.registry)
    return Response(text, media_type="text/plain; version=0.0.4")


async def healthz(request: Request) -> Response:
    """Whether the process works; if not, it should be started anew."""
    return health(request.app.state.server.engine.alive, "ok")


async def readyz(request: Request) -> Response:
    """Whether requests should be sent here."""
    server: Server = request.app.state.server
    return health(server.engine.alive and not server.closing, "ready")


def health(good: bool, word: str) -> Response:
    return JSONResponse({"status": word if good else "unavailable"}, 200 if good else 503)


def http_error(request: Request, error: HTTPException) -> Response:
    """Starlette's errors, such as of an unknown address, in OpenAI's shape."""
    unknown = f"Invalid URL ({request.method} {request.url.path[:200]})"
    return ApiError(error.status_code, unknown if error.status_code == 404 else error.detail).response()


class Entrance:
    """Middleware: ids, keys, the limit of a body's size, the log and the metrics of requests."""

    def __init__(self, app: ASGIApp, server: Server):
        self.app, self.server = app, server

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        request_id, began = f"req_{secrets.token_hex(12)}", time.monotonic()
        token = REQUEST_ID.set(request_id)
        scope["state"] = {"client": None, "audio_seconds": 0.0}
        status = 500

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] in ("http.response.start", "websocket.http.response.start"):
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["x-request-id"] = request_id
                headers.setdefault("cache-control", "no-store")  # browsers would keep texts on disk
            elif message["type"] == "websocket.accept":
                status = 101
            await send(message)

        try:
            self.let_in(scope)
            await self.app(scope, limited(receive, self.server.limits.max_bytes), send_with_id)
        except ApiError as error:
            await answer(error, scope, receive, send_with_id)
        except ClientDisconnect:
            status = CLIENT_LEFT
        except Exception as error:
            full = isinstance(error, OSError) and error.errno in FULL
            if full:
                logger.error("nothing can be stored: %s", error.strerror)
            else:
                # Without the error's own words, which may quote a text.
                lines = "".join(traceback.format_tb(error.__traceback__))
                logger.error("defect: %s\n%s", type(error).__name__, lines)
            if status == 500:  # nothing has been sent yet
                told = overloaded("The server can't store anything at the moment.") if full else INTERNAL
                await answer(told, scope, receive, send_with_id)
        finally:
            self.server.metrics.note_request(scope, status, time.monotonic() - began)
            REQUEST_ID.reset(token)

    def let_in(self, scope: Scope) -> None:
        """Set the request's client. Raises ApiError for one that is to be refused unread."""
        path, root = scope["path"], scope.get("root_path", "")
        path = path[len(root) :] if path.startswith(f"{root}/") else path  # as Starlette finds the route
        if not path.startswith("/v1/"):
            return
        headers = Headers(scope=scope)
        origin, host = headers.get("origin"), headers.get("host", "")
        if self.server.local and host_name(host) not in LOOPBACK:
            # A page of another site, whose name was made to lead to this machine (DNS rebinding).
            raise ApiError(403, "This server is for this machine alone (--host, --key-file).", "invalid_host")
        if self.server.access.file is None and origin and origin.partition("://")[2] != host:
            # Without keys a page of any other site could use this server through its visitors' browsers.
            raise ApiError(403, "Pages of other sites may not use this server.", "invalid_origin")
        address = (scope.get("client") or ("-",))[0]
        scope["state"]["client"] = self.server.access.client(headers, address)
        length = headers.get("content-length", "0")
        if length.isdecimal() and int(length) > self.server.limits.max_bytes:
            raise too_large(self.server.limits.max_bytes)


def host_name(host: str) -> str | None:
    """`localhost` of the header `localhost:8000`."""
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None


def limited(receive: Receive, max_bytes: int) -> Receive:
    """`receive` for a body that is longer than its header says, or has no header. It raises ApiError."""
    left = max_bytes

    async def receive_limited() -> Message:
        nonlocal left
        message = await receive()
        left -= len(message.get("body", b""))
        if left < 0:
            raise too_large(max_bytes)
        return message

    return receive_limited


def too_large(max_bytes: int) -> ApiError:
    return ApiError(413, f"Maximum content size limit ({max_bytes}) exceeded.", "content_too_large")


async def answer(error: ApiError, scope: Scope, receive: Receive, send: Send) -> None:
    """Send an error; to a WebSocket in place of its handshake."""
    if scope["type"] == "websocket":
        await WebSocket(scope, receive, send).send_denial_response(error.response())
    else:
        await error.response()(scope, receive, send)
