"""OpenAI's realtime transcription sessions: WS /v1/realtime, speech → text while it is spoken.

    client → session.update                 model, prompt, language, turn detection
             input_audio_buffer.append      base64 of 24 kHz PCM16 (or 8 kHz G.711)
             input_audio_buffer.commit      ends an item; with server_vad pauses do
             input_audio_buffer.clear
    server → session.created, session.updated, error
             input_audio_buffer.speech_started, .speech_stopped      (server_vad)
             input_audio_buffer.committed, .cleared
             conversation.item.created, .added, .done
             conversation.item.input_audio_transcription.delta       words that will stay, as they are spoken
             conversation.item.input_audio_transcription.completed   the text that holds

In: events as above (https://platform.openai.com/docs/api-reference/realtime). Out: the same. The audio goes
through `live.streaming` and the engine's queue, beside files and other sessions. What was heard of a word may
still change, so a delta holds only words that two partial texts agree on; where the final text differs from
the deltas, `completed` is right.
"""

import asyncio
import base64
import binascii
import io
import json
import secrets
import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from fastapi import APIRouter
from starlette.websockets import WebSocket, WebSocketDisconnect

from ia3_speech.decoding.options import PAUSE_LIMITS
from ia3_speech.live.live_audio import Converter
from ia3_speech.live.streaming import StreamEvent, StreamingRecognizer
from ia3_speech.serve.engine import Turn
from ia3_speech.serve.errors import INTERNAL, ApiError, bad_value
from ia3_speech.serve.openai_api import check_language, terms_of, translated
from ia3_speech.serve.state import Server

FORMATS = {"audio/pcm": (24_000, "PCM_16"), "audio/pcmu": (8_000, "ULAW"), "audio/pcma": (8_000, "ALAW")}
MINIMUM_MS = 100  # of audio, to commit
WAITING_EVENTS = 100  # of a client that sends faster than is computed: then it has to wait
SESSION = {
    "type": "transcription",
    "object": "realtime.transcription_session",
    "include": None,
    "audio": {
        "input": {
            "format": {"type": "audio/pcm", "rate": 24_000},
            "transcription": None,
            "noise_reduction": None,
            "turn_detection": {
                "type": "server_vad", "threshold": 0.5, "prefix_padding_ms": 300, "silence_duration_ms": 500,
            },
        }
    },
}  # fmt: skip

router = APIRouter()


@router.websocket("/v1/realtime")
async def realtime(socket: WebSocket) -> None:
    """A transcription session."""
    server: Server = socket.app.state.server
    with server.admission() as turn:
        offered = socket.headers.get("sec-websocket-protocol", "")
        await socket.accept("realtime" if "realtime" in offered.replace(" ", "").split(",") else None)
        session = Session(server, socket, turn)
        events: asyncio.Queue[dict[str, Any] | ApiError | None] = asyncio.Queue(WAITING_EVENTS)
        reader = asyncio.create_task(read_events(socket, events, turn))
        try:
            await session.run(events)
        except WebSocketDisconnect:
            pass
        finally:
            reader.cancel()
            socket.state.audio_seconds = session.heard_ms / 1000
            server.metrics.audio_seconds.inc(session.heard_ms / 1000)


async def read_events(socket: WebSocket, events: asyncio.Queue, turn: Turn) -> None:
    """Put the client's events into the queue; None when it has left, whose rest is not computed."""
    try:
        while True:
            message = await socket.receive()
            if message["type"] == "websocket.disconnect":
                break
            try:
                event = json.loads(message.get("text") or "")
                if not isinstance(event, dict):
                    raise ValueError
            except (ValueError, RecursionError):
                event = bad_value("", "The event is not a JSON object.")
            await events.put(event)
    finally:
        turn.cancel()
        await events.put(None)


@dataclass
class Item:
    """What is being said: it ends with a pause or a commit.

    Attributes:
        texts: of pieces that are final.
        sent: what deltas have told.
        previous: words of the last partial text.
    """

    id: str = field(default_factory=lambda: new_id("item"))
    texts: list[str] = field(default_factory=list)
    sent: str = ""
    previous: list[str] = field(default_factory=list)


