"""The page that recognises in the browser: one voice switched for another, in Chromium."""

import os
import shutil
import subprocess
import threading
import time
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import soundfile

from ia3_speech import load
from ia3_speech.decoding.search import SearchOptions
from tests.report.webdriver import Browser, needs_browser

pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
pytestmark = [needs_browser, pytest.mark.skipif(not shutil.which("npm"), reason="no npm on this machine")]
PAGE = Path(__file__).parents[2] / "egs/browser/page.sh"


@pytest.fixture
def site(tmp_path, tiny_folder, speaker42, forking_path) -> Path:
    """The folder that page.sh writes, with the voice speaker42; `nobody` is named, and it goes on."""
    if subprocess.run(["npm", "view", "onnxruntime-web@1.30.0", "version"], capture_output=True).returncode:
        pytest.skip("the npm registry has no onnxruntime-web@1.30.0, or is not reached")
    done = subprocess.run(
        ["bash", PAGE, "--out", tmp_path / "site", "--base", tiny_folder, "--adapters", "nobody speaker42"],
        env=os.environ | {"PATH": forking_path, "PYTHONPATH": str(PAGE.parents[2])}, capture_output=True,
        text=True,
    )  # fmt: skip
    assert done.returncode == 1 and "error: nobody: " in done.stderr
    assert done.stdout.endswith(f"{tmp_path / 'site'}: {tiny_folder.name} with speaker42\n")
    return tmp_path / "site"


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def browser(tmp_path, site):
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=site))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    browser = Browser(tmp_path / "profile")
    browser.open(f"http://127.0.0.1:{server.server_port}/")
    yield browser
    browser.stop()
    server.shutdown()


def settled(browser: Browser) -> tuple[str, str, str]:
    """The page's state after its current work, what it says, and the text."""
    end = time.monotonic() + 300
    while browser.run("return document.body.dataset.state ?? 'busy'") == "busy":
        assert time.monotonic() < end
        time.sleep(0.1)
    read = "['status', 'text'].map((id) => document.getElementById(id).textContent)"
    return browser.run(f"return [document.body.dataset.state, ...{read}]")


def test_one_voice_is_switched_for_another(browser, tiny_folder, speaker42, tmp_path):
    asr = load(tiny_folder, search=SearchOptions(search="greedy"))
    recording = tmp_path / "noise.wav"
    soundfile.write(recording, np.random.default_rng(0).normal(0, 0.1, 16_000), 16_000)
    assert settled(browser)[:2] == ["ready", "ready"]
    browser.type("#recording", str(recording))
    state, _, base_text = settled(browser)
    assert (state, base_text) == ("ready", asr.transcribe(recording).text)
    browser.choose("#voice", "speaker42")
    adapted = settled(browser)[2]
    assert adapted == asr.transcribe(recording, adapter="speaker42").text != base_text
    # An adapter of other sizes is named, and the page goes on.
    from safetensors.numpy import load_file, save_file

    tensors = load_file(speaker42 / "adapter_model.safetensors")
    save_file(
        {name: np.tile(tensor, (2, 1)) for name, tensor in tensors.items()}, tmp_path / "wide.safetensors"
    )
    browser.type("#adapter", str(tmp_path / "wide.safetensors"))
    state, said, _ = settled(browser)
    assert state == "fault" and said.startswith("wide.safetensors: ")
    browser.type("#adapter", str(recording))
    assert settled(browser)[:2] == ["fault", f"{recording.name}: is no .safetensors file"]
    browser.type("#recording", str(recording))
    assert settled(browser)[2] == adapted
