"""The application: every request's way in and out, /metrics, /healthz and /readyz.

In: a `Server`. Out: an ASGI application. Each request gets an id, which its response and every line of the
log carry; those under /v1 need a key where there are keys; no body is read beyond the limit. The log holds
neither audio nor text, nor the names of adapters: a route is logged as `/v1/adapters/{name}`.
"""

import logging
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar

from fastapi import FastAPI, Request
from starlette.datastructures import Headers, MutableHeaders, State
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket

from ia3_speech import __version__
from ia3_speech.serve import adapters_api, openai_api, realtime
from ia3_speech.serve.errors import INTERNAL, ApiError
from ia3_speech.serve.state import Server

logger = logging.getLogger(__name__)

REQUEST_ID: ContextVar[str] = ContextVar("request_id", default="-")


def make_app(server: Server) -> FastAPI:
    """The application of one process. When it ends, the server is closed."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        server.closing = True
        server.close()

    # No pages of documentation: theirs load scripts from elsewhere.
    app = FastAPI(title="ia3-speech", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None)
    app.state.server = server
    for module in (openai_api, adapters_api, realtime):
        app.include_router(module.router)
    app.add_api_route("/metrics", metrics, response_class=PlainTextResponse)
    app.add_api_route("/healthz", healthz)
    app.add_api_route("/readyz", readyz)
    app.add_exception_handler(ApiError, lambda _, error: error.response())
    app.add_exception_handler(HTTPException, http_error)
    app.add_middleware(Entrance, server=server)
    return app


async def metrics(request: Request) -> Response:
    """Counts and times for Prometheus."""
    return Response(request.app.state.server.metrics.text(), media_type="text/plain; version=0.0.4")


async def healthz(request: Request) -> Response:
    """Whether the process works; if not, it should be started anew."""
    alive = request.app.state.server.engine.alive
    return JSONResponse({"status": "ok" if alive else "unavailable"}, 200 if alive else 503)


async def readyz(request: Request) -> Response:
    """Whether requests should be sent here."""
    server: Server = request.app.state.server
    ready = server.engine.alive and not server.closing
    return JSONResponse({"status": "ready" if ready else "unavailable"}, 200 if ready else 503)


def http_error(request: Request, error: Exception) -> Response:
    """Starlette's errors, such as of an unknown address, in OpenAI's shape."""
    assert isinstance(error, HTTPException)
    message = str(error.detail)
    if error.status_code == 404:
        message = f"Invalid URL ({request.method} {request.url.path[:200]})"
    return ApiError(error.status_code, message).response()


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
                MutableHeaders(scope=message)["x-request-id"] = request_id
            elif message["type"] == "websocket.accept":
                status = 101
            await send(message)

        try:
            self.let_in(scope)
            await self.app(scope, LimitedBody(receive, self.server.limits.max_bytes), send_with_id)
        except ApiError as error:
            await answer(error, scope, receive, send_with_id)
        except Exception:
            logger.exception("defect")
            if status == 500:  # nothing has been sent yet
                await answer(INTERNAL, scope, receive, send_with_id)
        finally:
            self.note(scope, status, time.monotonic() - began)
            REQUEST_ID.reset(token)

    def let_in(self, scope: Scope) -> None:
        """Set the request's client. Raises ApiError for one that is to be refused unread."""
        if not scope["path"].startswith("/v1/"):
            return
        headers = Headers(scope=scope)
        origin = headers.get("origin")
        if self.server.access.file is None and origin and origin.partition("://")[2] != headers.get("host"):
            # Without keys a page of any other site could use this server through its visitors' browsers.
            raise ApiError(403, "Pages of other sites may not use this server.", "invalid_origin")
        address = (scope.get("client") or ("-",))[0]
        scope["state"]["client"] = self.server.access.client(headers, address)
        length = headers.get("content-length", "0")
        if length.isdecimal() and int(length) > self.server.limits.max_bytes:
            raise too_large(self.server.limits.max_bytes)

    def note(self, scope: Scope, status: int, seconds: float) -> None:
        """Count and log a request that is over."""
        route = getattr(scope.get("route"), "path", "unknown")
        method = scope.get("method", "WS")
        method = method if method in ("GET", "POST", "DELETE", "WS") else "other"
        self.server.metrics.requests.labels(method, route, str(status)).inc()
        self.server.metrics.request_seconds.labels(route).observe(seconds)
        state = State(scope["state"])
        self.server.metrics.audio_seconds.inc(state.audio_seconds)
        client = state.client.name if state.client else "-"
        line = "%s %s %d %.3f s, key %s, audio %.1f s"
        logger.info(line, method, route, status, seconds, client, state.audio_seconds)


class LimitedBody:
    """`receive` that ends a body which is longer than its header says, or has no header. Raises ApiError."""

    def __init__(self, receive: Receive, max_bytes: int):
        self.receive, self.max_bytes, self.bytes = receive, max_bytes, 0

    async def __call__(self) -> Message:
        message = await self.receive()
        if message["type"] == "http.request":
            self.bytes += len(message.get("body", b""))
            if self.bytes > self.max_bytes:
                raise too_large(self.max_bytes)
        return message


def too_large(max_bytes: int) -> ApiError:
    return ApiError(413, f"Maximum content size limit ({max_bytes}) exceeded.", "content_too_large")


async def answer(error: ApiError, scope: Scope, receive: Receive, send: Send) -> None:
    """Send an error; to a WebSocket in place of its handshake."""
    if scope["type"] == "websocket":
        await WebSocket(scope, receive, send).send_denial_response(error.response())
    else:
        await error.response()(scope, receive, send)


class RequestIds(logging.Filter):
    """Puts the id of the request, under which a line was logged, into it."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.request_id = REQUEST_ID.get()
        return True