class Session:
    """One connection.

    Attributes:
        config: as session.updated tells it.
        buffered_ms: of audio since the last commit.
        heard_ms: of all audio.
        origin_ms: where in the session the stream began, since a commit begins a new one.
    """

    def __init__(self, server: Server, socket: WebSocket, turn: Turn):
        self.server, self.socket, self.turn = server, socket, turn
        self.config = deepcopy(SESSION) | {"id": new_id("sess"), "expires_at": int(time.time()) + 86_400}
        if model := socket.query_params.get("model"):
            self.config["audio"]["input"]["transcription"] = {"model": model}
        self.stream: StreamingRecognizer | None = None
        self.convert = Converter(24_000)
        self.buffered_ms = self.heard_ms = self.origin_ms = 0.0
        self.item: Item | None = None
        self.last_item: str | None = None

    @property
    def input(self) -> dict[str, Any]:
        return self.config["audio"]["input"]

    @property
    def detects_turns(self) -> bool:
        return self.input["turn_detection"] is not None

    async def run(self, events: asyncio.Queue) -> None:
        """Answer events until the client leaves. A wrong one is told, and the session goes on."""
        await self.send("session.created", session=self.config)
        handlers: dict[str, Callable] = {
            "session.update": self.update,
            "input_audio_buffer.append": self.append,
            "input_audio_buffer.commit": self.commit,
            "input_audio_buffer.clear": self.clear,
        }
        while (event := await events.get()) is not None:
            try:
                if isinstance(event, ApiError):
                    raise event
                handler = handlers.get(kind) if isinstance(kind := event.get("type"), str) else None
                if handler is None:
                    raise bad_value("type", f"Invalid value: {str(kind)[:60]!r}. Supported: {', '.join(handlers)}.")
                await handler(event)
            except ApiError as error:
                await self.tell(error, event)
            except WebSocketDisconnect:
                raise
            except Exception:
                await self.tell(INTERNAL, event)
                raise

    async def send(self, kind: str, **content: Any) -> None:
        await self.socket.send_json({"type": kind, "event_id": new_id("event"), **content})

    async def tell(self, error: ApiError, event: dict[str, Any] | ApiError) -> None:
        told = event.get("event_id") if isinstance(event, dict) else None
        told = told if isinstance(told, str) else None
        await self.send("error", error=error.body()["error"] | {"event_id": told})

    # ---- client events

    async def update(self, event: dict[str, Any]) -> None:
        """Change what the event has of the session's fields."""
        wanted = event.get("session")
        if not isinstance(wanted, dict) or wanted.get("type") != "transcription":
            raise bad_value("session.type", "This server has sessions of type transcription.")
        audio = wanted.get("audio") or {}
        given = audio.get("input") if isinstance(audio, dict) else None
        if not isinstance(given or {}, dict):
            raise bad_value("session.audio.input", "session.audio.input has to be an object.")
        new = {name: value for name, value in (given or {}).items() if name in self.input}
        for name, value in new.items():
            if value is not None and not isinstance(value, dict):
                raise bad_value(f"session.audio.input.{name}", f"{name} has to be an object or null.")
        if new.get("turn_detection"):
            new["turn_detection"] = SESSION["audio"]["input"]["turn_detection"] | new["turn_detection"]
        merged = self.input | new
        check_input(merged)
        stream = await self.make_stream(merged)
        if self.buffered_ms:
            await self.finish()
        self.config["audio"]["input"], self.stream = merged, stream
        self.convert = Converter(FORMATS[merged["format"]["type"]][0])
        self.origin_ms = self.heard_ms
        await self.send("session.updated", session=self.config)

    async def make_stream(self, wanted: dict[str, Any]) -> StreamingRecognizer:
        """A stream with the session's model and turn detection. Raises ApiError."""
        transcription, turns = wanted["transcription"] or {}, wanted["turn_detection"]
        client = self.socket.state.client
        selected = self.server.models.select(transcription.get("model") or self.server.models.base_id, client)
        check_language(transcription.get("language"), self.server.language)
        terms = [*terms_of(transcription.get("prompt") or ""), *(transcription.get("keywords") or [])]
        recognizer = await self.server.in_thread(self.server.recognizer_for, selected, self.turn, terms)
        pause = turns["silence_duration_ms"] / 1000 if turns else float("inf")
        stream = StreamingRecognizer(recognizer, pause_seconds=pause)
        return stream

    async def append(self, event: dict[str, Any]) -> None:
        """Take in audio, and tell what can be told now."""
        audio = event.get("audio")
        try:
            data = base64.b64decode(audio, validate=True)
        except (TypeError, ValueError, binascii.Error):
            raise bad_value("audio", "audio has to be base64 of the session's format.") from None
        rate, encoding = FORMATS[self.input["format"]["type"]]
        if encoding == "PCM_16" and len(data) % 2:
            raise bad_value("audio", "audio ends within a sample of 16 bits.")
        if self.stream is None:
            self.stream = await self.make_stream(self.input)
        milliseconds = 1000 * len(data) / rate / (2 if encoding == "PCM_16" else 1)
        self.buffered_ms += milliseconds
        self.heard_ms += milliseconds
        if data:
            samples = self.convert(decoded(data, rate, encoding))
            await self.tell_events(await translated(self.server.in_thread(self.stream.feed, samples)))

    async def commit(self, event: dict[str, Any]) -> None:
        """End the item."""
        if self.buffered_ms < MINIMUM_MS:
            message = f"buffer too small. Expected at least {MINIMUM_MS}ms of audio, but buffer only has "
            message = f"Error committing input audio buffer: {message}{self.buffered_ms:.2f}ms of audio."
            raise ApiError(400, message, code="input_audio_buffer_commit_empty")
        await self.finish()

    async def finish(self) -> None:
        rest = self.convert.flush()
        events = await translated(self.server.in_thread(lambda: self.stream.feed(rest) + self.stream.flush()))
        await self.tell_events(events)
        if not self.detects_turns:
            await self.complete(self.heard_ms)
        self.start_anew()

    async def clear(self, event: dict[str, Any]) -> None:
        if self.stream is not None:
            self.stream.reset()
        self.item = None
        self.start_anew()
        await self.send("input_audio_buffer.cleared")

    def start_anew(self) -> None:
        self.buffered_ms, self.origin_ms = 0.0, self.heard_ms
        self.convert = Converter(FORMATS[self.input["format"]["type"]][0])

    # ---- server events

    async def tell_events(self, events: list[StreamEvent]) -> None:
        """Tell what the stream has recognised; with turn detection each final text is an item."""
        for event in events:
            start, end = (round(self.origin_ms + 1000 * seconds) for seconds in (event.start, event.end))
            await self.begin(start)
            if not event.final:
                await self.tell_partial(event.text.split())
                continue
            self.item.texts += [event.text] if event.text else []
            self.item.previous = []
            if self.detects_turns:
                await self.send(
                    "input_audio_buffer.speech_stopped", audio_end_ms=end, item_id=self.item.id
                )
                await self.complete(end - start)
        if self.detects_turns and self.item is None and self.stream.speaking:
            await self.begin(round(self.origin_ms + 1000 * self.stream.first / 16_000))

    async def begin(self, start_ms: int) -> None:
        if self.item is None:
            self.item = Item()
            if self.detects_turns:
                await self.send(
                    "input_audio_buffer.speech_started", audio_start_ms=start_ms, item_id=self.item.id
                )

    async def tell_partial(self, words: list[str]) -> None:
        """A delta of the words that are as they were in the last partial text, but for the last word."""
        agreed = 0
        for word, before in zip(words[:-1], self.item.previous, strict=False):
            if word != before:
                break
            agreed += 1
        self.item.previous = words
        await self.tell_delta(" ".join([*self.item.texts, *words[:agreed]]))

    async def tell_delta(self, text: str) -> None:
        """What `text` has beyond the deltas that were sent, where it begins with them."""
        item = self.item
        if text.startswith(item.sent) and (delta := text[len(item.sent) :]):
            if item.sent and not delta.startswith(" "):
                return  # the last word has become another
            item.sent = text
            await self.send(
                "conversation.item.input_audio_transcription.delta",
                item_id=item.id, content_index=0, delta=delta,
            )  # fmt: skip

    async def complete(self, milliseconds: float) -> None:
        """Commit the item, and tell its text."""
        item = self.item or Item()
        self.item, text = item, " ".join(item.texts)
        await self.send("input_audio_buffer.committed", previous_item_id=self.last_item, item_id=item.id)
        content = [{"type": "input_audio", "transcript": None}]
        told = {"id": item.id, "object": "realtime.item", "type": "message", "status": "completed"}
        told |= {"role": "user", "content": content}
        for kind in ("created", "added", "done"):
            await self.send(f"conversation.item.{kind}", previous_item_id=self.last_item, item=told)
        await self.tell_delta(text)
        await self.send(
            "conversation.item.input_audio_transcription.completed",
            item_id=item.id, content_index=0, transcript=text,
            usage={"type": "duration", "seconds": round(milliseconds / 1000, 3)},
        )  # fmt: skip
        self.last_item, self.item = item.id, None


