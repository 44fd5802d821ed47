"""A recipe's folders, written by hand: data, two decoded and scored systems, and the files beside them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soundfile
from corpus_files import text_directory, write_table

from ia3_speech.commands.report import main
from ia3_speech.commands.score import main as score_main

# utterance → reference, hypothesis of the base, hypothesis of the adapter
HEARD = {
    "ann-1": ("the patient has atrial fibrillation", "the patient has a trial fibrillation", ""),
    "ann-2": ("no fever", "know fever", "no fever"),
    "bob-1": ("start metformin today", "start met today", "start metformin two day"),
    "bob-2": ("", "", "uh"),
    "cat-10": ("no fever no cough", "no fever cough", "no fever no cough"),
    "cat-9": ("blood pressure", "blood pressure", "blood pressure"),
}
ATTACK = "</script><script>window.attacked=1</script><img src=x onerror=alert(1)>"
HOSTILE = {
    "<b>ann-1": (f"no {ATTACK} fever", "no <script>alert(1)</script>", "<!--<script> no fever"),
    '"bob"&-1': ("start 5 < 6 & 7 > 2", "</style><svg/onload=alert(1)>", "${alert(1)} </textarea>"),
}
ACCENT = {"ann": "scottish", "bob": "scottish", "cat": "welsh"}
RATE = 8000  # Hz, of the recordings: a second each


@dataclass
class Recipe:
    """The folders that a recipe leaves."""

    data: Path
    exp: Path

    @property
    def base(self) -> Path:
        return self.exp / "base/decode_greedy_test"

    @property
    def adapted(self) -> Path:
        return self.exp / "ia3_plus_seed1/decode_greedy_test"

    def score(self, **options):
        """Score both, the adapter against the base."""
        options = {"replications": 100, **options}
        score_main(self.data, self.base, system="base", **options)
        adapted = {"system": "ia3_plus", "system_seed": 1}
        score_main(self.data, self.adapted, baseline=self.base, **adapted, **options)

    def page(self, **options) -> str:
        """The page of the command."""
        main(self.data, self.adapted, **options)
        return Path(options.get("out") or self.adapted / "report.html").read_text("utf-8")


def make_recipe(
    folder: Path, heard: Mapping[str, tuple[str, str, str]], sound: bool = True, **options
) -> Recipe:
    """data/test, with a second of sound for each utterance, and exp with both systems, scored."""
    recipe = Recipe(folder / "data/test", folder / "exp")
    heard = dict(sorted(heard.items()))
    speakers = sorted({name.split("-")[0] for name in heard})
    (recipe.data / "audio").mkdir(parents=True)
    for number, name in enumerate(heard if sound else ()):
        wave = 0.3 * np.sin(2 * np.pi * (200 + 20 * number) * np.arange(RATE) / RATE)
        soundfile.write(recipe.data / f"audio/{name}.wav", wave, RATE)
    text_directory(recipe.data, {name: texts[0] for name, texts in heard.items()})
    tables = {
        "spk2accent": {speaker: ACCENT.get(speaker, "none") for speaker in speakers},
        "utt2dur": {name: str(1 + number / 10) for number, name in enumerate(heard)},
        "wav.scp": {name: f"audio/{name}.wav" for name in heard},
    }
    for table, lines in tables.items():
        write_table(recipe.data / table, lines)
    for place, number in ((recipe.base, 1), (recipe.adapted, 2)):
        write_table(place / "text", {name: texts[number] for name, texts in heard.items()})
    recipe.score(**options)
    return recipe


@pytest.fixture
def recipe(tmp_path) -> Recipe:
    return make_recipe(tmp_path, HEARD)


def add_extras(recipe: Recipe) -> None:
    """All else that a page can show: an adapter (PEFT's layout), training, curve, trade-off."""
    from safetensors.numpy import save_file

    draw = np.random.default_rng(0)
    stem = "base_model.model.wav2vec2.encoder.layers"
    tensors = {}
    for layer in (0, 1, 10):
        tensors[f"{stem}.{layer}.attention.k_proj.ia3_l"] = draw.normal(1, 0.1, (8, 1)).astype("float32")
        tensors[f"{stem}.{layer}.feed_forward.output_dense.ia3_l"] = np.ones((1, 12), dtype="float32")
    (recipe.exp / "ia3_plus_seed1/adapter").mkdir()
    save_file(tensors, recipe.exp / "ia3_plus_seed1/adapter/adapter_model.safetensors")
    rows = [
        {"epoch": n, "step": n, "loss": 2 / n, "dev_wer": wer, "selected_epoch": n}
        for n, wer in enumerate([0.5, 0.4, 0.42], 1)
    ]
    rows.insert(0, {"epoch": 0, "step": 0, "loss": None, "dev_wer": 0.6, "selected_epoch": 0})
    (recipe.exp / "ia3_plus_seed1/metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    points = [
        {"minutes": minutes, "seed": seed, "wer": wer + seed / 100, "lo": wer - 0.1, "hi": wer + 0.1}
        for minutes, wer in ((1, 0.45), (10, 0.3)) for seed in (1, 2, 3)
    ]  # fmt: skip
    curve = {"set": "test_adults", "base": {"wer": 0.51, "lo": 0.4, "hi": 0.6}, "points": points}
    (recipe.exp / "curve.json").write_text(json.dumps(curve))
    rates = [("scale", f"{scale:g}", 0.5 - scale / 5, 0.2 + scale / 9) for scale in (0, 0.5, 1)]
    rates.append(("replay-weight", "0.1", 0.35, 0.25))
    points = [dict(zip(("setting", "value", "wer", "out_of_domain_wer"), row, strict=True)) for row in rates]
    trade_off = {"own": "test", "out_of_domain": "out-of-domain speech", "points": points}
    (recipe.exp / "trade_off.json").write_text(json.dumps(trade_off))
