"""/v1/realtime: OpenAI's client transcribes while it is spoken; the final text is that of the same audio."""

import base64
import json

import numpy as np
import pytest
import soxr
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from ia3_speech.adapters import registry
from ia3_speech.data.audio import load_audio
from ia3_speech.live.streaming import StreamingRecognizer
from ia3_speech.session import load
from tests.serve.conftest import GREEDY, eventually

TRANSCRIPTION = "conversation.item.input_audio_transcription"


def pcm(*waves: np.ndarray) -> bytes:
    return (soxr.resample(np.concatenate(waves), 16_000, 24_000) * 32_767).astype("<i2").tobytes()


def silence(seconds: float) -> np.ndarray:
    return np.random.default_rng(0).normal(0, 1e-4, round(16_000 * seconds)).astype(np.float32)


def session(**audio_input) -> dict:
    return {"type": "transcription", "audio": {"input": audio_input}}


def update(content) -> dict:
    return {"type": "session.update", "session": content}


def append(connection, data: bytes) -> None:
    for start in range(0, len(data), 4_800):
        connection.input_audio_buffer.append(audio=base64.b64encode(data[start : start + 4_800]).decode())


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
ITEM = ["input_audio_buffer.committed", *CREATED, f"{TRANSCRIPTION}.completed"]


def test_pauses_divide_speech_into_items(running, recordings):
    """And what is final is what the same recogniser makes of the same stream."""
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
        events = until(connection, f"{TRANSCRIPTION}.completed", len(expected))
        connection.session.update(session=session(transcription={"prompt": "codeine"}))
        assert connection.recv().session.audio.input.transcription.model == "accent", (
            "only the prompt changes"
        )
        append(connection, pcm(silence(0.5)))
        connection.input_audio_buffer.commit()
        assert until(connection, f"{TRANSCRIPTION}.completed")[-1].transcript == ""
    speech = ["input_audio_buffer.speech_started", "input_audio_buffer.speech_stopped"]
    assert kinds(events) == [*speech, *ITEM] * len(expected)
    completed = [event for event in events if event.type.endswith(".completed")]
    assert [event.transcript for event in completed] == expected and len(expected) >= 2
    committed = [event for event in events if event.type.endswith(".committed")]
    assert [one.previous_item_id for one in committed] == [None, *(one.item_id for one in committed[:-1])]
    for event in completed:
        deltas = [one.delta for one in events if one.type.endswith(".delta") and one.item_id == event.item_id]
        told = "".join(deltas)
        assert told == event.transcript or not event.transcript.startswith(told)
    started = [event.audio_start_ms for event in events if event.type.endswith("speech_started")]
    stopped = [event.audio_end_ms for event in events if event.type.endswith("speech_stopped")]
    assert all(a < b for a, b in zip(started, stopped, strict=True)) and stopped[0] <= started[1]


def test_without_turn_detection_a_commit_ends_an_item(running, recordings, offline):
    wave = load_audio(recordings[0])
    with running.client().realtime.connect(model="mini") as connection:
        connection.recv()
        connection.session.update(session=session(turn_detection=None, transcription={"model": "mini"}))
        assert connection.recv().session.audio.input.turn_detection is None
        for _ in range(2):
            append(connection, pcm(wave))
            connection.input_audio_buffer.commit()
            events = until(connection, f"{TRANSCRIPTION}.completed")
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
    ("no json", "invalid_value", None),
    ("[1]", "invalid_value", None),
    ("[" * 100_000, "invalid_value", None),
    ({"type": 1}, "invalid_value", "type"),
    ('{"type": ' + 900 * "[" + 900 * "]" + "}", "invalid_value", "type"),
    ({"type": "response.create"}, "invalid_value", "type"),
    (update(None), "invalid_value", "session."),
    (update({"type": "realtime"}), "invalid_value", "session.type"),
    (update(session(format={"type": "audio/pcm", "rate": 8000})), "invalid_value", None),
    (update(session(turn_detection={"silence_duration_ms": -1})), "invalid_value", None),
    (update(session(transcription={"model": ["x"]})), "invalid_value", None),
    (update(session(transcription={"model": "nobody"})), "model_not_found", "model"),
    (update(session(transcription={"language": "de"})), "unsupported_language", None),
    ({"type": "input_audio_buffer.append"}, "invalid_value", "audio"),
    ({"type": "input_audio_buffer.append", "audio": "???"}, "invalid_value", "audio"),
    ({"type": "input_audio_buffer.append", "audio": "AAAA"}, "invalid_value", "audio"),
]


