"""OpenAI's API for files: POST /v1/audio/transcriptions, GET /v1/models.

In: multipart forms as OpenAI's clients send them. Out: json, text, srt, verbose_json, vtt, or, with
stream=true, server-sent events. `prompt` and `keywords[]` are hot words. `temperature` and
`chunking_strategy` have no effect on a CTC model that cuts at pauses; unknown fields are ignored.
Format: https://platform.openai.com/docs/api-reference/audio
"""

import asyncio
import json
import math
import re
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, File, Request, UploadFile
from pydantic import BaseModel, Field
from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse

from ia3_speech.common.errors import SearchError, UserError
from ia3_speech.data.audio import SAMPLE_RATE
from ia3_speech.decoding.formats import FORMATS, verbose_segment, word_record
from ia3_speech.decoding.options import OutputOptions
from ia3_speech.decoding.recognizer import Recognizer
from ia3_speech.decoding.segments import RunningText, make_parts
from ia3_speech.decoding.transcript import Transcript
from ia3_speech.decoding.transcription import Transcriber
from ia3_speech.serve.errors import INTERNAL, ApiError, api_error, bad_value
from ia3_speech.serve.forms import ClientOf, FormRoute, ServerOf, decode_audio, unless_client_leaves
from ia3_speech.serve.state import LANGUAGE_NAMES, language_code

MAX_TERM_WORDS = 6  # a longer part of a prompt is a sentence, not a term

router = APIRouter(route_class=FormRoute)


class RecognitionFields(BaseModel):
    """The fields that files and live sessions have in common."""

    model: str | None = None
    language: str | None = Field(None, description="ISO 639-1")
    prompt: str | None = Field(None, description="terms to recognise, with commas between")
    keywords: list[str] | None = None
    guard: bool | None = Field(None, description="false: the adapter's text in any case (not OpenAI's)")
    dictation: bool = Field(False, description="write punctuation and doses as in a text (not OpenAI's)")
    alternatives: int = Field(0, ge=0, le=10, description="of each unsure word (not OpenAI's)")


class TranscriptionForm(RecognitionFields):
    """The form of a transcription request."""

    file: UploadFile
    model: str = Field(min_length=1, description="base, adapter, a sum (accent:0.5+medical:0.5), auto")
    response_format: Literal["json", "text", "srt", "verbose_json", "vtt"] = "json"
    timestamp_granularities: list[Literal["word", "segment"]] = []
    include: list[str] = []
    temperature: float = Field(0.0, ge=0, le=1)
    stream: bool = False

    def check(self) -> None:
        """Raises ApiError for fields that exclude each other."""
        if self.timestamp_granularities and self.response_format != "verbose_json":
            name = "timestamp_granularities"
            raise bad_value(name, f"{name} needs response_format verbose_json.")
        if self.alternatives and "word" not in self.timestamp_granularities:
            raise bad_value("alternatives", "alternatives needs timestamp_granularities[]=word.")
        if "logprobs" in self.include:
            message = "No logprobs of tokens are returned (verbose_json has the confidence of each word)."
            raise bad_value("include", message)
        if self.stream and self.response_format not in ("json", "text"):
            raise bad_value("response_format", "stream is for response_format json or text.")


@router.post("/v1/audio/transcriptions")
async def create_transcription(
    request: Request, form: Annotated[TranscriptionForm, File()], server: ServerOf
) -> Response:
    """Transcribe a file."""
    form.check()
    code = check_language(form.language, server.language)
    recognizer = await make_recognizer(request, form, code)
    wave = await decode_audio(request, form.file)
    request.state.audio_seconds = len(wave) / SAMPLE_RATE
    transcriber = Transcriber(recognizer, server.dictation if form.dictation else None)
    access = partial(server.models.check_access, form.model, recognizer.spec, request.state.client)
    if form.stream:
        return StreamingResponse(events_of(transcriber, wave, access), media_type="text/event-stream")
    timed = form.response_format in ("srt", "vtt", "verbose_json")
    work = in_thread(transcriber.transcribe, wave, word_timestamps=timed)
    transcript = await unless_client_leaves(request, work)
    await asyncio.to_thread(access)  # another key's voice may have taken the adapter's name meanwhile
    return response_of(transcript, form, code)


def check_language(language: str | None, written: str | None) -> str | None:
    """The code of a request's language, else of the base's. Raises ApiError if the base does not write it."""
    code = language_code(language) if language else written
    if written and code != written:
        message = f"This server's base writes {LANGUAGE_NAMES[written]} ({written})."
        raise ApiError(400, message, "unsupported_language", "language")
    return code


