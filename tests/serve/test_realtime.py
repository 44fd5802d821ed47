"""/v1/realtime: OpenAI's client transcribes speech while it is spoken."""

import base64
import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import numpy as np
import pytest
import soxr
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from ia3_speech.adapters import registry
from ia3_speech.data.audio import load_audio
from ia3_speech.live.streaming import StreamingRecognizer
from ia3_speech.serve import realtime
from ia3_speech.session import load
from tests.live.test_streaming import silence
from tests.serve.conftest import GREEDY, eventually

TRANSCRIPTION = "conversation.item.input_audio_transcription"
COMPLETED = f"{TRANSCRIPTION}.completed"


def pcm(*waves: np.ndarray) -> bytes:
    return (soxr.resample(np.concatenate(waves), 16_000, 24_000) * 32_767).astype("<i2").tobytes()


def session(**audio_input) -> dict:
    return {"type": "transcription", "audio": {"input": audio_input}}


def update(content) -> dict:
    return {"type": "session.update", "session": content}


def append_event(data: bytes) -> dict:
    return {"type": "input_audio_buffer.append", "audio": base64.b64encode(data).decode()}


COMMIT = {"type": "input_audio_buffer.commit"}


def bare(running, path: str = "realtime", **options):
    """A connection that can also send wrong events."""
    return connect(f"{running.url.replace('http', 'ws')}/v1/{path}", **options)


def send(socket, *events: dict | str) -> None:
    for event in events:
        socket.send(json.dumps(event) if isinstance(event, dict) else event)


def next_of(socket, *kinds: str) -> dict:
    """The next event of these kinds."""
    while (event := json.loads(socket.recv()))["type"] not in kinds:
        pass
    return event


def refused(running, *arguments, **options) -> tuple[int, bytes]:
    """The status and the body of a refused handshake."""
    with pytest.raises(InvalidStatus) as caught:
        bare(running, *arguments, **options)
    return caught.value.response.status_code, caught.value.response.body


def append(connection, data: bytes) -> None:
    for start in range(0, len(data), 4_800):
        connection.send(append_event(data[start : start + 4_800]))


def until(connection, kind: str, count: int = 1) -> list:
    """Events up to the last of so many of a kind."""
    events = []
    while count:
        events.append(connection.recv())
        count -= events[-1].type == kind
        assert events[-1].type != "error", events[-1]
    return events


def kinds(events: list) -> list[str]:
    return [event.type for event in events if not event.type.endswith(".delta")]


CREATED = [f"conversation.item.{kind}" for kind in ("created", "added", "done")]
ITEM = ["input_audio_buffer.committed", *CREATED, COMPLETED]


def test_pauses_divide_speech_into_items(running, recordings):
    """And the final texts equal those of the same recogniser on the same stream."""
    waves = [load_audio(file) for file in recordings[:2]]
    data = pcm(waves[0], silence(1.5), waves[1], silence(1.5))
    recognizer = load("mini", adapter="accent", search=GREEDY).recognizer
    alone = StreamingRecognizer(recognizer, pause_seconds=0.5)
    samples = soxr.resample(np.frombuffer(data, "<i2").astype(np.float32) / 32_768, 24_000, 16_000)
    expected = [event.text for event in [*alone.feed(samples), *alone.flush()] if event.final]
    with running.client().realtime.connect(extra_query={"intent": "transcription"}) as connection:
        created = connection.recv()
        assert created.type == "session.created" and created.session.audio.input.format.rate == 24_000
        connection.session.update(session=session(transcription={"model": "accent", "language": "en"}))
        updated = connection.recv()
        assert updated.session.audio.input.transcription.model == "accent"
        assert updated.session.audio.input.turn_detection.silence_duration_ms == 500
        append(connection, data)
        events = until(connection, COMPLETED, len(expected))
        connection.session.update(session=session(transcription={"prompt": "codeine"}))
        model = connection.recv().session.audio.input.transcription.model
        assert model == "accent", "only the prompt changes"
        append(connection, pcm(silence(0.5)))
        connection.input_audio_buffer.commit()
        assert until(connection, COMPLETED)[-1].transcript == ""
    speech = ["input_audio_buffer.speech_started", "input_audio_buffer.speech_stopped"]
    assert kinds(events) == [*speech, *ITEM] * len(expected)
    completed = [event for event in events if event.type.endswith(".completed")]
    assert [event.transcript for event in completed] == expected and len(expected) >= 2
    for event in completed:
        deltas = [e.delta for e in events if e.type.endswith(".delta") and e.item_id == event.item_id]
        streamed = "".join(deltas)
        assert streamed == event.transcript or not event.transcript.startswith(streamed)


