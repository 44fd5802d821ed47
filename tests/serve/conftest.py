"""A server on a free port of this machine, with the mini base and greedy search, and adapters for it."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path

import pytest

pytest.importorskip("fastapi")

import httpx
import uvicorn
from openai import OpenAI

from ia3_speech import IA3Config, attach, load_base, save_adapter
from ia3_speech.adapters import registry
from ia3_speech.commands.serve import listen
from ia3_speech.model.attach import trainable
from ia3_speech.search import SearchOptions, make_search
from ia3_speech.serve.app import make_app
from ia3_speech.serve.jobs import Jobs
from ia3_speech.serve.options import EngineOptions, LimitOptions, ServerOptions
from ia3_speech.serve.state import Server
from ia3_speech.session import load

AUDIO = Path(__file__).parents[2] / "ia3_speech/out_of_domain/librispeech_dev/audio"
NAMES = ("accent", "medical", "speaker42")
FILES = ("adapter_config.json", "adapter_model.safetensors", "ia3_speech.json")
GREEDY = SearchOptions(search="greedy")


def eventually(condition: Callable[[], object], patience: float = 300) -> None:
    """Another thread, or a process, is about to make it true."""
    end = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


@dataclass
class Running:
    """A server that listens.

    Attributes:
        url: of the machine and port.
        web: uvicorn's server; `should_exit` is what SIGTERM sets.
    """

    url: str
    server: Server
    web: uvicorn.Server

    def client(self, key: str = "none-is-needed", **options) -> OpenAI:
        return OpenAI(api_key=key, base_url=f"{self.url}/v1", max_retries=0, timeout=60, **options)

    def metric(self, name: str, **labels: str) -> float:
        return self.server.metrics.registry.get_sample_value(name, labels) or 0.0


@pytest.fixture(scope="session")
def session():
    """Greedy search, unless another one is registered with an adapter."""
    session = load("mini").session
    session.default_search = make_search(GREEDY, session.base)
    return session


@pytest.fixture(scope="session")
def adapter_folders(tmp_path_factory) -> dict[str, Path]:
    """Random adapters of the mini base, the last a speaker's; their folders."""
    import torch

    base, root = load_base("mini"), tmp_path_factory.mktemp("adapters")
    attach(base.model, IA3Config())
    for number, name in enumerate(NAMES):
        generator = torch.Generator().manual_seed(number)
        with torch.no_grad():
            for _, vector in trainable(base.model):
                vector.copy_(0.4 + 1.2 * torch.rand(vector.shape, generator=generator))
        labels = {"speaker": "42"} if name == "speaker42" else {"domain": name}
        save_adapter(base.model, root / name, base=base, labels=labels)
    return {name: root / name for name in NAMES}


@pytest.fixture
def adapters(adapter_folders, own_store) -> dict[str, Path]:
    """The adapters, registered."""
    for name, folder in adapter_folders.items():
        registry.register(folder, name)
    return adapter_folders


@pytest.fixture
def serving(session, tmp_path) -> Callable:
    """A context manager: `with serving(max_requests=2) as running`; options of all three groups, a base other
    than mini, and what a file of keys holds."""

    @contextmanager
    def run(session=session, keys: str = "", **options) -> Iterator[Running]:
        if keys:
            options["key_file"] = tmp_path / "keys.yaml"
            options["key_file"].write_text(keys)
        groups = [
            group(**{one.name: options[one.name] for one in fields(group) if one.name in options})
            for group in (ServerOptions, EngineOptions, LimitOptions)
        ]
        server = Server(session, *groups)
        listener = listen("127.0.0.1", 0, server.limits.upload_seconds)
        quiet = {"log_config": None, "access_log": False}
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
    with serving() as one:
        yield one


@pytest.fixture
def no_process(monkeypatch):
    """Jobs are queued, and wait."""
    monkeypatch.setattr(Jobs, "run", lambda self, name: self.wake.wait(0.05))


@pytest.fixture(scope="session")
def recordings() -> list[Path]:
    """Some sentences, the shortest first."""
    return sorted(AUDIO.iterdir(), key=lambda file: file.stat().st_size)


@pytest.fixture(scope="session")
def offline(adapter_folders) -> Callable[..., object]:
    """What `transcribe` makes of a recording with an adapter, or a sum of them: `medical:0.5+accent:0.5`."""

    def run(file, model: str = "mini"):
        for name, folder in adapter_folders.items():
            registry.register(folder, name, force=True)
        adapter = None if model == "mini" else model
        return load("mini", adapter=adapter, search=GREEDY).transcribe(file, word_timestamps=True)

    return run


def call(running, method: str, path: str = "", key: str = "none", file=None, **fields) -> httpx.Response:
    """A request to /v1/voices; with fields, a form."""
    files = {name: (None, str(value)) for name, value in fields.items()}
    files |= {"file": ("speech.ogg", file.read_bytes())} if file else {}
    headers, url = {"Authorization": f"Bearer {key}"}, f"{running.url}/v1/voices{path}"
    return httpx.request(method, url, files=files or None, headers=headers, timeout=60)


def begin(running, name: str, key: str = "none", **fields) -> httpx.Response:
    return call(running, "POST", "", key, name=name, consent="true", **fields)
