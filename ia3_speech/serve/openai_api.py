"""OpenAI's API for files: POST /v1/audio/transcriptions, GET /v1/models.

In: multipart forms as OpenAI's clients send them. Out: json, text, srt, verbose_json, vtt, or, with
stream=true, server-sent events. `prompt` and `keywords[]` are hot words; `temperature` and
`chunking_strategy` have no meaning for a CTC model that cuts at pauses; unknown fields are ignored.
Format: https://platform.openai.com/docs/api-reference/audio
"""

import asyncio
import io
import json
import math
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, BinaryIO, Literal, TypeVar

import numpy as np
from fastapi import APIRouter, Request
from pydantic import BaseModel, Field, ValidationError
from starlette.datastructures import FormData, UploadFile
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse

from ia3_speech.data.audio import SAMPLE_RATE, load_audio, source_name
from ia3_speech.data.utterance import find_problem
from ia3_speech.decoding.formats import FORMATS
from ia3_speech.decoding.formats.writers import verbose_segment, word_record
from ia3_speech.decoding.options import OutputOptions
from ia3_speech.decoding.segments import RunningText, make_parts
from ia3_speech.decoding.transcript import Transcript
from ia3_speech.decoding.transcription import Transcriber
from ia3_speech.errors import AudioError, SearchError, TooLong, UserError
from ia3_speech.serve.engine import ClientLeft, EngineClosed, Turn
from ia3_speech.serve.errors import CLIENT_LEFT, INTERNAL, ApiError, bad_value, invalid, overloaded
from ia3_speech.serve.models import language_code, language_names
from ia3_speech.serve.state import Server

TERM_WORDS = 6  # a longer part of a prompt is a sentence, not a term
FIELD_BYTES, MOST_FIELDS = 65_536, 200

router = APIRouter()
Result = TypeVar("Result")


class TranscriptionForm(BaseModel):
    """The fields of a transcription request, but for the file."""

    model: str = Field(min_length=1, description="base, adapter, a sum (accent:0.5+medical:0.5), auto")
    language: str | None = Field(None, description="ISO 639-1")
    prompt: str = Field("", description="terms to recognise, with commas between")
    keywords: list[str] = Field([], alias="keywords[]")
    response_format: Literal["json", "text", "srt", "verbose_json", "vtt"] = "json"
    timestamp_granularities: list[Literal["word", "segment"]] = Field([], alias="timestamp_granularities[]")
    include: list[str] = Field([], alias="include[]")
    temperature: float = Field(0.0, ge=0, le=1)
    stream: bool = False
    dictation: bool = Field(
        False, description="write punctuation and doses as in written text (not OpenAI's)"
    )

    @property
    def hotwords(self) -> list[str]:
        return [*terms_of(self.prompt), *self.keywords]


def form_description(model: type[BaseModel], **files: Any) -> dict[str, Any]:
    """What openapi.json says of a multipart form."""
    schema = model.model_json_schema()
    schema["properties"] |= files
    schema["required"] = [*schema.get("required", []), *files]
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}}


FILE = {"type": "string", "format": "binary"}


# ---- transcriptions


@router.post("/v1/audio/transcriptions", openapi_extra=form_description(TranscriptionForm, file=FILE))
async def create_transcription(request: Request) -> Response:
    """Transcribe a file."""
    server: Server = request.app.state.server
    async with AsyncExitStack() as stack:
        turn, form = await stack.enter_async_context(read_form(request, max_files=1))
        wanted = fields_of(form, TranscriptionForm)
        if wanted.timestamp_granularities and wanted.response_format != "verbose_json":
            name = "timestamp_granularities"
            raise bad_value(name, f"{name} needs response_format verbose_json.")
        if "logprobs" in wanted.include:
            message = "No logprobs of tokens are returned (verbose_json has the confidence of each word)."
            raise bad_value("include", message)
        if wanted.stream and wanted.response_format not in ("json", "text"):
            raise bad_value("response_format", "stream is for response_format json or text.")
        language = check_language(wanted.language, server.language)
        model = await asyncio.to_thread(server.models.select, wanted.model, request.state.client)
        wave = await stack.enter_async_context(decoded_file(request, form, turn))
        request.state.audio_seconds = len(wave) / SAMPLE_RATE
        recognizer = await translated(asyncio.to_thread(server.recognizer_for, model, turn, wanted.hotwords))
        transcriber = Transcriber(recognizer, server.dictation if wanted.dictation else None)
        if wanted.stream:
            return EventStream(events_of(server, transcriber, wave), stack.pop_all())
        timed = wanted.response_format in ("srt", "vtt", "verbose_json")
        run = asyncio.to_thread(lambda: transcriber.transcribe(wave, word_timestamps=timed))
        transcript = await unless_client_leaves(request, translated(run))
        return response_of(transcript, wanted, language) if transcript else Response(status_code=CLIENT_LEFT)


