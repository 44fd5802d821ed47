"""OpenAI's API for files: POST /v1/audio/transcriptions, GET /v1/models.

    curl -F model=medical -F file=@audio.wav localhost:8000/v1/audio/transcriptions
    {"text": "take two tablets", "usage": {"type": "duration", "seconds": 2}}

In: multipart forms as OpenAI's clients send them. Out: json, text, srt, verbose_json, vtt, or, with stream=true,
server-sent events. `prompt` and `keywords[]` are hot words; `temperature` and `chunking_strategy` have no
meaning for a CTC model that cuts at pauses, and are read and ignored, as are fields of other servers. Format:
https://platform.openai.com/docs/api-reference/audio.
"""

import asyncio
import json
import math
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from fastapi import APIRouter, Request
from starlette.datastructures import FormData, UploadFile
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse

from ia3_speech.data.audio import SAMPLE_RATE
from ia3_speech.decoding.formats import FORMATS, Layout
from ia3_speech.decoding.formats.records import verbose_segment, word_record
from ia3_speech.decoding.transcript import Transcript
from ia3_speech.decoding.transcription import Transcriber
from ia3_speech.serve.audio_input import read_upload
from ia3_speech.serve.engine import EngineClosed
from ia3_speech.serve.errors import INTERNAL, ApiError, bad_value, overloaded
from ia3_speech.serve.models import Selected, language_code, language_names, model_record
from ia3_speech.serve.state import Server

RESPONSE_FORMATS = ("json", "text", "srt", "verbose_json", "vtt")
STREAMED = ("json", "text")  # formats in which stream=true has a meaning
GRANULARITIES = ("word", "segment")
TERM_WORDS = 6  # a longer part of a prompt is a sentence, not a term
FIELD_BYTES, MOST_FIELDS = 65_536, 200
CLIENT_LEFT = 499  # nginx's status; nobody reads it but the log

router = APIRouter()
Result = TypeVar("Result")


@dataclass(frozen=True)
class Wanted:
    """What a transcription request asks for.

    Attributes:
        language: English name of the language, for verbose_json.
        hotwords: terms of `prompt` and `keywords[]`.
    """

    model: Selected
    response_format: str
    granularities: tuple[str, ...]
    stream: bool
    language: str
    hotwords: tuple[str, ...]

    @property
    def with_words(self) -> bool:
        """Whether segments and times are needed."""
        return self.response_format in ("srt", "vtt", "verbose_json")


# ---- transcriptions

FORM = {
    "type": "object",
    "required": ["file", "model"],
    "properties": {
        "file": {"type": "string", "format": "binary"},
        "model": {"type": "string", "description": "an adapter, a sum such as a:0.5+b:0.5, or the base"},
        "language": {"type": "string", "description": "ISO 639-1"},
        "prompt": {"type": "string", "description": "terms to recognise, with commas between"},
        "response_format": {"type": "string", "enum": list(RESPONSE_FORMATS), "default": "json"},
        "temperature": {"type": "number", "minimum": 0, "maximum": 1},
        "timestamp_granularities[]": {
            "type": "array",
            "items": {"type": "string", "enum": list(GRANULARITIES)},
        },
        "stream": {"type": "boolean", "default": False},
        "keywords[]": {"type": "array", "items": {"type": "string"}},
    },
}


@router.post(
    "/v1/audio/transcriptions",
    openapi_extra={"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": FORM}}}},
)
async def create_transcription(request: Request) -> Response:
    """Transcribe a file."""
    server: Server = request.app.state.server
    async with AsyncExitStack() as stack:
        turn = stack.enter_context(server.admission())
        form = await read_form(request, server.limits.upload_seconds, max_files=1)
        stack.push_async_callback(form.close)
        wanted = read_wanted(form, server, request)
        upload = form.get("file")
        if not isinstance(upload, UploadFile):
            raise bad_value("file", "file has to be an uploaded file, with a filename.")
        limits, minimum = server.limits, server.recognizer.base.minimum_samples
        async with server.decoders:
            wave = await server.in_thread(read_upload, upload.file, limits.max_audio_seconds, minimum)
        seconds = len(wave) / SAMPLE_RATE
        stack.enter_context(server.holding(seconds))
        request.state.audio_seconds = seconds
        recognizer = await server.in_thread(server.recognizer_for, wanted.model, turn, wanted.hotwords)
        transcriber = Transcriber(recognizer)
        if wanted.stream:
            return EventStream(events_of(server, transcriber, wave), stack.pop_all())
        run = server.in_thread(lambda: transcriber.transcribe(wave, word_timestamps=wanted.with_words))
        transcript = await unless_client_leaves(request, translated(run))
        if transcript is None:
            return Response(status_code=CLIENT_LEFT)
        server.metrics.audio_seconds.inc(seconds)
        return response_of(transcript, wanted)


