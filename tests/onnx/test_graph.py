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

from ia3_speech import load, load_base
from ia3_speech.adapters import registry
from ia3_speech.adapters.expressions import parse_terms
from ia3_speech.data.audio import load_audio
from ia3_speech.decoding.ctc_search import greedy
from ia3_speech.loading import SearchOptions
from ia3_speech.model.architectures import AdapterError, IA3Config
from ia3_speech.model.attach import insert_vectors
from ia3_speech.model.ia3 import all_target_modules, using_rows, vectors
from tests.tiny_models import tiny

pytest.importorskip("onnxruntime")
onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
import ia3_speech.onnx  # noqa: E402
from ia3_speech.onnx.onnx_export import make_graph  # noqa: E402

GREEDY = SearchOptions(search="greedy")
SIGNATURE = {"inputs": ("waves", "lengths"), "outputs": ("logits", "frames"), "with_vectors": True}


@pytest.fixture(scope="module")
def graph(random_base, tmp_path_factory) -> Path:
    """The folder of a graph of `random_base`, written by the command."""
    out = tmp_path_factory.mktemp("onnx") / "graph"
    words = [sys.executable, "-m", "ia3_speech.export", "--base", str(random_base), "--out", str(out)]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{out}: {random_base}, float32, 0 MiB\n"
    return out


@pytest.fixture
def recordings(tmp_path) -> list[Path]:
    """Three recordings of noise, 0.5 to 1.2 s, the last at 8 kHz."""
    rng, files = np.random.default_rng(0), []
    for seconds, rate in ((1.2, 16_000), (0.5, 16_000), (0.9, 8_000)):
        files.append(tmp_path / f"{seconds}.wav")
        soundfile.write(files[-1], 0.1 * rng.standard_normal(int(seconds * rate)), rate, subtype="FLOAT")
    return files


def waves_and_vectors(inputs: dict[str, int]) -> tuple[list[np.ndarray], list[dict[str, np.ndarray]]]:
    """Three waveforms of different lengths, and random vectors for each."""
    rng = np.random.default_rng(0)
    waves = [rng.standard_normal(samples).astype("float32") for samples in (9000, 7011, 5555)]
    draw = [
        {name: rng.uniform(0.5, 1.5, size).astype("float32") for name, size in inputs.items()} for _ in waves
    ]
    return waves, draw


@pytest.mark.parametrize("name", ["wav2vec2", "wav2vec2-adapter", "hubert-stable", "wavlm", "conformer"])
def test_a_row_of_a_batch_is_that_row_alone_and_the_models(name, processor, tmp_path):
    from ia3_speech.model.base import make_base
    from ia3_speech.onnx.layouts import write_layout

    exported, base = make_base(tiny(name), processor, name), make_base(tiny(name), processor, name)
    write_layout(exported, tmp_path / "graph", "onnx", "float32")
    loaded = ia3_speech.onnx.load(tmp_path / "graph").recognizer.base
    waves, drawn = waves_and_vectors({each.name: each.size for each in loaded.inputs})
    drawn[1] = {}  # the base
    rows = loaded.logits(waves, drawn)
    insert_vectors(base.model, all_target_modules(base.model), IA3Config())
    for row, wave, arrays in zip(rows, waves, drawn, strict=True):
        (alone,) = loaded.logits([wave], [arrays])
        np.testing.assert_allclose(row, alone, atol=1e-4)
        of_model = {
            v.l: torch.tensor(arrays[n])[None, None] for n, v in vectors(base.model).items() if arrays
        }
        with using_rows(of_model):
            np.testing.assert_allclose(alone, base.logits([wave])[0], atol=2e-3)


