"""Operation: health, metrics and the log; clients that leave; an orderly end."""

import io
import logging
import re
import socket
import threading

import httpx
import numpy as np
import pytest
import soundfile

from ia3_speech.data import audio
from ia3_speech.serve.monitoring import add_request_id
from tests.serve.conftest import eventually

KEY = "key-of-the-clinic-1"


class Gate:
    """Holds the model's batches until it is opened."""

    def __init__(self, running, monkeypatch):
        bank = running.server.engine.cache.bank
        self.began, self.go, self.rows, logits = threading.Event(), threading.Event(), 0, bank.logits

        def wait(waves, names, **options):
            self.rows += len(waves)
            self.began.set()
            assert self.go.wait(60)
            return logits(waves, names, **options)

        monkeypatch.setattr(bank, "logits", wait)


def test_health_metrics_and_the_log(serving, adapters, recordings, caplog, monkeypatch):
    caplog.set_level(logging.INFO, "ia3_speech")
    monkeypatch.setattr(caplog.handler, "filters", [add_request_id])
    with serving(keys=f"- {{name: clinic, key: {KEY}, adapters: ['*']}}") as running:
        client = running.client(KEY)
        request = {"model": "speaker42", "file": recordings[0], "prompt": "spoken words"}
        answer = client.audio.transcriptions.with_raw_response.create(**request)
        text, request_id = answer.parse().text, answer.headers["x-request-id"]
        client.models.retrieve("speaker42")
        for path, body in (("healthz", {"status": "ok"}), ("readyz", {"status": "ready"})):
            assert httpx.get(f"{running.url}/{path}").json() == body
        shown = httpx.get(f"{running.url}/metrics").text
        assert 'ia3_requests_total{method="POST",route="/v1/audio/transcriptions",status="200"} 1.0' in shown
        assert "ia3_batch_rows_count 1.0" in shown and "ia3_adapters_loaded 1.0" in shown
        running.server.closing = True
        assert httpx.get(f"{running.url}/readyz").status_code == 503
        running.server.closing = False
    line = next(record for record in caplog.records if record.getMessage().startswith("POST"))
    expected = r"POST /v1/audio/transcriptions 200 [\d.]+ s, key clinic, audio [\d.]+ s"
    assert re.fullmatch(expected, line.getMessage()) and line.request_id == request_id
    assert re.fullmatch(r"req_[0-9a-f]{24}", request_id)
    for public in (caplog.text, shown):
        assert not {*text.split(), "speaker42", KEY, "spoken"} & set(re.findall(r"[\w-]+", public))


def test_a_shutdown_finishes_accepted_requests(serving, adapters, recordings, monkeypatch):
    answers = []
    with serving() as running:
        gate = Gate(running, monkeypatch)
        thread = threading.Thread(target=lambda: answers.append(running.transcribe(recordings[0])))
        thread.start()
        assert gate.began.wait(30)
        running.web.should_exit = True
        gate.go.set()
        thread.join(60)
    assert answers[0].status_code == 200 and answers[0].json()["text"]
    assert not running.server.engine.alive and not running.server.engine.cache.bank.names()


def leave(running, path: str, content: bytes, began: threading.Event, **fields: str) -> None:
    """Send a form, and close the connection as soon as `began` is set."""
    request = httpx.Request("POST", f"{running.url}{path}", data=fields, files={"file": ("a.wav", content)})
    head = [f"{name}: {value}" for name, value in request.headers.items()]
    head = [f"POST {request.url.path} HTTP/1.1", *head, "", ""]
    with socket.create_connection(("127.0.0.1", running.port)) as client:
        client.sendall("\r\n".join(head).encode() + request.read())
        assert began.wait(30)


@pytest.mark.parametrize("path", ["audio/transcriptions", "voices/anna/recordings"])
def test_decoding_ends_when_the_client_leaves(running, recordings, monkeypatch, no_process, path):
    """Otherwise two long recordings would keep all others from being decoded."""
    running.begin("anna")
    began, go, ended = threading.Event(), threading.Event(), threading.Event()
    blocks, read = [], audio.read_blocks

    def wait(*arguments):
        try:
            for block in read(*arguments):
                blocks.append(block)
                began.set()
                assert go.wait(30)
                yield block
        finally:
            ended.set()

    long = io.BytesIO()
    soundfile.write(long, np.zeros(100 * audio.BLOCK, np.int16), 16_000, format="FLAC")
    with monkeypatch.context() as patch:
        patch.setattr(audio, "read_blocks", wait)
        leave(running, f"/v1/{path}", long.getvalue(), began, model="mini", text="no fever")
        eventually(lambda: running.server.active == 0)
        assert not ended.is_set(), "the request ended at once"
        go.set()
        assert ended.wait(30) and len(blocks) == 1
    assert running.transcribe(recordings[0]).json()["text"], "others get their texts"


@pytest.mark.parametrize("stream", ["false", "true"])
def test_nothing_is_computed_after_the_client_has_left(serving, adapters, recordings, monkeypatch, stream):
    long, wave = io.BytesIO(), np.tile(soundfile.read(recordings[-1])[0], 12)
    soundfile.write(long, wave, 16_000, format="WAV", subtype="PCM_16")
    with serving(batch_seconds=20.0) as running:
        gate = Gate(running, monkeypatch)
        fields = {"model": "accent", "stream": stream}
        leave(running, "/v1/audio/transcriptions", long.getvalue(), gate.began, **fields)
        eventually(lambda: running.server.active == 0)
        gate.go.set()
        assert running.transcribe(recordings[0]).json()["text"], "others get their texts"
        assert gate.rows <= 4 and running.server.held_seconds == 0
