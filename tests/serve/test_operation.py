"""Operation, and hostile input: 4xx and never 500; clients that leave; the log; an orderly end."""

import io
import logging
import re
import socket
import struct
import threading
import time
from pathlib import Path

import httpx
import numpy as np
import pytest
import soundfile

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


def eventually(condition) -> None:
    """Another thread is about to make it true."""
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        threading.Event().wait(0.01)


# ---- operation


def test_health_metrics_and_the_log(serving, adapters, recordings, tmp_path, caplog):
    keys = tmp_path / "keys.yaml"
    keys.write_text(f"- {{name: clinic, key: {SECRET}, adapters: ['*']}}")
    caplog.set_level(logging.INFO, "ia3_speech")
    with serving(key_file=keys) as running:
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
        running.server.closing = True
        assert httpx.get(f"{running.url}/readyz").status_code == 503
        running.server.closing = False
    line = next(one for one in caplog.messages if one.startswith("POST"))
    assert re.fullmatch(r"POST /v1/audio/transcriptions 200 [\d.]+ s, key clinic, audio [\d.]+ s", line)
    assert re.fullmatch(r"req_[0-9a-f]{24}", request_id)
    for told in (caplog.text, shown):
        assert not {*text.split(), "speaker42", SECRET, "spoken"} & set(re.findall(r"[\w-]+", told))


def test_lines_of_the_log_have_the_requests_id():
    from ia3_speech.serve.monitoring import REQUEST_ID, RequestIds

    record = logging.LogRecord("x", logging.INFO, "", 0, "message", (), None)
    token = REQUEST_ID.set("req_1")
    assert RequestIds().filter(record) and record.request_id == "req_1"
    REQUEST_ID.reset(token)


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
    assert not running.server.engine.alive and len(running.server.bank) == 0


def test_help_teaches_and_wrong_options_are_told(run_command):
    shown = run_command("serve", "--help")
    assert shown.code == 0 and "curl -F model=mini" in shown.out and "--max-wait-ms" in shown.out
    for words, message in (
        (["--max-adapters", "0"], "--max-adapters is 0, and has to be at least 1"),
        (["--key-file", "nowhere.yaml"], "--key-file nowhere.yaml: no such file"),
    ):
        done = run_command("serve", *words)
        assert (done.code, done.err) == (1, f"error: {message}\n")


# ---- clients that leave


@pytest.mark.parametrize("stream", ["false", "true"])
def test_of_a_client_that_leaves_nothing_more_is_computed(serving, adapters, recordings, monkeypatch, stream):
    long, wave = io.BytesIO(), np.tile(soundfile.read(recordings[-1])[0], 12)
    soundfile.write(long, wave, 16_000, format="WAV", subtype="PCM_16")
    with serving(batch_seconds=20.0) as running:
        gate = Gate(running, monkeypatch)
        request = httpx.Request(
            "POST", f"{running.url}/v1/audio/transcriptions",
            data={"model": "accent", "stream": stream}, files={"file": ("a.wav", long.getvalue())},
        )  # fmt: skip
        head = [f"{name}: {value}" for name, value in request.headers.items()]
        head = [f"POST {request.url.path} HTTP/1.1", *head, "", ""]
        with socket.create_connection(("127.0.0.1", request.url.port)) as client:
            client.sendall("\r\n".join(head).encode() + request.read())
            assert gate.began.wait(30)
        eventually(lambda: running.server.active == 0)
        gate.go.set()
        assert post(running, recordings[0].read_bytes(), "a.ogg").json()["text"], "others get theirs"
        assert gate.rows <= 4 and running.server.held_seconds == 0


def test_a_body_that_never_ends_is_not_waited_for(serving, adapters):
    with serving(upload_seconds=0.3) as running:
        with socket.create_connection(("127.0.0.1", int(running.url.rpartition(":")[2]))) as client:
            head = "POST /v1/audio/transcriptions HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n"
            client.sendall(f"{head}Content-Type: multipart/form-data; boundary=x\r\n\r\n--x\r\n".encode())
            client.settimeout(30)
            assert client.recv(100).startswith(b"HTTP/1.1 408")
        eventually(lambda: running.server.active == 0)


# ---- hostile files


def wav(seconds: float = 1.0, rate: int = 16_000, channels: int = 1, format: str = "WAV") -> bytes:
    file = io.BytesIO()
    noise = np.random.default_rng(0).normal(0, 0.1, (round(seconds * rate), channels))
    soundfile.write(file, noise, rate, format=format, subtype="PCM_16")
    return file.getvalue()


def with_bytes(data: bytes, place: int, new: bytes) -> bytes:
    return data[:place] + new + data[place + len(new) :]


