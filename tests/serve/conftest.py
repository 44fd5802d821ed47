"""A server on a free port of this machine, with the mini base and greedy search, and adapters for it."""

import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi")

import httpx
import uvicorn
from openai import OpenAI

from ia3_speech.adapters import registry
from ia3_speech.commands.serve import listen
from ia3_speech.decoding.search import SearchOptions, make_search
from ia3_speech.serve.app import make_app
from ia3_speech.serve.jobs import Jobs
from ia3_speech.serve.options import EngineOptions, LimitOptions, ServerOptions
from ia3_speech.serve.state import Server
from ia3_speech.session import load
from tests.tiny_models import random_adapter

AUDIO = Path(__file__).parents[2] / "ia3_speech/out_of_domain/librispeech_dev/audio"
NAMES = ("accent", "medical", "speaker42")
FILES = ("adapter_config.json", "adapter_model.safetensors", "ia3_speech.json")
GREEDY = SearchOptions(search="greedy")
SENTENCE = "take two tablets"


def eventually(condition: Callable[[], object], patience: float = 300) -> None:
    """Wait for another thread or process."""
    end = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


@dataclass
class Running:
    """A server that listens."""

    url: str
    server: Server
    web: uvicorn.Server  # SIGTERM sets its `should_exit`

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def client(self, key: str = "none-is-needed", **options) -> OpenAI:
        return OpenAI(api_key=key, base_url=f"{self.url}/v1", max_retries=0, timeout=60, **options)

    def models(self, key: str = "none-is-needed") -> list[str]:
        return [model.id for model in self.client(key).models.list()]

    def metric(self, name: str, **labels: str) -> float:
        return self.server.metrics.registry.get_sample_value(name, labels) or 0.0

    def send(self, method: str, path: str, key: str = "none", **fields: Any) -> httpx.Response:
        """A request to /v1/PATH; with fields, a form. A path or bytes is a file, a list several fields."""
        parts = []
        for name, value in fields.items():
            for each in value if isinstance(value, list) else [value]:
                if isinstance(each, Path):
                    each = (each.name, each.read_bytes())
                each = ("a.wav", each) if isinstance(each, bytes) else each
                parts.append((name, each if isinstance(each, tuple) else (None, str(each))))
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        url = f"{self.url}/v1/{path}"
        return httpx.request(method, url, files=parts or None, headers=headers, timeout=60)

    def transcribe(self, file: Path | bytes, model: str = "mini", **fields: Any) -> httpx.Response:
        return self.send("POST", "audio/transcriptions", file=file, model=model, **fields)

    def upload(self, name: str, folder: Path, key: str = "none", files=FILES, **fields: Any):
        return self.send("POST", "adapters", key, name=name, files=[folder / n for n in files], **fields)

    def begin(self, name: str, key: str = "none", **fields: Any) -> httpx.Response:
        return self.send("POST", "voices", key, name=name, consent="true", **fields)

    def record(self, name: str, file: Path | bytes, text: str = SENTENCE, key: str = "none"):
        return self.send("POST", f"voices/{name}/recordings", key, file=file, text=text)


@pytest.fixture(scope="session")
def session():
    """Greedy search, unless another search is registered with an adapter."""
    session = load("mini").session
    session.default_search = make_search(GREEDY, session.base)
    return session


@pytest.fixture(scope="session")
def adapter_folders(tmp_path_factory) -> dict[str, Path]:
    """Random adapters of the mini base, the last a speaker's; their folders."""
    root = tmp_path_factory.mktemp("adapters")
    for number, name in enumerate(NAMES):
        labels = {"speaker": "42"} if name == "speaker42" else {"domain": name}
        random_adapter("mini", root / name, number, low=0.4, high=1.6, labels=labels)
    return {name: root / name for name in NAMES}


@pytest.fixture
def adapters(adapter_folders, own_store) -> dict[str, Path]:
    """The adapters, registered."""
    for name, folder in adapter_folders.items():
        registry.register(folder, name)
    return adapter_folders


@pytest.fixture
def serving(session, tmp_path) -> Callable:
    """A context manager: `with serving(max_requests=2) as running`; options of all three groups, another
    base, the text of a file of keys."""

    @contextmanager
    def run(session=session, keys: str = "", **options) -> Iterator[Running]:
        if keys:
            options["key_file"] = tmp_path / "keys.yaml"
            options["key_file"].write_text(keys)
        groups = [
            group(**{each.name: options[each.name] for each in fields(group) if each.name in options})
            for group in (ServerOptions, EngineOptions, LimitOptions)
        ]
        server = Server(session, *groups)
        listener = listen("127.0.0.1", 0, server.limits.upload_seconds)
        quiet = {"log_config": None, "access_log": False, "ws_ping_timeout": None}
        web = uvicorn.Server(uvicorn.Config(make_app(server), timeout_graceful_shutdown=20, **quiet))
        thread = threading.Thread(target=web.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield Running(f"http://127.0.0.1:{listener.getsockname()[1]}", server, web)
        finally:
            web.should_exit = True
            thread.join(60)
            assert not thread.is_alive(), "the server hangs"

    return run


@pytest.fixture
def running(serving, adapters) -> Iterator[Running]:
    with serving() as started:
        yield started


@pytest.fixture
def no_process(monkeypatch):
    """Jobs are queued, and wait."""
    monkeypatch.setattr(Jobs, "run", lambda self, name: self.wake.wait(0.05))


@pytest.fixture
def quick_jobs(forking_path, monkeypatch) -> None:
    """The processes of jobs start in a moment, and replay little (tests/egs/python_server.py)."""
    monkeypatch.setattr(sys, "executable", shutil.which("python", path=forking_path))


@pytest.fixture(scope="session")
def recordings() -> list[Path]:
    """Some sentences, the shortest first."""
    return sorted(AUDIO.iterdir(), key=lambda file: file.stat().st_size)


@pytest.fixture(scope="session")
def texts() -> dict[str, str]:
    """What the recordings say, by the stem of the file."""
    lines = (AUDIO.parent / "text").read_text("utf-8").lower().splitlines()
    return dict(line.split(" ", 1) for line in lines)


@pytest.fixture(scope="session")
def offline(adapter_folders) -> Callable[..., object]:
    """The transcript of `transcribe` with an adapter, or a sum of them: `medical:0.5+accent:0.5`."""

    @lru_cache
    def run(file, model: str = "mini"):
        for name, folder in adapter_folders.items():
            registry.register(folder, name, force=True)
        adapter = None if model == "mini" else model
        return load("mini", adapter=adapter, search=GREEDY).transcribe(file, word_timestamps=True)

    return run