def test_a_wrong_event_is_told_and_the_session_goes_on(running, recordings):
    url = running.url.replace("http", "ws")
    with connect(f"{url}/v1/realtime?intent=transcription") as socket:
        assert json.loads(socket.recv())["type"] == "session.created"
        for number, (event, code, param) in enumerate(WRONG):
            known = isinstance(event, dict)
            socket.send(json.dumps(event | {"event_id": f"event{number}"}) if known else event)
            told = json.loads(socket.recv())
            assert (told["type"], told["error"]["code"]) == ("error", code), event
            assert param is None or told["error"]["param"] == param
            assert told["error"]["event_id"] == (f"event{number}" if known else None)
        audio = base64.b64encode(pcm(load_audio(recordings[0]))).decode()
        socket.send(json.dumps({"type": "input_audio_buffer.append", "audio": audio}))
        socket.send(json.dumps({"type": "input_audio_buffer.commit"}))
        while (told := json.loads(socket.recv()))["type"] != f"{TRANSCRIPTION}.completed":
            assert told["type"] != "error"
        answers = []  # of an adapter that is removed while a session has it, and then of the base
        for model in ("speaker42", "mini"):
            socket.send(json.dumps(update(session(transcription={"model": model}))))
            if model == "speaker42":
                registry.remove("speaker42")
            socket.send(json.dumps({"type": "input_audio_buffer.append", "audio": audio}))
            socket.send(json.dumps({"type": "input_audio_buffer.commit"}))
            while (told := json.loads(socket.recv()))["type"] not in ("error", f"{TRANSCRIPTION}.completed"):
                pass
            answers.append(told["type"])
            socket.send(json.dumps({"type": "input_audio_buffer.clear"}))
            while json.loads(socket.recv())["type"] != "input_audio_buffer.cleared":
                pass  # append and commit may both have failed
        assert answers == ["error", f"{TRANSCRIPTION}.completed"]
    with connect(f"{url}/v1/realtime") as socket:  # leaves in the middle of its speech
        socket.send(json.dumps({"type": "input_audio_buffer.append", "audio": audio}))
    with pytest.raises(InvalidStatus) as caught, connect(f"{url}/v1/elsewhere"):
        pass
    assert caught.value.response.status_code in (403, 404)
    with pytest.raises(InvalidStatus) as caught, connect(f"{url}/v1/realtime", origin="http://[elsewhere"):
        pass  # a page of another site
    assert caught.value.response.status_code == 403


def test_who_says_nothing_leaves(serving, adapters):
    with serving(upload_seconds=0.5) as running:
        with connect(f"{running.url.replace('http', 'ws')}/v1/realtime") as socket:
            told = [json.loads(event) for event in socket]
        assert [event["type"] for event in told] == ["session.created", "error"]
        assert told[1]["error"]["code"] == "session_expired" and running.server.active == 0


def test_a_session_needs_a_key_where_there_are_keys(serving):
    with serving(keys="- {name: a, key: key-number-one-0001}", max_requests=1) as running:
        url = f"{running.url.replace('http', 'ws')}/v1/realtime"
        protocols = ["realtime", "openai-insecure-api-key.key-number-one-0001"]
        with connect(url, subprotocols=protocols) as socket:
            assert socket.subprotocol == "realtime" and json.loads(socket.recv())["type"] == "session.created"
            headers = {"Authorization": "Bearer key-number-one-0001"}
            with pytest.raises(InvalidStatus) as caught, connect(url, additional_headers=headers):
                pass
            assert caught.value.response.status_code == 503
        with pytest.raises(InvalidStatus) as caught, connect(url):
            pass
        assert caught.value.response.status_code == 401
        assert json.loads(caught.value.response.body)["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    ("after", "code"), [("another-key-0002}", "invalid_api_key"), ("key-number-one-0001}", "model_not_found")]
)
def test_a_session_ends_when_its_key_is_revoked_or_loses_its_model(serving, adapters, after, code):
    keys = "- {name: a, adapters: [medical], key: key-number-one-0001}"
    with serving(keys=keys) as running:
        headers = {"Authorization": "Bearer key-number-one-0001"}
        url = f"{running.url.replace('http', 'ws')}/v1/realtime?model=medical"
        with connect(url, additional_headers=headers) as socket:
            assert json.loads(socket.recv())["type"] == "session.created"
            socket.send(json.dumps(update(session(transcription={"model": "medical"}))))
            assert json.loads(socket.recv())["type"] == "session.updated"
            running.server.access.file.write_text(f"- {{name: a, key: {after}")
            socket.send(json.dumps({"type": "input_audio_buffer.clear"}))
            told = [json.loads(event) for event in socket]  # until it is closed
        assert [event["error"]["code"] for event in told] == [code]
        eventually(lambda: running.server.active == 0)
