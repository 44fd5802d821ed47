"""Graphs with vectors as inputs, in ONNX Runtime, against the model in PyTorch."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from safetensors.numpy import load_file, save_file
from tiny_models import ADAPTER, noise_waves, tiny, tiny_processor

from ia3_speech import load, load_base
from ia3_speech.adapters.spec import parse_sum
from ia3_speech.commands.export import main as export
from ia3_speech.common.errors import AdapterError
from ia3_speech.decoding.search import SearchOptions
from ia3_speech.model.architectures import IA3Config
from ia3_speech.model.attach import insert_vectors
from ia3_speech.model.base import Base, make_base
from ia3_speech.model.ia3 import all_target_modules, using_rows, vectors
from ia3_speech.model.location import MINI

onnxruntime, onnx = pytest.importorskip("onnxruntime"), pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
import ia3_speech.onnx  # noqa: E402
from ia3_speech.onnx import int8  # noqa: E402
from ia3_speech.onnx.export import write_layout  # noqa: E402

KEY = "base_model.model.wav2vec2.encoder.layers.0.attention.k_proj.ia3_l"


@pytest.fixture(scope="module")
def random_base(save_base, tmp_path_factory) -> Path:
    """A base as mini, whose last convolutions look across a row's end."""
    return save_base(tmp_path_factory.mktemp("base"), sharpness=50, num_hidden_layers=2, **ADAPTER)


@pytest.fixture(scope="module")
def graph(random_base, tmp_path_factory) -> Path:
    """The folder of a graph of `random_base`, written by the command."""
    out = tmp_path_factory.mktemp("onnx") / "graph"
    export(base=str(random_base), out=out)
    return out


@pytest.fixture
def recordings(tmp_path) -> list[Path]:
    """Three recordings of noise, 0.5 to 1.2 s, the last at 8 kHz."""
    files, rates = [tmp_path / f"{name}.wav" for name in "abc"], (16_000, 16_000, 8_000)
    for file, wave, rate in zip(files, noise_waves(1.2, 0.5, 0.45), rates, strict=True):
        soundfile.write(file, wave, rate, subtype="FLOAT")
    return files


def errors_of_rows(base: Base, folder: Path) -> list[float]:
    """The largest differences, in standard deviations of the logits, of rows of a graph's batch from the row
    alone, and of rows from the model's; the second row has no adapter."""
    written = ia3_speech.onnx.load(folder).recognizer.base
    insert_vectors(base.model, all_target_modules(base.model), IA3Config())
    waves, rng, drawn = noise_waves(0.56, 0.438, 0.347), np.random.default_rng(0), [{}, {}, {}]
    for each in written.inputs:
        drawn[0][each.name], drawn[2][each.name] = rng.uniform(0.5, 1.5, (2, each.size)).astype("float32")
    errors = []
    for row, wave, arrays in zip(written.logits(waves, drawn), waves, drawn, strict=True):
        (alone,) = written.logits([wave], [arrays])
        own = {v.l: torch.tensor(arrays[n])[None, None] for n, v in vectors(base.model).items() if arrays}
        with using_rows(own):
            expected = base.logits([wave])[0].numpy()
        errors.append([np.abs(found - other).max() / expected.std() for found, other in
                       ((row, alone), (alone, expected))])  # fmt: skip
    return [*np.max(errors, 0)]


def test_a_row_of_a_batch_is_that_row_alone_and_the_models(graph, random_base):
    assert max(errors_of_rows(load_base(random_base), graph)) < 1e-4


def test_rows_in_int8(processor, tmp_path, monkeypatch):
    """Of a WavLM, whose attention is computed by its projections; calibrated on the shortest clip."""
    (tmp_path / "clips").mkdir()
    shutil.copy(min(int8.SPEECH.iterdir(), key=lambda clip: clip.stat().st_size), tmp_path / "clips")
    monkeypatch.setattr(int8, "SPEECH", tmp_path / "clips")
    models = [tiny("wavlm") for _ in range(2)]
    base, other = (make_base(m, tiny_processor("wavlm", processor.tokenizer), "wavlm") for m in models)
    write_layout(other, tmp_path / "graph", "onnx", "int8")
    between, error = errors_of_rows(base, tmp_path / "graph")
    assert between < 1e-4 < error < 0.5


