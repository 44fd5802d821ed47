"""The parameters of endpoints: the sender of a request, its multipart form, the samples of an audio file.

In: a request that `app.Entrance` has admitted. Out: parameters of endpoints. The number of a form's files and
fields, and the length of an audio file, are checked before memory of that size is allocated.
"""

import asyncio
import io
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, BinaryIO, TypeVar

import numpy as np
from fastapi import Depends, Request, Response, UploadFile
from fastapi.routing import APIRoute
from starlette.datastructures import FormData
from starlette.requests import ClientDisconnect, HTTPConnection

from ia3_speech.adapters.record import FILES
from ia3_speech.common.errors import AudioError, TooLong
from ia3_speech.data.audio import SAMPLE_RATE, load_audio, source_name
from ia3_speech.data.utterance import find_problem
from ia3_speech.serve.access import Client
from ia3_speech.serve.engine import ClientLeft
from ia3_speech.serve.errors import CLIENT_LEFT, ApiError, api_error, bad_value
from ia3_speech.serve.state import Server

FORM_LIMITS = {"max_files": len(FILES), "max_fields": 200, "max_part_size": 65_536}  # bytes of a field

Result = TypeVar("Result")


async def get_server(connection: HTTPConnection) -> Server:
    return connection.app.state.server


async def get_client(connection: HTTPConnection) -> Client:
    return connection.state.client


ServerOf = Annotated[Server, Depends(get_server)]
ClientOf = Annotated[Client, Depends(get_client)]


class FormRequest(Request):
    async def form(self, **_: Any) -> FormData:
        """The multipart form, without empty fields; `name[]`, OpenAI's list, is `name`. Raises ApiError."""
        if not self.headers.get("content-type", "").lower().startswith("multipart/form-data"):
            raise ApiError(400, "The body must be multipart/form-data.", "invalid_content_type")
        try:
            form = await super().form(**FORM_LIMITS)
        except ClientDisconnect:
            raise ApiError(CLIENT_LEFT, "The client has left.") from None
        except OSError as error:  # a full disk
            raise (api_error(error) or error) from None
        return FormData([(key.removesuffix("[]"), value) for key, value in form.multi_items() if value != ""])


class FormRoute(APIRoute):
    """A route whose endpoint has a parameter `Annotated[MODEL, File()]`, a form."""

    def get_route_handler(self) -> Callable[[Request], Awaitable[Response]]:
        handle = super().get_route_handler()

        async def handle_form(request: Request) -> Response:
            return await handle(FormRequest(request.scope, request.receive))

        return handle_form


async def decode_audio(request: Request, upload: UploadFile) -> np.ndarray:
    """The samples of an uploaded file, float32 (samples,), 16 kHz mono, which count towards the audio in
    memory until the request ends. Decoding stops when the client leaves. Raises ApiError."""
    server, handle = request.app.state.server, request.state.handle
    max_seconds, minimum = 60 * server.limits.max_minutes, server.session.base.minimum_samples

    def check() -> None:
        if handle.cancelled:
            raise ClientLeft

    async def decode() -> np.ndarray:
        async with server.decoders:
            return await asyncio.to_thread(decode_file, upload.file, max_seconds, minimum, check)

    wave = await unless_client_leaves(request, decode())
    request.state.resources.enter_context(server.holding(len(wave) / SAMPLE_RATE))
    return wave


def decode_file(upload: BinaryIO, max_seconds: float, minimum: int, check: Callable[[], None]) -> np.ndarray:
    """Decode a file of at least `minimum` samples. Raises ApiError 400, or 413 if it is too long: a few
    kilobytes can contain days of silence, or promise them. Calls `check` repeatedly; it may raise."""
    file = io.BytesIO(upload.read())  # PyAV would write to a temporary file
    try:
        wave = load_audio(file, max_seconds=max_seconds, check=check)
    except TooLong as error:
        raise ApiError(413, f"Audio file {error}.", "audio_too_long", "file") from None
    except AudioError as error:
        raise undecodable(str(error).removeprefix(f"{source_name(file)}: ")) from None
    except (ValueError, OverflowError, MemoryError) as error:  # an invalid header
        raise undecodable(type(error).__name__) from None
    problem = find_problem(wave, minimum)
    if problem and problem.fatal:
        if len(wave) < minimum:
            raise ApiError(400, f"Audio file is {problem.reason}.", "audio_too_short", "file")
        raise undecodable(problem.reason)
    return wave


def undecodable(reason: str) -> ApiError:
    return bad_value("file", f"The audio file could not be decoded or its format is not supported: {reason}")


async def unless_client_leaves(request: Request, work: Awaitable[Result]) -> Result:
    """The result of `work`. Raises ClientDisconnect as soon as the client closes its connection."""

    async def disconnected() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    task, gone = asyncio.ensure_future(work), asyncio.ensure_future(disconnected())
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientDisconnect
        return task.result()
    finally:
        task.cancel()
        gone.cancel()