def test_without_turn_detection_a_commit_ends_an_item(running, recordings, offline):
    wave = load_audio(recordings[0])
    with running.client().realtime.connect(model="mini") as connection:
        connection.recv()
        connection.session.update(session=session(turn_detection=None, transcription={"model": "mini"}))
        assert connection.recv().session.audio.input.turn_detection is None
        for _ in range(2):
            append(connection, pcm(wave))
            connection.input_audio_buffer.commit()
            events = until(connection, COMPLETED)
            assert kinds(events) == ITEM
            assert set(events[-1].transcript.split()) & set(offline(recordings[0]).text.split())
            assert events[-1].usage.seconds == pytest.approx(len(wave) / 16_000, abs=0.01)
        append(connection, pcm(wave))
        connection.input_audio_buffer.clear()
        until(connection, "input_audio_buffer.cleared")
        connection.input_audio_buffer.commit()
        error = connection.recv()
        assert (error.type, error.error.code) == ("error", "input_audio_buffer_commit_empty")


WRONG = [
    ("[" * 100_000, "invalid_value", None),
    ({"type": 1}, "invalid_value", "type"),
    (update(None), "invalid_value", "session"),
    (update({"type": "realtime"}), "invalid_value", "session.type"),
    (update(session(turn_detection={"silence_duration_ms": -1})), "invalid_value", None),
    (update(session(noise_reduction={"kept": "for ever"})), "invalid_value", None),
    (json.dumps(update(session(transcription={"model": "\ud800"}))), "invalid_value", ""),
    (update(session(transcription={"model": "nobody"})), "model_not_found", "model"),
    (update(session(transcription={"language": "de"})), "unsupported_language", None),
    ({"type": "input_audio_buffer.append", "audio": "AAAA"}, "invalid_value", "audio"),
]


def test_after_a_wrong_event_the_session_goes_on(running, recordings):
    audio = append_event(pcm(load_audio(recordings[0])))
    with bare(running, "realtime?intent=transcription") as socket:
        next_of(socket, "session.created")
        for number, (event, code, param) in enumerate(WRONG):
            known = isinstance(event, dict)
            send(socket, event | {"event_id": f"event{number}"} if known else event)
            error = next_of(socket, "error")["error"]
            assert error["code"] == code and (param is None or error["param"] == param), event
            assert error["event_id"] == (f"event{number}" if known else None)
        send(socket, audio, COMMIT)
        assert next_of(socket, "error", COMPLETED)["type"] == COMPLETED
        registry.remove("speaker42")  # the session keeps its model
        send(socket, update(session(transcription={"model": "speaker42"})), audio, COMMIT)
        assert next_of(socket, "error", COMPLETED)["error"]["code"] == "model_not_found"
        assert next_of(socket, "error", COMPLETED)["type"] == COMPLETED
    with bare(running) as socket:  # leaves in the middle of its speech
        send(socket, audio)
    assert refused(running, "elsewhere")[0] in (403, 404)
    assert refused(running, origin="http://[elsewhere")[0] == 403  # a page of another site


def test_a_silent_client_is_disconnected(serving, adapters):
    with serving(upload_seconds=0.5) as running, bare(running) as socket:
        events = [json.loads(event) for event in socket]
        assert [event["type"] for event in events] == ["session.created", "error"]
        assert events[1]["error"]["code"] == "session_expired"
        eventually(lambda: running.server.active == 0)


