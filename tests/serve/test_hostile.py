"""Hostile input: hundreds of malformed requests, and clients that stall; never a 500."""

import io
import socket
import struct
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from ia3_speech.adapters import registry
from tests.serve.conftest import FILES, eventually

MULTIPART = "multipart/form-data; boundary=limit"
TRANSCRIBE = "/v1/audio/transcriptions"
LARGEST = struct.pack("<I", 2**32 - 1)
MEMORY = 500  # MB more than the process had before: two uploads are decoded at once, of 30 s at most
PATHS = [
    "..", "../up", "%2e%2e%2fetc%2fpasswd", "..%5c..%5cwindows", "/etc/passwd", "%00", "a%00b", "%ff%fe",
    "~root", "con", "a/b", "x" * 300, "x" * 9_000, "%", "%zz", "accent@1", ".lock", "store.json", "日本",
]  # fmt: skip
NAMES = ["..", "../up", "a/b", "/etc/x", "x" * 65, "x" * 60_000, "a\nb", "a\0b", "-x", "mini", "a@1", "ö/ö"]
FIELDS = ["model", "language", "prompt", "temperature", "stream", "response_format", "keywords[]", "unknown"]
VALUES = [
    "", "\0", "x" * 60_000, "x" * 70_000, "nan", "-1", "1e999", "true", "[]", "{}", "null", "日本語",
    "\ud800", "../../x", "accent:", "accent:nan", ":1", "+" * 300, "accent+" * 60 + "accent", "%s%n", "JSON",
]  # fmt: skip
EVENTS = ["", "[" * 90_000, "null", '{"type": []}', '{"type": "session.update", "session": [1]}', "x" * 2**21]


@dataclass
class Request:
    """What goes over a bare socket, since clients write honest headers."""

    kind: str
    data: bytes
    seconds: float = 60.0  # that the client waits for the answer, or its next bytes; 0: it leaves at once

    def send(self, port: int) -> tuple[int | None, bytes]:
        """The status and the body of the answer; None if the server waits for more, or has hung up."""
        answer = b""
        with socket.create_connection(("127.0.0.1", port), timeout=self.seconds or 60) as client:
            try:
                client.sendall(self.data)
                while self.seconds and (part := client.recv(65_536)):
                    answer += part
            except (ConnectionError, TimeoutError):
                pass
        head, _, body = answer.partition(b"\r\n\r\n")
        return (int(head.split()[1]) if head.startswith(b"HTTP/1.1 ") else None), body