def hostile_files() -> dict[str, bytes]:
    good, flac, most = wav(), wav(format="FLAC"), struct.pack("<I", 2**32 - 1)
    files = {
        "empty": b"", "text": b"no audio at all" * 100, "header only": good[:44], "half a header": good[:20],
        "no channels": with_bytes(good, 22, b"\0\0"), "65,535 channels": with_bytes(good, 22, b"\xff\xff"),
        "rate 0": with_bytes(good, 24, b"\0\0\0\0"), "rate 2^32": with_bytes(good, 24, most),
        "cut in half": good[: len(good) // 2], "too short": wav(0.005),
        "flac that promises 2^36 samples": with_bytes(flac, 21, bytes([flac[21] | 0x0F]) + b"\xff" * 4),
        "days of silence": wav(0.1, rate=8_000).replace(b"data", b"data", 1)[:44],
        "mp4 without a track": b"\0\0\0\x18ftypisom\0\0\2\0isomiso2" + b"\0" * 64,
        "webm of zeros": b"\x1a\x45\xdf\xa3" + b"\0" * 500,
        "pickle": b"\x80\x04cos\nsystem\n", "zip": b"PK\3\4" * 9,
        "NaN": good[:20] + b"\3\0" + good[22:34] + b"\x20\0" + good[36:44] + b"\xff" * 32_000,
    }  # fmt: skip
    rng = np.random.default_rng(1)
    for number in range(60):
        source = bytearray(good if number % 2 else flac)
        for place in rng.integers(0, 60, 4):
            source[place] = rng.integers(256)
        files[f"header with four random bytes, {number}"] = bytes(source[: rng.integers(30, len(source))])
    return files


def test_hostile_files_are_refused_or_transcribed_and_nothing_breaks(serving, adapters):
    with serving(max_minutes=0.5) as running:
        for name, content in hostile_files().items():
            answer = post(running, content)
            assert answer.status_code in (200, 400, 413), (name, answer.text)
            assert "/tmp" not in answer.text and str(Path.home()) not in answer.text
        silence = io.BytesIO()
        soundfile.write(silence, np.zeros(16_000 * 3_600, np.int16), 16_000, format="FLAC")
        assert len(silence.getvalue()) < 200_000 and post(running, silence.getvalue()).status_code == 413
        assert post(running, wav(20.0, channels=8, rate=48_000)).status_code == 413
        assert post(running, wav(1.0)).status_code == 200


def test_a_container_is_counted_before_it_is_kept(serving, adapters):
    av = pytest.importorskip("av")
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=16_000, layout="mono")
        for second in range(40):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 16_000), np.float32), "fltp", "mono")
            frame.rate, frame.pts = 16_000, 16_000 * second
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with serving(max_minutes=0.5) as running:
        assert post(running, file.getvalue(), "a.m4a").status_code == 413
    with serving(max_minutes=1.0) as running:
        assert post(running, file.getvalue(), "a.m4a").status_code == 200


FIELDS = {
    "model": [
        "x" * 60_000, "\0", "../../etc/passwd", "a" * 64 + "+" * 64, "+", ":1", "accent:", "accent:1e999",
    ],
    "language": ["x" * 1000, "\0", "en" * 40],
    "prompt": [", ".join("abcdefgh" * 4 for _ in range(300)), "\0\1\2", "日本語"],
    "temperature": ["nan", "inf", "-1", "1e400", "x"],
    "stream": ["maybe", "2"],
    "response_format": ["exe", "\0", "JSON"],
    "timestamp_granularities[]": ["syllable"],
    "keywords[]": ["\0", "x" * 5000],
    "unknown": ["x" * 1000],
}  # fmt: skip


def test_hostile_fields_are_answered(running):
    content = wav(0.3)
    for name, values in FIELDS.items():
        for value in values:
            answer = post(running, content, **{name: value})
            assert answer.status_code in (200, 400, 404), (name, value[:50], answer.text)
    url = f"{running.url}/v1/audio/transcriptions"
    with httpx.Client() as http:
        for files in (
            [("model", ("model.txt", b"mini")), ("file", b"x")],
            [("file", (None, b"text")), ("model", (None, b"mini"))],
            [("file", ("a", content)), ("file", ("b", content)), ("model", (None, b"mini"))],
            [(f"field{n}", (None, b"x")) for n in range(300)],
            [("model", (None, b"x" * 100_000))],
        ):
            assert http.post(url, files=files).status_code == 400
        for kind in ("", "; boundary=", "; boundary=é"):
            headers = {"content-type": f"multipart/form-data{kind}".encode()}
            assert http.post(url, content=b"--\r\n\0", headers=headers).status_code == 400
        for path in ("models/..%2f..%2fetc", "adapters/%00", "adapters/%2e%2e", f"models/{'x' * 5000}"):
            assert http.get(f"{running.url}/v1/{path}").status_code == 404