async def make_recognizer(request: HTTPConnection, fields: RecognitionFields, code: str | None) -> Recognizer:
    """The recogniser of a request or a session; `code` is the language. Raises ApiError."""
    server, state = request.app.state.server, request.state
    name = fields.model or server.models.base_id
    model = await asyncio.to_thread(server.models.select, name, state.client, fields.guard)
    hotwords = [*terms_of(fields.prompt or ""), *(fields.keywords or ())]
    return await in_thread(server.recognizer_for, model, state.handle, hotwords, code)


def terms_of(prompt: str) -> list[str]:
    """The terms of `metformin, atrial fibrillation`; sentences are left out."""
    parts = (" ".join(part.split()).strip(" .\"'") for part in re.split(r"[,;\n\t]", prompt))
    return [part for part in parts if part and len(part.split()) <= MAX_TERM_WORDS]


def response_of(transcript: Transcript, form: TranscriptionForm, code: str | None) -> Response:
    """A transcript in the requested format; `code`: its language, if the base does not detect it."""
    usage = {"type": "duration", "seconds": math.ceil(transcript.seconds)}
    if form.response_format == "json":
        return JSONResponse({"text": transcript.text, "usage": usage})
    if form.response_format != "verbose_json":
        return PlainTextResponse(FORMATS[form.response_format].write(transcript, OutputOptions()))
    language = LANGUAGE_NAMES.get(transcript.language or code, "unknown")
    record: dict[str, Any] = {"task": transcript.task, "language": language}
    record |= {"duration": round(transcript.seconds, 3), "text": transcript.text}
    granularities = form.timestamp_granularities or ["segment"]
    if "segment" in granularities:
        record["segments"] = [verbose_segment(n, s) for n, s in enumerate(transcript.segments or ())]
    if "word" in granularities:
        record["words"] = [word_record(word, None, form.alternatives) for word in transcript.words]
    if transcript.raw_text is not None:  # of dictation; not OpenAI's, as the gate
        record["raw_text"] = transcript.raw_text
    if transcript.choices:
        record["gate"] = [choice.record for choice in transcript.choices]
    return JSONResponse(record | {"usage": usage})


async def in_thread(function: Any, *arguments: Any, **options: Any) -> Any:
    """The result of a function of the recogniser, called in a thread. Raises ApiError for known errors."""
    try:
        return await asyncio.to_thread(function, *arguments, **options)
    except SearchError as error:
        raise bad_value("model", "With this model the output is not a number.") from error
    except UserError as error:  # the adapter was removed, or its files or registered hot words are wrong
        raise bad_value("model", "An adapter of this model can't be loaded.") from error


async def events_of(
    transcriber: Transcriber, wave: np.ndarray, access: Callable[[], None]
) -> AsyncIterator[str]:
    """A delta for each segment as soon as it is recognised, then the whole text: all deltas joined. `access`
    raises ApiError as soon as the client may no longer use the adapter."""
    parts = make_parts(transcriber.recognizer.stream(wave))
    segments, text, between = RunningText(transcriber.post_process).segments(parts), "", ""
    try:
        while (segment := await in_thread(next, segments, None)) is not None:
            await asyncio.to_thread(access)
            _, written = segment
            delta = between + written.strip()
            text += delta
            between = written[len(written.rstrip()) :] or " "  # a dictated line break, or a blank
            yield event({"type": "transcript.text.delta", "delta": delta})
        yield event({"type": "transcript.text.done", "text": text})
    except Exception as error:
        known = api_error(error)
        yield event((known or INTERNAL).body())
        if known is None:
            raise


def event(content: dict[str, Any]) -> str:
    return f"data: {json.dumps(content, ensure_ascii=False)}\n\n"


def model_record(name: str, created: float) -> dict[str, Any]:
    """OpenAI's model object; `created` in seconds since 1970."""
    return {"id": name, "object": "model", "created": int(created), "owned_by": "ia3-speech"}


@router.get("/v1/models")
def list_models(server: ServerOf, client: ClientOf) -> dict[str, Any]:
    """The base, and the adapters and aliases that this key may use."""
    names = [server.models.base_id, *server.models.usable_aliases(client)]
    records = [model_record(name, server.started) for name in names]
    records += [model_record(term.name, term.stamp[0] / 1e9) for term in server.models.adapters(client)]
    return {"object": "list", "data": records}


@router.get("/v1/models/{model:path}")
def retrieve_model(model: str, server: ServerOf, client: ClientOf) -> dict[str, Any]:
    """The base, an adapter, or a sum of adapters."""
    stamps = (term.stamp[0] / 1e9 for term in server.models.select(model, client).terms)
    return model_record(model, max(stamps, default=server.started))