def encoded(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")


def message(method: str, path: str, body: bytes = b"", **headers: str | bytes) -> bytes:
    """A request; `headers` replace the correct headers."""
    lines = {"host": "127.0.0.1", "connection": "close"}
    lines |= {"content-length": str(len(body)), "content-type": MULTIPART}
    lines |= {name.replace("_", "-"): value for name, value in headers.items()}
    head = [f"{method} {path} HTTP/1.1", *(encoded(name) + b": " + encoded(lines[name]) for name in lines)]
    return b"\r\n".join([*map(encoded, head), b"", body])


def form(*parts: tuple[str, str | bytes, str | None]) -> bytes:
    """A multipart body of (name, content, filename or None)."""
    body = b""
    for name, content, filename in parts:
        file = "" if filename is None else f'; filename="{filename}"'
        head = f'--limit\r\ncontent-disposition: form-data; name="{name}"{file}\r\n\r\n'
        body += encoded(head) + encoded(content) + b"\r\n"
    return body + b"--limit--\r\n"


def sound(seconds: float, format: str = "WAV", rate: int = 16_000, channels: int = 1, level=0.1) -> bytes:
    noise = np.random.default_rng(0).normal(0, 1, (round(seconds * rate), channels)) * level
    file, subtype = io.BytesIO(), "VORBIS" if format == "OGG" else "PCM_16"
    soundfile.write(file, noise, rate, format=format, subtype=subtype)
    return file.getvalue()


def patched(data: bytes, place: int, new: bytes) -> bytes:
    return data[:place] + new + data[place + len(new) :]


def lying_files() -> dict[str, bytes]:
    """Files whose headers lie in known ways, and small ones of which hours come out."""
    good, flac = sound(0.3), sound(0.3, "FLAC")
    return {
        "empty": b"", "text": b"no audio at all" * 100, "header only": good[:44], "half a header": good[:20],
        "no channels": patched(good, 22, b"\0\0"), "65,535 channels": patched(good, 22, b"\xff\xff"),
        "rate 0": patched(good, 24, b"\0\0\0\0"), "rate 2^32": patched(good, 24, LARGEST),
        "4 GB": patched(patched(good, 4, LARGEST), 40, LARGEST), "too short": sound(0.005),
        "2^36 samples": patched(flac, 21, bytes([flac[21] | 0x0F]) + b"\xff" * 4),
        "an hour of silence": sound(3_600, "FLAC", level=0), "8 channels": sound(20, "FLAC", 48_000, 8, 0),
        "mp4 without a track": b"\0\0\0\x18ftypisom\0\0\2\0isomiso2" + b"\0" * 64,
        "webm of zeros": b"\x1a\x45\xdf\xa3" + b"\0" * 500, "pickle": b"\x80\x04cos\nsystem\n",
        "zip": b"PK\3\4" * 9, "playlist": b"#EXTM3U\nfile:///etc/passwd\n",
        "files": b"ffconcat version 1.0\nfile /etc/passwd\n",
        "NaN": good[:20] + b"\3\0" + good[22:34] + b"\x20\0" + good[36:44] + b"\xff" * 32_000,
    }  # fmt: skip


def hostile_requests(seed: int, count: int, adapter: Path) -> Iterator[Request]:
    """Correct requests with random changes: files, fields, names, lengths; `adapter` is a valid folder."""
    rng, lies = np.random.default_rng(seed), lying_files()
    sources = [sound(0.3, format) for format in ("WAV", "FLAC", "OGG", "AIFF", "W64", "CAF", "AU")]
    files = {name: (adapter / name).read_bytes() for name in FILES}
    right = form(("model", "mini", None), ("file", sources[0], "a.wav"))

    def choose(values):
        return values[rng.integers(len(values))]

    def bent(data: bytes, first: int = 80) -> bytes:
        """Some numbers near the beginning changed; perhaps cut."""
        changed = bytearray(data)
        for place in rng.integers(0, min(first, len(data)) - 4, rng.integers(1, 5)):
            changed[place : place + 4] = choose([LARGEST, b"\0\0\0\0", rng.bytes(4)])
        return bytes(changed[: rng.integers(len(data))] if rng.random() < 0.4 else changed)

    def audio() -> Request:
        lie, name = choose([*lies, *["bent"] * 60]), choose(["a.wav", "a.mp4", "../a", "/etc/x", ""])
        file = ("file", lies.get(lie) or bent(choose(sources)), name)
        if rng.random() < 0.2:
            body = form(("text", "no fever", None), file)
            return Request(f"recording, {lie}", message("POST", "/v1/voices/anna/recordings", body))
        body = form(("model", choose(["mini", "accent"]), None), file)
        return Request(f"audio, {lie}", message("POST", TRANSCRIBE, body))

    def fields() -> Request:
        kinds = [None] * 5 + ["f"]  # text, or a file
        wrong = [(choose(FIELDS), choose(VALUES), choose(kinds)) for _ in range(rng.integers(1, 4))]
        body = form(("model", "mini", None), ("file", sources[0], "a.wav"), *wrong)
        return Request(f"fields, {wrong!r:.60}", message("POST", TRANSCRIBE, body))

    def voices() -> Request:
        path = choose(["", "/anna/recordings", "/anna/learn", f"/{choose(PATHS)}/learn", f"/{choose(PATHS)}"])
        parts = [("name", choose([*NAMES, *VALUES])), ("consent", choose(["true", *VALUES]))]
        parts += [("epochs", choose(["0", "21", "x", "1e9"])), ("text", choose([*VALUES, "größer"]))]
        body = form(*((*part, None) for part in parts), *[("file", sources[0], "../a")] * rng.integers(3))
        return Request(f"voices{path:.40}", message("POST", f"/v1/voices{path}", body))

    def adapters() -> Request:
        parts = [("name", choose([*NAMES, "new"]), None), ("replace", choose(["true", *VALUES]), None)]
        for name, data in files.items():
            wrong = [data, bent(data, 400), bent(data, len(data)), b"", b"{}", b"[" * 100_000, b"\x80\x04."]
            names = [name, name, f"../{name}", "adapter_model.bin", "/etc/x.json"]
            parts.append(("files", choose(wrong), choose(names)))
        return Request("adapters", message("POST", "/v1/adapters", form(*parts)))

    def addresses() -> Request:
        method = choose(["GET", "POST", "DELETE", "PUT", "HEAD", "OPTIONS", "PATCH", "TRACE", "X" * 50])
        place = choose(["adapters", "models", "voices", "audio", "realtime", "voices/anna/recordings"])
        path = choose([f"/v1/{place}/{choose(PATHS)}", f"/page/{choose(PATHS)}", f"/v1/{place}?model=%00%ff"])
        return Request(f"{method:.10} {path:.60}", message(method, path))

    def wire() -> Request:
        """Bytes, lengths, headers and parts."""
        whole = message("POST", TRANSCRIBE, right)
        chunks = choose([b"zz\r\n", b"-1\r\n", b"fffffffffffffffff\r\n", b"5\r\nab", b"0\r\n\r\n"])
        types = [
            f"multipart/form-data; boundary={each}"
            for each in ("", "é", "x" * 5_000, "limit; charset=utf-99")
        ]
        name = choose(["content_type", "authorization", "origin", "host", "cookie"])
        value = choose(["", b"\xff\xfe", "x" * 50_000, b"a\0b", "http://[::", *types])
        length = choose(["-1", "0", "9" * 30, "1e3", "12, 13", "", "99999999"])
        heads = ["", ": ", f"x: {'y' * 20_000}", "content-disposition: attachment", b"x: \xff\xfe"]
        named = (b"name*=utf-8''%ff", b"filename=x", b'name="\xff\xfe"')
        head = choose([*heads, *(b"content-disposition: form-data; " + each for each in named)])
        part = b"--limit\r\n" + encoded(head) + b"\r\n\r\nx\r\n--limit--\r\n"
        wrong = [
            bent(whole, 300),
            whole[: rng.integers(1, len(whole))],
            rng.bytes(rng.integers(1, 2_000)),
            whole.replace(b"\r\n", choose([b"\n", b"\r", b"\r\n\r\n"]), int(rng.integers(1, 12))),
            message("POST", TRANSCRIBE, right, content_length=length),
            message("POST", TRANSCRIBE, chunks, transfer_encoding=choose(["chunked", "gzip", "chunked, x"])),
            message("POST", TRANSCRIBE, right, **{name: value}),
            message("POST", TRANSCRIBE, form(*[(f"field{n}", "x", None) for n in range(1_000)])),
            message("POST", TRANSCRIBE, part),
        ]
        kind = int(rng.integers(len(wrong)))
        return Request(f"wire, {kind}", wrong[kind], choose([0.0, 1.0, 1.0]))

    def frames() -> Request:
        """A WebSocket whose frames are no events, or no frames."""
        upgrade = {"connection": "Upgrade", "upgrade": "websocket", "sec_websocket_version": "13"}
        data = message("GET", "/v1/realtime", sec_websocket_key="AAAAAAAAAAAAAAAAAAAAAA==", **upgrade)
        for event in (encoded(choose(EVENTS)) for _ in range(3)):
            kind, length = choose([0x81, 0x82, 0x89, 0xF1]), choose([len(event), 2**63, 5])
            data += bytes([kind, 0xFF]) + struct.pack(">Q", length) + bytes(4) + event
        return Request("frames", data, 1.0)

    kinds = [audio] * 7 + [fields] * 3 + [wire] * 4 + [adapters, voices, addresses] * 2 + [frames]
    for _ in range(count):
        yield choose(kinds)()


def peak_memory() -> float:
    """MB, since `clear_refs` was written."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1000 for line in lines if line.startswith("VmHWM"))


def test_hundreds_of_hostile_requests(serving, adapters, caplog, no_process):
    with serving(max_minutes=0.5, upload_seconds=0.5) as running:
        running.begin("anna")
        requests = [*hostile_requests(0, 300, adapters["accent"])]
        Path("/proc/self/clear_refs").write_text("5")
        before = peak_memory()
        with ThreadPoolExecutor(16) as clients:
            answers = [*clients.map(lambda request: request.send(running.port), requests)]
        assert peak_memory() < before + MEMORY
        for request, (status, body) in zip(requests, answers, strict=True):
            assert status is None or status < 500, (request.kind, request.data[:300], body)
            assert status is not None or request.seconds <= 1, (request.kind, request.data[:300])
            for secret in (b"/tmp", encoded(str(Path.home())), b"root:", b"internal_error"):
                assert secret not in body, (request.kind, body)
        statuses = [status for status, _ in answers]
        assert {200, 201, 400, 404, 405, 413} <= {*statuses} and statuses.count(400) > 100
        eventually(lambda: running.server.active == 0)
        assert running.transcribe(sound(1.0)).status_code == 200
    assert "defect" not in caplog.text and "Traceback" not in caplog.text
    store = registry.home()
    assert sorted(path.name for path in store.iterdir()) == ["adapters", "corrections", "voices"]
    entries = {path.name for folder in store.iterdir() for path in folder.iterdir() if path.name[0] != "."}
    assert entries <= {*adapters, "anna", "new", "true", "nan", "null", "1e999", "JSON", "日本語"}


def test_stalled_clients_are_cut_off_and_delay_nobody(serving, adapters):
    """Heads and bodies that do not end, and answers that nobody reads."""
    with serving(upload_seconds=1.0, max_requests=50) as running:
        body, clients = message("POST", TRANSCRIBE, b"--limit\r\n", content_length="1000"), []
        page = b"GET /page/sample.ogg HTTP/1.1\r\nhost: x\r\n\r\n" * 300  # 3 MB of answers
        for data in [b"GET / HTTP/1.1\r\nhost: x\r\nx: ", body, page] * 10:
            client = socket.socket()
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
            client.connect(("127.0.0.1", running.port))
            client.sendall(data)
            clients.append(client)
        assert running.transcribe(sound(1.0)).status_code == 200
        eventually(lambda: running.server.active == 0)
        assert clients[1].recv(12) == b"HTTP/1.1 408"
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # heads are left
            eventually(lambda: len(running.web.server_state.connections) <= 10)
        for client in clients:
            client.close()