def test_texts_are_those_of_pytorch(graph, random_base, speaker42, recordings):
    """By name, folder and sum; in one batch; where the rate is another; words have times."""
    with_torch, without = load(random_base, search=SearchOptions("greedy")), ia3_speech.onnx.load(graph)
    for adapter in (None, "speaker42", speaker42, "speaker42:0.1+speaker42:0.2"):
        expected = with_torch.transcribe(recordings, adapter=adapter, word_timestamps=True)
        found = without.transcribe(recordings, adapter=adapter, word_timestamps=True)
        assert [each.text for each in found] == [each.text for each in expected]
        times = [[[(w.text, w.start, w.end) for w in each.words] for each in of] for of in (found, expected)]
        assert times[0] == times[1] and all(times[0])


def test_the_command_runs_without_torch(graph, speaker42, recordings, random_base, run_command):
    """With the same text as PyTorch, with and without a language model; hot words are refused."""
    script = (
        "import sys; from ia3_speech.commands import run\n"
        "try: run('transcribe', sys.argv[1:])\n"
        "except SystemExit as end: print(end.code, 'torch' in sys.modules)"
    )
    words = ["--engine", "onnx", "--adapter", "speaker42", str(recordings[0])]

    greedy = load(random_base, adapter="speaker42", search="greedy").transcribe(recordings[0]).text
    line = [sys.executable, "-c", script, "--base", graph, *words]
    captured = {"capture_output": True, "text": True}
    done = subprocess.run(line, **captured)
    assert (done.stdout, done.stderr) == (f"{greedy}\n0 False\n", "")
    lm, weights = MINI / "lm.arpa.gz", SearchOptions(beam_size=5)
    expected = load(random_base, adapter="speaker42", lm=lm, search=weights).transcribe(recordings[0]).text
    done = subprocess.run([*line, "--lm", lm, "--beam-size", "5"], **captured)
    assert (done.stdout, done.stderr) == (f"{expected}\n0 False\n", "") and expected != greedy
    (terms := recordings[0].with_name("terms")).write_text("metformin")
    for options, message in (
        (("--base", graph, "--hotwords", terms), "--hotwords needs PyTorch, and has no effect"),
        ((), "--engine onnx needs the folder of a graph as --base"),
    ):
        assert message in run_command("transcribe", *options, *words).err


def test_onnx_runtimes_own_adapter(graph, speaker42, tmp_path, run_command):
    file = tmp_path / "speaker42.onnx_adapter"
    done = run_command("export", "--format", "onnx_adapter", "--adapter", "speaker42", "--out", file)
    assert done.code == 0 and done.out.startswith(f"{file}: speaker42, for a graph of ")
    base, wave = ia3_speech.onnx.load(graph).recognizer.base, np.ones(8000, np.float32).cumsum() % 77
    adapter, options = onnxruntime.LoraAdapter(), onnxruntime.RunOptions()
    adapter.Load(str(file))
    options.add_active_adapter(adapter)
    feeds = {"waves": np.stack([wave, wave]), "lengths": np.array([8000, 8000])}
    logits, _ = base.session.run(None, feeds, options)
    (expected,) = base.logits([wave], [base.vectors(parse_sum("speaker42"))])
    np.testing.assert_array_equal(logits, np.stack([expected, expected]))
    assert np.abs(expected - base.logits([wave])[0]).max() > 1


def test_what_does_not_fit_is_named(graph, speaker42, recordings, tmp_path):
    def changed(name: str, change, fingerprint: dict[str, str]) -> Path:
        """A copy of speaker42 with other tensors, and of another base."""
        copy = Path(shutil.copytree(speaker42, tmp_path / name))
        tensors = load_file(copy / "adapter_model.safetensors")
        change(tensors)
        save_file(tensors, copy / "adapter_model.safetensors")
        record = json.loads((copy / "ia3_speech.json").read_text())
        record["fingerprint"] |= fingerprint
        (copy / "ia3_speech.json").write_text(json.dumps(record))
        return copy

    asr, head = ia3_speech.onnx.load(graph), {"base_model.model.lm_head.bias": np.ones(29, np.float32)}
    long, zeros = {KEY: np.ones((33, 1), np.float32)}, {"sha256": 64 * "0"}
    for adapter, message in (
        (changed("other", len, zeros), "another base"),
        (changed("long", lambda t: t.update(long), {}), r"k_proj.ia3_key has shape \(33,\)"),
        (changed("less", lambda t: t.pop(KEY), {}), r"k_proj\.ia3_key, which its tensors lack"),
        (changed("head", lambda t: t.update(head), {}), "lm_head.bias is of a trained head"),
    ):
        with pytest.raises(AdapterError, match=message):
            asr.transcribe(recordings[0], adapter=adapter)
    with pytest.raises(ValueError, match="the shortest wave of 100 samples"):
        asr.recognizer.base.logits([np.zeros(100, np.float32)])
