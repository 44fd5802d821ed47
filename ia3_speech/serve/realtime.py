"""OpenAI's realtime transcription sessions: WS /v1/realtime, speech → text while it is spoken.

In: events such as `input_audio_buffer.append` with base64 of 24 kHz PCM16. Out: above all
`conversation.item.input_audio_transcription.delta`, words on which two partial texts agree, and `.completed`,
the final text, even if it differs from the deltas; docs/serve.md lists all events. The audio passes through
`live.streaming` and the engine's queue, beside files and other sessions.
Format: https://platform.openai.com/docs/api-reference/realtime
"""

import asyncio
import base64
import json
import math
import secrets
from collections.abc import Sequence
from dataclasses import replace
from itertools import takewhile
from typing import Any, Literal

import numpy as np
from fastapi import APIRouter
from pydantic import BaseModel, Field, ValidationError
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from ia3_speech.data.audio import SAMPLE_RATE
from ia3_speech.decoding.formats import word_record
from ia3_speech.decoding.options import PAUSE_LIMITS
from ia3_speech.decoding.transcript import Word
from ia3_speech.live.audio import Converter
from ia3_speech.live.streaming import PostProcessed, StreamEvent, StreamingRecognizer
from ia3_speech.serve.engine import ClientLeft
from ia3_speech.serve.errors import INTERNAL, ApiError, api_error, bad_value, invalid
from ia3_speech.serve.forms import ServerOf
from ia3_speech.serve.openai_api import RecognitionFields, check_language, in_thread, make_recognizer
from ia3_speech.serve.state import Server

RATE, SAMPLE_BYTES = 24_000, 2
MIN_COMMIT_MS = 100  # of audio
IDLE_SECONDS = 60.0  # without audio, after which a session ends
MAX_WAITING_EVENTS = 20  # then a client that sends faster than the server computes has to wait
MAX_INBOX_BYTES = 10 * RATE * SAMPLE_BYTES  # of audio that is computed at once
TRANSCRIPTION = "conversation.item.input_audio_transcription"

router = APIRouter()


class AudioFormat(BaseModel):
    type: Literal["audio/pcm"] = "audio/pcm"
    rate: Literal[24_000] = 24_000


class TurnDetection(BaseModel):
    type: Literal["server_vad"] = "server_vad"
    threshold: float = 0.5  # has no effect: the level of speech is estimated from the audio
    prefix_padding_ms: int = Field(300, ge=0, le=2_000)
    silence_duration_ms: int = Field(500, ge=round(1000 * PAUSE_LIMITS[0]), le=round(1000 * PAUSE_LIMITS[1]))


class Input(BaseModel):
    format: AudioFormat = AudioFormat()
    transcription: RecognitionFields | None = None
    noise_reduction: dict[Literal["type"], Literal["near_field", "far_field"]] | None = None  # has no effect
    turn_detection: TurnDetection | None = TurnDetection()


class Audio(BaseModel):
    input: Input = Input()


class Settings(BaseModel):
    """The settings of OpenAI's transcription sessions."""

    type: Literal["transcription"] = "transcription"
    audio: Audio = Audio()


@router.websocket("/v1/realtime")
async def realtime(socket: WebSocket, server: ServerOf) -> None:
    """A transcription session."""
    try:
        await socket.accept("realtime" if "realtime" in socket["subprotocols"] else None)
    except OSError:  # the client has left
        return
    events: asyncio.Queue[dict[str, Any] | ApiError | None] = asyncio.Queue(MAX_WAITING_EVENTS)
    session = Connection(server, socket)
    reader = asyncio.create_task(read_events(socket, events, server.limits.upload_seconds))
    try:
        await session.run(events)
        if socket.client_state is WebSocketState.CONNECTED:
            await socket.close()
    except (WebSocketDisconnect, ClientLeft):
        pass
    finally:
        reader.cancel()
        socket.state.audio_seconds = session.received / RATE


