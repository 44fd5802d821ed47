"""Merged graphs, run by the programs that they are for: each recognises what PyTorch does."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from tiny_models import noise_waves

from ia3_speech import load_adapter, load_base
from ia3_speech.common import progress
from ia3_speech.model.hypotheses import GreedySearch

pytest.importorskip("onnx")
pytest.importorskip("onnxscript")

ROOT = Path(__file__).parents[2]
TRANSFORMERS_JS = Path(os.environ.get("NODE_MODULES", "node_modules"), "@huggingface/transformers")


WAVES = noise_waves(1.0, 0.5625)


@pytest.fixture
def expected(tiny_folder, speaker42) -> list[str]:
    """The texts of the adapted base in PyTorch."""
    base = load_base(tiny_folder)
    load_adapter(base.model, "speaker42")
    return [GreedySearch(base.vocabulary)(row).text for row in base.logits(WAVES)]


@pytest.fixture
def export(run_command, tmp_path, speaker42):
    """A function: the folder of a format, with speaker42 merged."""

    def run(format: str, *options: str) -> Path:
        done = run_command(
            "export", "--format", format, "--adapter", "speaker42", "--out", tmp_path / format, *options
        )
        assert done.code == 0, done.err
        return tmp_path / format

    return run


def test_onnx_asr(export, expected, monkeypatch):
    pytest.importorskip("onnx_asr")
    monkeypatch.syspath_prepend(ROOT / "scripts")
    from onnx_asr_model import load_onnx_asr

    folder = export("onnx-asr")
    config = json.loads((folder / "config.json").read_text("utf-8"))
    assert config == {"model_type": "wav2vec2-ctc", "subsampling_factor": 320}
    assert load_onnx_asr(folder)(WAVES) == expected


def test_an_export_names_itself_in_the_log(monkeypatch, run_command, tiny_folder, tmp_path):
    monkeypatch.setattr(progress, "FIRST_LINE", 0)
    done = run_command("export", "--base", tiny_folder, "--out", tmp_path / "graph")
    assert "exporting the graph: 1 s so far\n" in done.err


def test_sherpa_onnx(export, expected, tiny_folder, run_command, tmp_path):
    sherpa_onnx = pytest.importorskip("sherpa_onnx")
    folder = export("sherpa-onnx")
    recognizer = sherpa_onnx.OfflineRecognizer.from_omnilingual_asr_ctc(
        str(folder / "model.onnx"), str(folder / "tokens.txt")
    )
    for wave, text in zip(WAVES, expected, strict=True):
        stream = recognizer.create_stream()
        stream.accept_waveform(16_000, wave)
        recognizer.decode_stream(stream)
        assert stream.result.text.strip() == text
    config = json.loads((tiny_folder / "processor_config.json").read_text())
    config["feature_extractor"]["do_normalize"] = False
    (tiny_folder / "processor_config.json").write_text(json.dumps(config))
    done = run_command("export", "--format", "sherpa-onnx", "--base", tiny_folder, "--out", tmp_path / "raw")
    assert done.code == 1 and "needs unnormalised samples" in done.err
    assert not (tmp_path / "raw").exists()


@pytest.mark.skipif(
    not (shutil.which("node") and TRANSFORMERS_JS.is_dir()),
    reason="no node, or no node_modules/@huggingface/transformers (npm install --ignore-scripts)",
)
def test_transformers_js(export, expected, tmp_path):
    folder = export("transformers.js")
    (tmp_path / "waves.json").write_text(json.dumps([wave.tolist() for wave in WAVES]))
    module = (TRANSFORMERS_JS / "dist/transformers.node.mjs").resolve()
    script = f"""
        import {{ pipeline, env }} from {json.dumps(str(module))};
        import fs from "node:fs";
        env.allowRemoteModels = false; env.localModelPath = {json.dumps(str(tmp_path))};
        const task = "automatic-speech-recognition";
        const asr = await pipeline(task, {json.dumps(folder.name)}, {{ dtype: "fp32" }});
        for (const wave of JSON.parse(fs.readFileSync({json.dumps(str(tmp_path / "waves.json"))})))
          console.log((await asr(new Float32Array(wave))).text);
    """
    (tmp_path / "run.mjs").write_text(script)
    done = subprocess.run(["node", str(tmp_path / "run.mjs")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == expected