def check_input(given: dict[str, Any]) -> None:
    """Raises ApiError for what a session can't have."""
    where = "session.audio.input"
    audio_format = given["format"] or {}
    if audio_format.get("type") not in FORMATS or audio_format.get("rate", 24_000) not in (24_000, 8_000, None):
        raise bad_value(f"{where}.format", "The format is audio/pcm (rate 24000), audio/pcmu or audio/pcma.")
    for name, kinds in (("model", str), ("language", str), ("prompt", str), ("keywords", list)):
        value = (given["transcription"] or {}).get(name)
        if value is not None and not isinstance(value, kinds):
            raise bad_value(f"{where}.transcription.{name}", f"{name} is of a wrong type.")
    if turns := given["turn_detection"]:
        silence = turns["silence_duration_ms"]
        least, most = (1000 * limit for limit in PAUSE_LIMITS)
        if turns["type"] != "server_vad":
            raise bad_value(f"{where}.turn_detection.type", "Turn detection is server_vad or null.")
        if not isinstance(silence, int | float) or not least <= silence <= most:
            message = f"silence_duration_ms has to be from {least:g} to {most:g}."
            raise bad_value(f"{where}.turn_detection.silence_duration_ms", message)


def decoded(data: bytes, rate: int, encoding: str) -> np.ndarray:
    """Samples (frames, 1), float32."""
    import soundfile

    options = {"samplerate": rate, "channels": 1, "format": "RAW", "subtype": encoding, "endian": "LITTLE"}
    return soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True, **options)[0]


def new_id(kind: str) -> str:
    return f"{kind}_{secrets.token_hex(12)}"