@asynccontextmanager
async def read_form(request: Request, max_files: int) -> AsyncIterator[tuple[Turn, FormData]]:
    """Admit a request, and read its multipart form, files on disk where they are large. Raises ApiError."""
    seconds = request.app.state.server.limits.upload_seconds
    if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        raise ApiError(400, "The body has to be multipart/form-data.", "invalid_content_type")
    limits = {"max_files": max_files, "max_fields": MOST_FIELDS, "max_part_size": FIELD_BYTES}
    with request.app.state.server.admission() as turn:
        try:
            async with asyncio.timeout(seconds):
                form = await request.form(**limits)
        except TimeoutError:
            raise ApiError(408, f"The body did not arrive within {seconds:g} s.", "timeout") from None
        try:
            yield turn, form
        finally:
            await form.close()


@asynccontextmanager
async def decoded_file(request: Request, form: FormData, turn: Turn) -> AsyncIterator[np.ndarray]:
    """The samples of the form's file, which count as held until the context ends. Decoding stops where the
    client leaves. Raises ApiError."""
    server: Server = request.app.state.server
    if not isinstance(upload := form.get("file"), UploadFile):
        raise bad_value("file", "file has to be an uploaded file, with a filename.")
    max_seconds, minimum = 60 * server.limits.max_minutes, server.recognizer.base.minimum_samples

    def check() -> None:
        if turn.cancelled:
            raise ClientLeft

    async def decode() -> np.ndarray:
        async with server.decoders:
            return await asyncio.to_thread(read_upload, upload.file, max_seconds, minimum, check)

    if (wave := await unless_client_leaves(request, decode())) is None:
        raise ApiError(CLIENT_LEFT, "The client has left.")
    with server.holding(len(wave) / SAMPLE_RATE):
        yield wave


def read_upload(
    upload: BinaryIO, max_seconds: float, minimum_samples: int, check: Callable[[], None]
) -> np.ndarray:
    """Decode a file → float32 (samples,), 16 kHz mono. Raises ApiError 400, or 413 where it is too long: a
    file of some kilobytes can hold days of silence, or a header that promises them; what `check` raises."""
    file = io.BytesIO(upload.read())  # PyAV would take a temporary file for one to write to
    try:
        wave = load_audio(file, max_seconds=max_seconds, check=check)
    except TooLong as error:
        raise ApiError(413, f"Audio file {error}.", "audio_too_long", "file") from None
    except AudioError as error:
        raise undecodable(str(error).removeprefix(f"{source_name(file)}: ")) from None
    except (ValueError, OverflowError, MemoryError) as error:  # of a header that makes no sense
        raise undecodable(type(error).__name__) from None
    problem = find_problem(wave, minimum_samples)
    if problem and problem.fatal:
        if len(wave) < minimum_samples:
            raise ApiError(400, f"Audio file is {problem.reason}.", "audio_too_short", "file")
        raise undecodable(problem.reason)
    return wave


def undecodable(reason: str) -> ApiError:
    return bad_value("file", f"The audio file could not be decoded or its format is not supported: {reason}")


def fields_of(form: FormData, model: type[Result]) -> Result:
    """The form's text fields. A list is `name[]`, as OpenAI's clients send it, or `name`, as others do; an
    empty field is one that is not there. Raises ApiError."""
    found: dict[str, Any] = {}
    for name, field in model.model_fields.items():
        key = field.alias or name
        given = form.getlist(key) + (form.getlist(name) if field.alias else [])
        if values := [value for value in given if value != ""]:
            found[key] = values if field.alias else values[-1]
    try:
        return model.model_validate(found)
    except ValidationError as error:
        raise invalid(error) from None


def check_language(language: str | None, own: str | None) -> str:
    """The English name of the language. Raises ApiError where it is another than the base's."""
    code = language_code(language) if language else own
    if code and own and code != own:
        message = f"This server's base writes {language_names()[own]} ({own})."
        raise ApiError(400, message, "unsupported_language", "language")
    return language_names()[code] if code else "unknown"


def terms_of(prompt: str) -> list[str]:
    """`metformin, atrial fibrillation` → its terms; sentences have none."""
    parts = (" ".join(part.split()).strip(" .\"'") for part in re.split(r"[,;\n\t]", prompt))
    return [part for part in parts if part and len(part.split()) <= TERM_WORDS]