async def read_events(socket: WebSocket, events: asyncio.Queue, seconds: float) -> None:
    """Put the client's events into the queue, and at the end None: when the client has left (the rest is not
    computed), or has sent no audio for `seconds` or IDLE_SECONDS."""
    loop, seconds = asyncio.get_running_loop(), min(seconds, IDLE_SECONDS)
    end = loop.time() + seconds
    while True:
        try:
            async with asyncio.timeout_at(end):
                message = await socket.receive()
        except TimeoutError:
            await events.put(ApiError(408, f"No audio came for {seconds:g} seconds.", "session_expired"))
            break
        if message["type"] == "websocket.disconnect":
            socket.state.handle.cancel()
            break
        try:
            event = json.loads(message.get("text") or "")
            json.dumps(event, ensure_ascii=False).encode()  # raises for half a surrogate pair
        except (ValueError, RecursionError):
            event = None
        wrong = bad_value("", "The event is not a JSON object.")
        await events.put(event if isinstance(event, dict) else wrong)
        if isinstance(event, dict) and event.get("type") == "input_audio_buffer.append":
            end = loop.time() + seconds
    await events.put(None)


class Connection:
    """A client's transcription session."""

    def __init__(self, server: Server, socket: WebSocket):
        self.server, self.socket = server, socket
        self.id, self.settings = new_id("sess"), Settings()
        if model := socket.query_params.get("model"):
            self.input.transcription = RecognitionFields(model=model)
        self.stream: StreamingRecognizer | None = None
        self.received = 0  # samples since the session began
        self.last_item: str | None = None
        self.begin_stream()

    @property
    def input(self) -> Input:
        return self.settings.audio.input

    @property
    def transcription(self) -> RecognitionFields:
        return self.input.transcription or RecognitionFields()

    def begin_item(self) -> None:
        self.item: str | None = None  # its id, once speech has begun
        self.texts: list[str] = []  # its final pieces
        self.words: list[Word] = []  # of these pieces, where alternatives are asked for
        self.sent, self.previous = "", []  # the text of its deltas, the words of its last partial text

    def begin_stream(self) -> None:
        self.begin_item()
        if self.stream is not None:
            self.stream.reset()
        self.convert, self.inbox = Converter(RATE), bytearray()  # audio before the stream
        dictation = self.server.dictation if self.transcription.dictation else None
        self.written = PostProcessed(dictation, partials=True)  # the stream's events
        self.origin = self.received  # at the start of the stream
        self.item_end = 0.0  # of the last item, in seconds of the stream

    async def run(self, events: asyncio.Queue) -> None:
        """Answer events until the client leaves. A wrong event does not end the session."""
        await self.send("session.created", session=self.description())
        while (event := await events.get()) is not None:
            try:
                await self.check_key()
            except ApiError as error:
                return await self.send_error(error, event)
            try:
                if isinstance(event, ApiError):
                    raise event
                await self.handle(event)
                if self.inbox and (events.empty() or len(self.inbox) > MAX_INBOX_BYTES):
                    await self.feed()  # if it lags behind, more audio at once, for fewer partial texts
            except (WebSocketDisconnect, ClientLeft):
                raise
            except Exception as error:
                known = api_error(error)
                await self.send_error(known or INTERNAL, event)
                if known is None:
                    raise

    async def check_key(self) -> None:
        """Raises ApiError if the session's key was revoked, or may no longer use the session's model: its
        name may belong to another key's voice by now."""
        models, client = self.server.models, self.server.access.renew(self.socket.state.client)
        name = self.transcription.model or models.base_id
        if client is not self.socket.state.client:
            self.socket.state.client = client
            await asyncio.to_thread(models.select, name, client)
        if self.stream:
            await asyncio.to_thread(models.check_access, name, self.stream.recognizer.spec, client)

    async def handle(self, event: dict[str, Any]) -> None:
        match event.get("type"):
            case "session.update":
                await self.update(event.get("session"))
            case "input_audio_buffer.append":
                await self.append(event.get("audio"))
            case "input_audio_buffer.commit":
                await self.commit()
            case "input_audio_buffer.clear":
                self.begin_stream()
                await self.send("input_audio_buffer.cleared")
            case other:
                raise bad_value("type", f"Invalid value: {str(other)[:60]!r}.")

    async def send(self, kind: str, **content: Any) -> None:
        await self.socket.send_json({"type": kind, "event_id": new_id("event"), **content})

    async def send_error(self, error: ApiError, event: dict[str, Any] | ApiError) -> None:
        id = event.get("event_id") if isinstance(event, dict) else None
        cause = {"event_id": id if isinstance(id, str) else None}
        await self.send("error", error=error.body()["error"] | cause)

    def description(self) -> dict[str, Any]:
        session = {"id": self.id, "object": "realtime.transcription_session", "include": None}
        return session | self.settings.model_dump()

    async def update(self, changes: Any) -> None:
        if not isinstance(changes, dict):
            raise bad_value("session", "session must be an object.")
        try:
            settings = Settings.model_validate(merged(self.settings.model_dump(), changes))
        except ValidationError as error:
            raise invalid(error, "session.") from None
        stream = await self.make_stream(settings.audio.input)
        if self.stream is not None and self.received > self.origin:
            await self.finish_items()
        self.settings, self.stream = settings, stream
        self.begin_stream()
        await self.send("session.updated", session=self.description())

    async def make_stream(self, input: Input) -> StreamingRecognizer:
        """A stream with a session's model and turn detection. Raises ApiError."""
        fields, turns = input.transcription or RecognitionFields(), input.turn_detection
        code = check_language(fields.language, self.server.language)
        recognizer = await make_recognizer(self.socket, fields, code)
        pause = turns.silence_duration_ms / 1000 if turns else math.inf
        with_words = fields.dictation or fields.alternatives > 0
        stream = StreamingRecognizer(recognizer, pause_seconds=pause, with_words=with_words)
        if turns:  # never less than the recogniser needs
            stream.lead = max(stream.lead, turns.prefix_padding_ms * SAMPLE_RATE // 1000)
        return stream

    async def append(self, audio: Any) -> None:
        try:
            data = base64.b64decode(audio, validate=True)
        except (TypeError, ValueError):
            raise bad_value("audio", "audio must be base64 of 16-bit samples.") from None
        if len(data) % SAMPLE_BYTES:
            raise bad_value("audio", "audio ends within a sample of 16 bits.")
        self.stream = self.stream or await self.make_stream(self.input)
        self.inbox += data
        self.received += len(data) // SAMPLE_BYTES

    async def feed(self, *, last: bool = False) -> None:
        """Recognise the audio in the inbox, and send its events."""
        samples = np.frombuffer(bytes(self.inbox), "<i2").astype(np.float32) / 32_768
        self.inbox = bytearray()

        def recognize() -> list[StreamEvent]:
            events = self.stream.feed(self.convert(samples[:, None]))
            if last:
                events += self.stream.feed(self.convert.flush()) + self.stream.flush()
            return [*self.written.events(events), *(self.written.flush() if last else ())]

        stream_events = await in_thread(recognize)
        await self.check_key()  # the adapter may have been replaced meanwhile
        await self.send_events(stream_events)

    async def commit(self) -> None:
        """End the current item; without speech, its text is empty."""
        if (milliseconds := 1000 * (self.received - self.origin) / RATE) < MIN_COMMIT_MS:
            message = "Error committing input audio buffer: buffer too small. Expected at least "
            message += f"{MIN_COMMIT_MS}ms of audio, but buffer only has {milliseconds:.2f}ms of audio."
            raise ApiError(400, message, "input_audio_buffer_commit_empty")
        last, seconds = self.last_item, milliseconds / 1000 - self.item_end
        await self.finish_items()
        if self.last_item == last:
            await self.complete(seconds)

    async def finish_items(self) -> None:
        """Recognise the rest, complete the item unless a pause did, and begin a new stream, in any case."""
        try:
            await self.feed(last=True)
            if not self.input.turn_detection:
                await self.complete((self.received - self.origin) / RATE)
        finally:
            self.begin_stream()

    async def send_events(self, events: Sequence[StreamEvent]) -> None:
        """Send the results; with turn detection each final text is an item."""
        for event in events:
            await self.start_speech(event.start)
            if not event.final:
                await self.send_partial(event.text)
                continue
            self.texts += [event.text] if event.text else []
            self.words += event.words
            self.previous = []
            if self.input.turn_detection:
                end = self.milliseconds(event.end)
                await self.send("input_audio_buffer.speech_stopped", audio_end_ms=end, item_id=self.item)
                await self.complete(event.end - event.start)
                self.item_end = event.end
        if self.stream.speaking:
            await self.start_speech(self.stream.first / SAMPLE_RATE)

    def milliseconds(self, seconds: float) -> int:
        return round(1000 * (self.origin / RATE + seconds))

    async def start_speech(self, start: float) -> None:
        if self.item is None:
            self.item = new_id("item")
            if self.input.turn_detection:
                content = {"audio_start_ms": self.milliseconds(start), "item_id": self.item}
                await self.send("input_audio_buffer.speech_started", **content)

    async def send_partial(self, text: str) -> None:
        """Send the words, except the last, that agree with the last partial text; of dictation, all words."""
        if self.transcription.dictation:
            text = " ".join([*self.texts, text])
            await self.send(f"{TRANSCRIPTION}.partial", item_id=self.item, content_index=0, text=text)
            return
        words = text.split()
        agreed = takewhile(lambda pair: pair[0] == pair[1], zip(words[:-1], self.previous, strict=False))
        await self.send_delta(" ".join([*self.texts, *(word for word, _ in agreed)]))
        self.previous = words

    async def send_delta(self, text: str) -> None:
        """Send the words of `text` after earlier deltas, if it begins with these."""
        delta = text.removeprefix(self.sent)
        if delta and text.startswith(self.sent) and (not self.sent or delta.startswith(" ")):
            self.sent = text
            await self.send(f"{TRANSCRIPTION}.delta", item_id=self.item, content_index=0, delta=delta)

    async def complete(self, seconds: float) -> None:
        """Commit the item, and send its text."""
        self.item = self.item or new_id("item")
        text = " ".join(self.texts).replace("\n ", "\n")  # a dictated line break
        place, begun = {"previous_item_id": self.last_item}, self.origin / RATE
        await self.send("input_audio_buffer.committed", item_id=self.item, **place)
        item = {"id": self.item, "object": "realtime.item", "type": "message", "status": "completed"}
        item |= {"role": "user", "content": [{"type": "input_audio", "transcript": None}]}
        for kind in ("created", "added", "done"):  # the first is for clients of the API's beta
            await self.send(f"conversation.item.{kind}", item=item, **place)
        await self.send_delta(text)
        usage = {"type": "duration", "seconds": round(seconds, 3)}
        content = {"item_id": self.item, "content_index": 0, "transcript": text, "usage": usage}
        if count := self.transcription.alternatives:
            words = (replace(w, start=w.start + begun, end=w.end + begun) for w in self.words)
            content["words"] = [word_record(word, None, count) for word in words]
        await self.send(f"{TRANSCRIPTION}.completed", **content)
        self.last_item = self.item
        self.begin_item()


def merged(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """`old` updated by the fields of `new`, in nested objects too."""
    both = {key for key in new if isinstance(old.get(key), dict) and isinstance(new[key], dict)}
    return old | new | {key: merged(old[key], new[key]) for key in both}


def new_id(kind: str) -> str:
    return f"{kind}_{secrets.token_hex(12)}"