async def read_form(request: Request, seconds: float, *, max_files: int) -> FormData:
    """The fields of a multipart form, files on disk where they are large. Raises ApiError."""
    if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        raise ApiError(400, "The body has to be multipart/form-data.", code="invalid_content_type")
    try:
        async with asyncio.timeout(seconds):
            return await request.form(max_files=max_files, max_fields=MOST_FIELDS, max_part_size=FIELD_BYTES)
    except TimeoutError:
        raise ApiError(408, f"The body did not arrive within {seconds:g} s.", code="timeout") from None
    except OSError as error:  # a full disk
        raise overloaded("The server can't store the upload at the moment.") from error


def read_wanted(form: FormData, server: Server, request: Request) -> Wanted:
    """Check each field. Raises ApiError that names it."""
    model = text_of(form, "model")
    if not model:
        raise bad_value("model", "you must provide a model parameter")
    response_format = choice(form, "response_format", RESPONSE_FORMATS, "json")
    granularities = texts_of(form, "timestamp_granularities")
    if unknown := [one for one in granularities if one not in GRANULARITIES]:
        raise bad_value(
            "timestamp_granularities", f"{unknown[0][:40]!r} is none of {', '.join(GRANULARITIES)}."
        )
    if granularities and response_format != "verbose_json":
        raise bad_value(
            "timestamp_granularities", "timestamp_granularities needs response_format verbose_json."
        )
    stream = choice(form, "stream", ("true", "false", "True", "False", "1", "0"), "false").lower() in (
        "true",
        "1",
    )
    if stream and response_format not in STREAMED:
        raise bad_value("response_format", f"stream is for response_format {' or '.join(STREAMED)}.")
    temperature = text_of(form, "temperature") or "0"
    if not re.fullmatch(r"[01]?(\.\d*)?", temperature) or not 0 <= float(temperature or 0) <= 1:
        raise bad_value("temperature", "temperature has to be a number from 0 to 1.")
    language = check_language(text_of(form, "language"), server.language)
    selected = server.models.select(model, request.state.client)
    hotwords = (*terms_of(text_of(form, "prompt") or ""), *texts_of(form, "keywords"))
    return Wanted(selected, response_format, granularities or ("segment",), stream, language, hotwords)


def text_of(form: FormData, name: str) -> str | None:
    value = form.get(name)
    if value is not None and not isinstance(value, str):
        raise bad_value(name, f"{name} has to be text, not a file.")
    return value


def texts_of(form: FormData, name: str) -> tuple[str, ...]:
    """A list: `name[]`, as OpenAI's clients send it, or `name`, as others do."""
    values = [*form.getlist(f"{name}[]"), *form.getlist(name)]
    if not all(isinstance(value, str) for value in values):
        raise bad_value(name, f"{name} has to be text, not a file.")
    return tuple(filter(None, values))


def choice(form: FormData, name: str, choices: tuple[str, ...], default: str) -> str:
    value = text_of(form, name) or default
    if value not in choices:
        raise bad_value(name, f"{name} is {value[:40]!r}, and has to be one of {', '.join(choices)}.")
    return value


def check_language(language: str | None, own: str | None) -> str:
    """The English name of the language. Raises ApiError where it is another than the base's."""
    code = language_code(language) if language else own
    if code and own and code != own:
        message = f"This server's base writes {language_names()[own]} ({own})."
        raise ApiError(400, message, code="unsupported_language", param="language")
    return language_names()[code] if code else "unknown"


