"""Serve OpenAI's audio API for a base and all registered adapters.

    ia3-speech serve                                    http://127.0.0.1:8000, for this machine only
    ia3-speech serve --host 0.0.0.0 --key-file keys.yaml    for other machines, with API keys
    ia3-speech serve --device cuda --batch-seconds 400  on a GPU

Then, with curl or any OpenAI client:

    curl -F model=mini -F file=@audio.wav localhost:8000/v1/audio/transcriptions
    curl -F model=accent:0.5+medical:0.5 -F response_format=srt -F file=@audio.wav \\
        localhost:8000/v1/audio/transcriptions

A request's model is the base, a registered adapter or a sum of adapters, which is loaded on first use. Other
endpoints: /v1/models, /v1/realtime (WebSocket, OpenAI's transcription sessions), /v1/adapters, /metrics,
/healthz, /readyz, /openapi.json. After SIGTERM, accepted requests are finished. See docs/serve.md. """

import logging
import socket
import sys
from types import FrameType

from ia3_speech.common.cli import pip_install
from ia3_speech.common.errors import UserError
from ia3_speech.common.formatting import plural
from ia3_speech.decoding.search import SearchOptions
from ia3_speech.serve.options import LOOPBACK, EngineOptions, LimitOptions, ServerOptions, check
from ia3_speech.session import load


def main(
    *,
    server_options: ServerOptions,
    engine_options: EngineOptions,
    limit_options: LimitOptions,
    search_options: SearchOptions,
) -> None:
    """Serve OpenAI's audio API."""
    check(server_options, engine_options, limit_options)
    print(f"loading {engine_options.base} …", file=sys.stderr)
    try:
        import python_multipart  # noqa: F401
        import uvicorn

        from ia3_speech.serve.app import make_app
        from ia3_speech.serve.errors import ApiError
        from ia3_speech.serve.monitoring import add_request_id
        from ia3_speech.serve.state import Server
    except ImportError as error:
        raise UserError(f"serve needs {error.name} (in the clone: {pip_install('.[serve]')})") from None
    for handler in logging.getLogger().handlers:
        handler.addFilter(add_request_id)
        handler.setFormatter(logging.Formatter("%(asctime)s %(request_id)s %(message)s"))

    class Web(uvicorn.Server):
        """Prints the unfinished requests at the first signal, and ends quietly at the second."""

        def handle_exit(self, number: int, frame: FrameType | None) -> None:
            if self.should_exit:  # otherwise each request prints a traceback
                logging.getLogger("uvicorn").setLevel(logging.CRITICAL)
            elif server.active:
                seconds = f"{server_options.shutdown_seconds} s at most"
                print(f"waits for {plural(server.active, 'request')}, {seconds}", file=sys.stderr)
            super().handle_exit(number, frame)

    session = load(search=search_options, **engine_options.for_loading()).session
    try:
        server = Server(session, server_options, engine_options, limit_options)
    except ApiError as error:
        raise UserError(f"`language`: {error.message}") from None
    if server_options.key_file is None and server_options.host not in LOOPBACK:
        warning = "warning: without --key-file whoever reaches this port may use and change everything"
        print(warning, file=sys.stderr)
    listener = listen(server_options.host, server_options.port, limit_options.upload_seconds)
    host = f"[{server_options.host}]" if ":" in server_options.host else server_options.host
    address = f"http://{host}:{listener.getsockname()[1]}"
    print(f"{server.models.base_id} is served at {address} (Ctrl-C ends it)", file=sys.stderr)
    config = uvicorn.Config(
        make_app(server),
        access_log=False,  # it would contain the names of adapters
        log_config=None,
        server_header=False,
        timeout_graceful_shutdown=server_options.shutdown_seconds,
        ws_max_size=2**20,  # bytes of an event: 16 s of speech
        ws_max_queue=4,
        ws_ping_timeout=None,  # the answer waits behind audio that a slow server has not read
    )
    Web(config).run(sockets=[listener])


def listen(host: str, port: int, seconds: float) -> socket.socket:
    """A listening socket. Linux disconnects a client that reads nothing of its answer for `seconds`;
    otherwise the answer would stay in memory for ever."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family)
    except OSError as error:
        fault = error.strerror.partition(" (")[0]
        raise UserError(f"`host={host}` `port={port}`: {fault} (choose another)") from None
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # accepted connections inherit it
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, max(1, round(1000 * seconds)))
    return listener