def test_texts_are_those_of_pytorch(graph, random_base, speaker42, recordings):
    """By name, folder and sum; in one batch; where the rate is another; words have times."""
    with_torch, without = load(random_base, search=GREEDY), ia3_speech.onnx.load(graph)
    for adapter in (None, "speaker42", speaker42, "speaker42:0.1+speaker42:0.2"):
        expected = with_torch.transcribe(recordings, adapter=adapter, word_timestamps=True)
        found = without.transcribe(recordings, adapter=adapter, word_timestamps=True)
        assert [each.text for each in found] == [each.text for each in expected]
        assert all(each.text for each in found)
        for one, other in zip(found, expected, strict=True):
            assert [(w.text, w.start, w.end) for w in one.words] == [
                (w.text, w.start, w.end) for w in other.words
            ]


def test_texts_of_a_real_base_are_those_of_pytorch(base_folder, shared_data, tmp_path, run_command):
    """On real speech, in one batch, rows with different vectors; scripts/bench_onnx.py takes a hundred."""
    out = tmp_path / "graph"
    assert run_command("export", "--base", base_folder, "--out", out).code == 0
    chapter = shared_data / "librispeech_237/LibriSpeech/test-clean/237/134500"
    files = sorted(chapter.glob("*.flac"), key=lambda file: file.stat().st_size)[:4]
    waves = [load_audio(file) for file in files]
    without = ia3_speech.onnx.load(out)
    base = load_base(base_folder)
    assert without.recognizer.texts(waves) == [greedy(row, base.vocabulary) for row in base.logits(waves)]
    arrays = {each.name: np.full(each.size, 1.2, np.float32) for each in without.recognizer.base.inputs}
    rows = without.recognizer.base.logits(waves, [arrays, {}, arrays, {}])
    alone = [
        without.recognizer.base.logits([w], [a])[0]
        for w, a in zip(waves, [arrays, {}, arrays, {}], strict=True)
    ]
    assert [row.argmax(-1).tolist() for row in rows] == [row.argmax(-1).tolist() for row in alone]


def test_it_runs_without_torch(graph, speaker42, recordings):
    script = (
        "import sys, ia3_speech.onnx\n"
        f"asr = ia3_speech.onnx.load({str(graph)!r})\n"
        f"print(asr.transcribe({str(recordings[0])!r}, adapter='speaker42').text)\n"
        "print({'torch', 'transformers', 'onnx'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stderr == "" and done.stdout.splitlines()[1] == "set()"
    assert (
        done.stdout.splitlines()[0]
        == ia3_speech.onnx.load(graph).transcribe(recordings[0], adapter="speaker42").text
    )


def test_onnx_runtimes_own_adapter(graph, speaker42, tmp_path, run_command):
    import onnxruntime

    file = tmp_path / "speaker42.onnx_adapter"
    done = run_command("export", "--format", "onnx_adapter", "--adapter", "speaker42", "--out", file)
    assert done.code == 0 and done.out.startswith(f"{file}: speaker42, for a graph of ")
    base, wave = ia3_speech.onnx.load(graph).recognizer.base, np.random.randn(8000).astype("float32")
    adapter, options = onnxruntime.LoraAdapter(), onnxruntime.RunOptions()
    adapter.Load(str(file))
    options.add_active_adapter(adapter)
    feeds = {"waves": np.stack([wave, wave]), "lengths": np.array([8000, 8000])}
    logits, _ = base.session.run(None, feeds, options)
    (expected,) = base.logits([wave], [base.vectors(parse_terms("speaker42"))])
    np.testing.assert_array_equal(logits, np.stack([expected, expected]))
    assert np.abs(expected - base.logits([wave])[0]).max() > 1


def damage(folder: Path, change) -> Path:
    """A copy of an adapter whose tensors were changed."""
    from safetensors.numpy import load_file, save_file

    copy = Path(shutil.copytree(folder, folder.parent / f"copy{len(list(folder.parent.iterdir()))}"))
    file = copy / "adapter_model.safetensors"
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file)
    return copy