def test_a_key_has_only_its_share_of_live_sessions_and_silence_ends_them(serving, monkeypatch):
    monkeypatch.setattr(realtime, "IDLE_SECONDS", 1.0)
    keys = [{"Authorization": f"Bearer key-number-{number}-0001"} for number in ("one", "two")]
    text = "- {name: a, key: key-number-one-0001}\n- {name: b, key: key-number-two-0001}"
    with serving(keys=text, max_requests=8) as running, ExitStack() as opened:
        sockets = [opened.enter_context(bare(running, additional_headers=keys[0])) for _ in range(2)]
        status, body = refused(running, additional_headers=keys[0])
        assert status == 429 and json.loads(body)["error"]["code"] == "too_many_sessions"
        opened.enter_context(bare(running, additional_headers=keys[1]))
        for _ in range(3):  # other events don't keep a session
            send(sockets[0], {"type": "input_audio_buffer.clear"})
        assert json.loads([*sockets[0]][-1])["error"]["code"] == "session_expired"
        eventually(lambda: running.server.active == 0)
        opened.enter_context(bare(running, additional_headers=keys[0]))


def test_no_session_answers_with_another_keys_voice(serving, adapters, recordings):
    """B's session is on an adapter of nobody, which B deletes; A begins a voice of that name."""
    keys = "- {name: a, key: key-number-one-0001, manage: ['*']}\n"
    keys += "- {name: b, key: key-number-two-0001, manage: ['*']}"
    one, two = "key-number-one-0001", "key-number-two-0001"
    headers = {"Authorization": f"Bearer {two}"}
    with serving(keys=keys) as running:
        with bare(running, "realtime?model=accent", additional_headers=headers) as socket:
            send(socket, update(session(transcription={"model": "accent"})))
            next_of(socket, "session.updated")
            assert running.send("DELETE", "adapters/accent", two).status_code == 200
            assert running.begin("accent", one).status_code == 201
            registry.register(adapters["medical"], "accent")
            wave = load_audio(recordings[0])
            send(socket, append_event(pcm(wave)), {"type": "input_audio_buffer.commit"})
            events = [json.loads(event) for event in socket]
            assert [event["error"]["code"] for event in events] == ["model_not_found"]
        with ThreadPoolExecutor() as threads, running.server.engine.computing:  # a file, meanwhile
            waiting = threads.submit(running.transcribe, recordings[0], "medical", key=two)
            eventually(lambda: running.server.engine.rows)
            registry.remove("medical")  # by another process
            assert running.begin("medical", one).status_code == 201
            registry.register(adapters["speaker42"], "medical")
        assert waiting.result().status_code == 404


def test_a_session_needs_a_key_if_there_are_keys(serving):
    key = "key-number-one-0001"
    with serving(keys=f"- {{name: a, key: {key}}}", max_requests=1, sessions_per_key=2) as running:
        with bare(running, subprotocols=["realtime", f"openai-insecure-api-key.{key}"]) as socket:
            assert socket.subprotocol == "realtime"
            next_of(socket, "session.created")
            assert refused(running, additional_headers={"Authorization": f"Bearer {key}"})[0] == 503
        status, body = refused(running)
        assert status == 401 and json.loads(body)["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    ("after", "code"), [("another-key-0002}", "invalid_api_key"), ("key-number-one-0001}", "model_not_found")]
)
def test_a_session_ends_when_its_key_is_revoked_or_loses_its_model(serving, adapters, after, code):
    headers = {"Authorization": "Bearer key-number-one-0001"}
    with serving(keys="- {name: a, adapters: [medical], key: key-number-one-0001}") as running:
        with bare(running, "realtime?model=medical", additional_headers=headers) as socket:
            send(socket, update(session(transcription={"model": "medical"})))
            next_of(socket, "session.updated")
            running.server.access.file.write_text(f"- {{name: a, key: {after}")
            send(socket, {"type": "input_audio_buffer.clear"})
            assert [json.loads(event)["error"]["code"] for event in socket] == [code]
        eventually(lambda: running.server.active == 0)