def terms_of(prompt: str) -> tuple[str, ...]:
    """`metformin, atrial fibrillation` → its terms; sentences have none."""
    parts = (" ".join(part.split()).strip(" .\"'") for part in re.split(r"[,;\n\t]", prompt))
    return tuple(part for part in parts if part and len(part.split()) <= TERM_WORDS)


def response_of(transcript: Transcript, wanted: Wanted) -> Response:
    """A transcript in the format that is wanted."""
    usage = {"type": "duration", "seconds": math.ceil(transcript.seconds)}
    if wanted.response_format == "json":
        return JSONResponse({"text": transcript.text, "usage": usage})
    if wanted.response_format != "verbose_json":
        return PlainTextResponse(FORMATS[wanted.response_format].write(transcript, Layout()))
    record: dict[str, Any] = {"task": "transcribe", "language": wanted.language}
    record |= {"duration": round(transcript.seconds, 3), "text": transcript.text}
    if "segment" in wanted.granularities:
        segments = enumerate(transcript.segments or ())
        record["segments"] = [verbose_segment(number, segment) for number, segment in segments]
    if "word" in wanted.granularities:
        record["words"] = [word_record(word, None) for word in transcript.words]
    return JSONResponse(record | {"usage": usage})


async def translated(run: Awaitable[Result]) -> Result:
    """What is awaited; what it raises, as an ApiError where the client can know of it."""
    from ia3_speech.decoding.ctc_search import SearchError
    from ia3_speech.model.ia3_config import AdapterError

    try:
        return await run
    except EngineClosed:
        raise overloaded("The server is shutting down.") from None
    except AdapterError as error:  # it was removed, or replaced by a damaged one, since it was looked up
        raise bad_value("model", "An adapter of this model can't be loaded.") from error
    except SearchError as error:
        raise bad_value("model", "With this model the output is not a number.") from error


async def unless_client_leaves(request: Request, run: Awaitable[Result]) -> Result | None:
    """What is awaited; None as soon as the client has closed its connection."""
    work = asyncio.ensure_future(run)
    gone = asyncio.ensure_future(disconnected(request.receive))
    try:
        await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
        return work.result() if work.done() else None
    finally:
        work.cancel()
        gone.cancel()


async def disconnected(receive: Callable[[], Awaitable[Any]]) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


# ---- server-sent events


class EventStream(StreamingResponse):
    """Server-sent events; whatever becomes of the client, `stack` is closed at the end."""

    def __init__(self, events: AsyncIterator[str], stack: AsyncExitStack):
        super().__init__(events, media_type="text/event-stream", headers={"Cache-Control": "no-cache"})
        self.stack = stack

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async with self.stack:
            await super().__call__(scope, receive, send)


async def events_of(server: Server, transcriber: Transcriber, wave: np.ndarray) -> AsyncIterator[str]:
    """A delta for each segment as soon as it is there, then the whole text: that of all deltas."""
    segments, text = transcriber.stream(wave), ""
    try:
        while (segment := await translated(server.in_thread(next, segments, None))) is not None:
            delta = f" {segment.text}" if text else segment.text
            text += delta
            yield event({"type": "transcript.text.delta", "delta": delta})
        server.metrics.audio_seconds.inc(len(wave) / SAMPLE_RATE)
        yield event({"type": "transcript.text.done", "text": text})
    except ApiError as error:
        yield event(error.body())
    except Exception:
        yield event(INTERNAL.body())
        raise


def event(content: dict[str, Any]) -> str:
    return f"data: {json.dumps(content, ensure_ascii=False)}\n\n"


# ---- models


@router.get("/v1/models")
async def list_models(request: Request) -> dict[str, Any]:
    """The base, and the adapters that this key may use."""
    server: Server = request.app.state.server
    found = await server.in_thread(server.models.adapters, request.state.client)
    records = [model_record(one.name, one.stamp[0] / 1e9) for one in found]
    return {"object": "list", "data": [model_record(server.models.base_id, server.started), *records]}


@router.get("/v1/models/{model:path}")
async def retrieve_model(model: str, request: Request) -> dict[str, Any]:
    """One of these, or a sum of adapters."""
    server: Server = request.app.state.server
    selected = server.models.select(model, request.state.client)
    created = max((term.adapter.stamp[0] / 1e9 for term in selected.terms), default=server.started)
    return model_record(model, created)