def response_of(transcript: Transcript, wanted: TranscriptionForm, language: str) -> Response:
    """A transcript in the format that is wanted."""
    usage = {"type": "duration", "seconds": math.ceil(transcript.seconds)}
    if wanted.response_format == "json":
        return JSONResponse({"text": transcript.text, "usage": usage})
    if wanted.response_format != "verbose_json":
        return PlainTextResponse(FORMATS[wanted.response_format].write(transcript, OutputOptions()))
    record: dict[str, Any] = {"task": "transcribe", "language": language}
    record |= {"duration": round(transcript.seconds, 3), "text": transcript.text}
    granularities = wanted.timestamp_granularities or ["segment"]
    if "segment" in granularities:
        record["segments"] = [verbose_segment(n, one) for n, one in enumerate(transcript.segments or ())]
    if "word" in granularities:
        record["words"] = [word_record(word, None) for word in transcript.words]
    if transcript.raw_text is not None:  # of dictation; it is ours, as the gate is
        record["raw_text"] = transcript.raw_text
    if transcript.choices:
        record["gate"] = [choice.record for choice in transcript.choices]
    return JSONResponse(record | {"usage": usage})


async def translated(run: Awaitable[Result]) -> Result:
    """What is awaited; what it raises, as an ApiError where the client may know of it."""
    try:
        return await run
    except EngineClosed:
        raise overloaded("The server is shutting down.") from None
    except SearchError as error:
        raise bad_value("model", "With this model the output is not a number.") from error
    except UserError as error:  # it was removed, or its files, or hot words registered with it, are wrong
        raise bad_value("model", "An adapter of this model can't be loaded.") from error


async def unless_client_leaves(request: Request, run: Awaitable[Result]) -> Result | None:
    """What is awaited; None as soon as the client has closed its connection."""

    async def disconnected() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    work, gone = asyncio.ensure_future(run), asyncio.ensure_future(disconnected())
    try:
        await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
        return work.result() if work.done() else None
    finally:
        work.cancel()
        gone.cancel()


# ---- server-sent events


class EventStream(StreamingResponse):
    """Server-sent events; whatever becomes of the client, `stack` is closed at the end."""

    def __init__(self, events: AsyncIterator[str], stack: AsyncExitStack):
        super().__init__(events, media_type="text/event-stream")
        self.stack = stack

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async with self.stack:
            await super().__call__(scope, receive, send)


async def events_of(server: Server, transcriber: Transcriber, wave: np.ndarray) -> AsyncIterator[str]:
    """A delta for each segment as soon as it is there, then the whole text: that of all deltas."""
    parts = make_parts(transcriber.recognizer.fresh().stream(wave))
    segments, text, between = RunningText(transcriber.post_process).segments(parts), "", ""
    try:
        while (segment := await translated(asyncio.to_thread(next, segments, None))) is not None:
            _, written = segment
            delta = between + written.strip()
            text += delta
            between = written[len(written.rstrip()) :] or " "  # a line break that was dictated, or a blank
            yield event({"type": "transcript.text.delta", "delta": delta})
        yield event({"type": "transcript.text.done", "text": text})
    except ApiError as error:
        yield event(error.body())
    except Exception:
        yield event(INTERNAL.body())
        raise


def event(content: dict[str, Any]) -> str:
    return f"data: {json.dumps(content, ensure_ascii=False)}\n\n"


# ---- models


def model_record(name: str, created: float) -> dict[str, Any]:
    """OpenAI's object of a model; `created` in seconds since 1970."""
    return {"id": name, "object": "model", "created": int(created), "owned_by": "ia3-speech"}


@router.get("/v1/models")
async def list_models(request: Request) -> dict[str, Any]:
    """The base, and the adapters and aliases that this key may use."""
    server, client = request.app.state.server, request.state.client
    found = await asyncio.to_thread(server.models.adapters, client)
    names = [server.models.base_id, *await asyncio.to_thread(lambda: [*server.models.usable_aliases(client)])]
    records = [model_record(name, server.started) for name in names]
    records += [model_record(one.name, one.stamp[0] / 1e9) for one in found]
    return {"object": "list", "data": records}


@router.get("/v1/models/{model:path}")
async def retrieve_model(model: str, request: Request) -> dict[str, Any]:
    """One of these, or a sum of adapters."""
    server: Server = request.app.state.server
    found = await asyncio.to_thread(server.models.select, model, request.state.client)
    stamps = (stored.stamp[0] / 1e9 for stored, _ in found.terms)
    return model_record(model, max(stamps, default=server.started))