def test_what_does_not_fit_is_named(graph, speaker42, recordings, tmp_path):
    asr, key = (
        ia3_speech.onnx.load(graph),
        "base_model.model.wav2vec2.encoder.layers.0.attention.k_proj.ia3_l",
    )
    other = damage(speaker42, lambda tensors: None)
    record = json.loads((other / "ia3_speech.json").read_text())
    record["fingerprint"]["sha256"] = "0" * 64
    (other / "ia3_speech.json").write_text(json.dumps(record))
    long = damage(speaker42, lambda tensors: tensors.update({key: np.ones((33, 1), np.float32)}))
    nan = damage(speaker42, lambda tensors: tensors[key].fill(np.nan))
    head = damage(
        speaker42,
        lambda tensors: tensors.update({"base_model.model.lm_head.weight": np.ones((29, 32), np.float32)}),
    )
    for adapter, message in (
        (other, r"was trained on another base, .* weights 00000000\); the graph .* is of .*, Wav2Vec2ForCTC"),
        (long, r"k_proj.ia3_key has shape \(33,\), and the graph .* has \(32,\) there"),
        (nan, r"k_proj.ia3_key holds NaN"),
        (head, r"lm_head.weight is of a trained head, which is no input of a graph \(merge it"),
    ):
        with pytest.raises(AdapterError, match=message):
            asr.transcribe(recordings[0], adapter=adapter)
    with pytest.raises(AdapterError, match="the arrays: ia3_kye is no input of the graph"):
        asr.recognizer.base.logits([np.zeros(8000, np.float32)], [{"ia3_kye": np.ones(32, np.float32)}])
    with pytest.raises(AdapterError, match=r"no graph.json in it \(ia3-speech export"):
        ia3_speech.onnx.load(tmp_path)
    # Silence and what is no audio are named, and the others go on.
    soundfile.write(tmp_path / "silent.wav", np.zeros(16_000), 16_000)
    (tmp_path / "broken.wav").write_text("no audio")
    results = asr.transcribe(
        [tmp_path / "silent.wav", tmp_path / "broken.wav", recordings[0]], on_error="skip"
    )
    assert results[0].problem.startswith("silent (") and "is not audio" in results[1].problem
    assert results[2].text == asr.transcribe(recordings[0]).text


def test_bases_that_no_graph_takes(tiny_base, processor):
    from ia3_speech.model.base import make_base
    from ia3_speech.onnx.onnx_export import GraphError

    base = tiny_base()
    base.processor.feature_extractor.sampling_rate = 8_000
    try:
        with pytest.raises(
            GraphError, match="tiny: a graph takes samples at 16 kHz, and this base samples at 8000 Hz"
        ):
            make_graph(base, **SIGNATURE)
    finally:
        base.processor.feature_extractor.sampling_rate = 16_000
    with pytest.raises(GraphError, match="and this base features that its processor makes"):
        make_graph(make_base(tiny("bert"), processor, "bert"), **SIGNATURE)


def test_the_command_refuses(run_command, random_base, speaker42, tmp_path):
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes/text.docx").touch()
    for words, message in (
        (("--adapter", "speaker42", "--out", tmp_path / "a"), "is an input of the graph"),
        (("--format", "onnx_adapter", "--out", tmp_path / "a"), "needs --adapter NAME"),
        (("--base", random_base, "--out", tmp_path / "notes"), "exists (replace it with --force"),
        (
            ("--base", random_base, "--force", "--out", tmp_path / "notes"),
            "holds text.docx, which would be lost",
        ),
    ):
        done = run_command("export", *words)
        assert done.code == 1 and message in done.err
    assert registry.registered_names() == ["speaker42"]


def test_int8_rows_are_those_alone(random_base, recordings, tmp_path, run_command):
    out = tmp_path / "graph"
    assert run_command("export", "--base", random_base, "--dtype", "int8", "--out", out).code == 0
    base = ia3_speech.onnx.load(out).recognizer.base
    waves, drawn = waves_and_vectors({each.name: each.size for each in base.inputs})
    for row, wave, arrays in zip(base.logits(waves, drawn), waves, drawn, strict=True):
        np.testing.assert_array_equal(row, base.logits([wave], [arrays])[0])
    types = {node.op_type for node in onnx.load(out / "model.onnx").graph.node}
    assert types & {"MatMulInteger", "QuantizeLinear", "DynamicQuantizeLinear"}
