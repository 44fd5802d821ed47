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

from ia3_speech.commands.serve import address_of
from ia3_speech.data import audio
from ia3_speech.serve.monitoring import RequestIds
from tests.serve.conftest import eventually

SECRET = "key-of-the-clinic-1"


class Gate:
    """Holds the model's batches until it is opened."""

    def __init__(self, running, monkeypatch):
        bank = running.server.bank
        self.began, self.go, self.rows, logits = threading.Event(), threading.Event(), 0, bank.logits

        def wait(waves, names, **options):
            self.rows += len(waves)
            self.began.set()
            assert self.go.wait(60)
            return logits(waves, names, **options)

        monkeypatch.setattr(bank, "logits", wait)


def post(running, content: bytes, name: str = "a.wav", **fields: str) -> httpx.Response:
    url = f"{running.url}/v1/audio/transcriptions"
    return httpx.post(url, data={"model": "mini"} | fields, files={"file": (name, content)}, timeout=60)


# ---- operation


def test_health_metrics_and_the_log(serving, adapters, recordings, caplog, monkeypatch):
    caplog.set_level(logging.INFO, "ia3_speech")
    monkeypatch.setattr(caplog.handler, "filters", [RequestIds()])
    with serving(keys=f"- {{name: clinic, key: {SECRET}, adapters: ['*']}}") as running:
        client = running.client(SECRET)
        request = {"model": "speaker42", "file": recordings[0], "prompt": "spoken words"}
        answer = client.audio.transcriptions.with_raw_response.create(**request)
        text, request_id = answer.parse().text, answer.headers["x-request-id"]
        client.models.retrieve("speaker42")
        for path, body in (("healthz", {"status": "ok"}), ("readyz", {"status": "ready"})):
            assert httpx.get(f"{running.url}/{path}").json() == body
        shown = httpx.get(f"{running.url}/metrics").text
        assert 'ia3_requests_total{method="POST",route="/v1/audio/transcriptions",status="200"} 1.0' in shown
        assert "ia3_batch_rows_count 1.0" in shown and "ia3_adapters_loaded 1.0" in shown
        quiet = logging.getLogger("ia3_speech.adapters.io").level == logging.ERROR
        assert quiet, "its warnings name adapters"
        running.server.closing = True
        assert httpx.get(f"{running.url}/readyz").status_code == 503
        running.server.closing = False
    line = next(one for one in caplog.records if one.getMessage().startswith("POST"))
    told = r"POST /v1/audio/transcriptions 200 [\d.]+ s, key clinic, audio [\d.]+ s"
    assert re.fullmatch(told, line.getMessage()) and line.request_id == request_id
    assert re.fullmatch(r"req_[0-9a-f]{24}", request_id)
    for told in (caplog.text, shown):
        assert not {*text.split(), "speaker42", SECRET, "spoken"} & set(re.findall(r"[\w-]+", told))


def test_a_shutdown_finishes_what_was_taken(serving, adapters, recordings, monkeypatch):
    answers = []
    with serving() as running:
        gate = Gate(running, monkeypatch)
        audio = recordings[0].read_bytes()
        thread = threading.Thread(target=lambda: answers.append(post(running, audio, "a.ogg")))
        thread.start()
        assert gate.began.wait(30)
        running.web.should_exit = True
        gate.go.set()
        thread.join(60)
    assert answers[0].status_code == 200 and answers[0].json()["text"]
    assert not running.server.engine.alive and not running.server.bank.names()


def test_help_teaches_and_wrong_options_are_told(run_command):
    shown = run_command("serve", "--help")
    assert shown.code == 0 and "curl -F model=mini" in shown.out and "--max-wait-ms" in shown.out
    for words, message in (
        (["--max-adapters", "0"], "--max-adapters is 0, not a number from 1 on"),
        (["--max-megabytes", "inf"], "--max-megabytes is inf, not a number from 0.001 on"),
        (["--port", "70000"], "--port is 70000, and can't be more than 65535"),
        (
            ["--language", "english", "--port", "0"],
            "--language: Invalid language 'english'. Language parameter "
            "must be specified in ISO-639-1 format.",
        ),
        (["--key-file", "nowhere.yaml"], "--key-file nowhere.yaml: no such file"),
    ):
        done = run_command("serve", *words)
        assert (done.code, done.err) == (1, f"error: {message}\n")


def test_the_address_that_is_told_can_be_opened():
    assert address_of("127.0.0.1", 8000) == "http://127.0.0.1:8000"
    assert address_of("::1", 8000) == "http://[::1]:8000"


# ---- clients that leave


def leave(running, path: str, content: bytes, began: threading.Event, **fields: str) -> None:
    """Send a form, and close the connection as soon as `began` is set."""
    request = httpx.Request("POST", f"{running.url}{path}", data=fields, files={"file": ("a.wav", content)})
    head = [f"{name}: {value}" for name, value in request.headers.items()]
    head = [f"POST {request.url.path} HTTP/1.1", *head, "", ""]
    with socket.create_connection(("127.0.0.1", request.url.port)) as client:
        client.sendall("\r\n".join(head).encode() + request.read())
        assert began.wait(30)


@pytest.mark.parametrize("path", ["audio/transcriptions", "voices/anna/recordings"])
def test_decoding_ends_where_the_client_has_left(running, recordings, monkeypatch, no_process, path):
    """Otherwise two long recordings keep all others from being decoded."""
    httpx.post(f"{running.url}/v1/voices", files={"name": (None, "anna"), "consent": (None, "true")})
    began, go, ended, blocks, read = (
        threading.Event(),
        threading.Event(),
        threading.Event(),
        [],
        audio.read_blocks,
    )

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
        assert not ended.is_set(), "the request was over at once"
        go.set()
        assert ended.wait(30) and len(blocks) == 1
    assert post(running, recordings[0].read_bytes(), "a.ogg").json()["text"], "others get theirs"


@pytest.mark.parametrize("stream", ["false", "true"])
def test_of_a_client_that_leaves_nothing_more_is_computed(serving, adapters, recordings, monkeypatch, stream):
    long, wave = io.BytesIO(), np.tile(soundfile.read(recordings[-1])[0], 12)
    soundfile.write(long, wave, 16_000, format="WAV", subtype="PCM_16")
    with serving(batch_seconds=20.0) as running:
        gate = Gate(running, monkeypatch)
        fields = {"model": "accent", "stream": stream}
        leave(running, "/v1/audio/transcriptions", long.getvalue(), gate.began, **fields)
        eventually(lambda: running.server.active == 0)
        gate.go.set()
        assert post(running, recordings[0].read_bytes(), "a.ogg").json()["text"], "others get theirs"
        assert gate.rows <= 4 and running.server.held_seconds == 0
