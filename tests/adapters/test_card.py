"""adapters.card: its rows, what the Hub reads of it, and that it tells no paths."""

import pytest
from huggingface_hub import ModelCard

from ia3_speech.adapters import card

RECORD = {
    "schema": 1,
    "base": "facebook/wav2vec2-base-960h",
    "fingerprint": {
        "architecture": "Wav2Vec2ForCTC", "model_type": "wav2vec2", "layers": 12, "hidden": 768, "ffn": 3072,
        "vocabulary": 32, "dtype": "float32", "sha256": "3f2a8c1177",
    },
    "config": {"placements": ["key", "value", "ffn"], "layers": "all", "train_head": False},
    "labels": {"speaker": "42", "accent": "scots", "language": "en-GB"},
    "training": {
        "data": "/home/ann/data/medical_notes/train", "utterances": 1412, "audio_seconds": 3240.0, "seed": 1,
        "speakers": 57, "data_sha256": "0a1b2c3d4e5f60718293", "epochs": 8, "learning_rate": 0.01,
        "dev_wer": 0.3125, "seconds": 99.0,
    },
    "scores": [
        {
            "set": "medical_notes/test", "wer": 0.4, "wer_ci": [0.371, 0.43], "ci_unit": "speaker",
            "cer": 0.105, "words": 4123, "utterances": 300, "base_wer": 0.463, "relative": -0.136,
            "relative_ci": [-0.18, -0.091],
        },
    ],
    "version": "0.1.0",
}  # fmt: skip
SIZES = {"key": 9216, "value": 9216, "ffn": 36864}

ROWS = """\
| architecture | Wav2Vec2ForCTC, 12 layers of 768/3072, 32 symbols, weights 3f2a8c11 in float32 |
| placements | key (9,216 parameters), value (9,216 parameters), ffn (36,864 parameters) |
| layers | all |
| for | speaker 42, accent scots, language en-GB |
| trained on | medical_notes/train, 1,412 utterances, 0.9 hours of audio, 57 speakers, SHA-256 0a1b2c3d4e5f |
| training | epochs: 8, learning rate 0.01, seed 1, WER of the dev set 31.2% |
"""


def test_the_rows_and_what_the_hub_reads(tmp_path):
    file = tmp_path / "README.md"
    file.write_text(card.model_card(RECORD, SIZES, name="speaker42"))
    assert ROWS in file.read_text() and "biometric" in file.read_text()
    data = ModelCard.load(file).data
    assert (data.base_model, data.pipeline_tag) == ("facebook/wav2vec2-base-960h", card.TASK)
    assert (data.library_name, data.language, data.model_name) == ("ia3-speech", ["en"], "speaker42")
    wer, cer = data.eval_results
    assert (wer.dataset_name, wer.metric_type, wer.metric_value) == ("medical_notes/test", "wer", 40.0)
    assert wer.metric_args["interval"] == [37.1, 43.0] and cer.metric_value == 10.5
    bare = card.model_card({"base": "/home/ann/my-base"}, {"head": 957}, peft=False)
    assert "Wav2Vec2" not in bare and "PEFT" not in bare


@pytest.mark.parametrize(
    ("base", "found", "shown"),
    [
        ("facebook/hubert-base", "facebook/hubert-base", "facebook/hubert-base"),
        ("mini", None, "mini"),
        ("/home/ann/models/my-base/", None, "my-base"),
        ("C:\\Users\\ann\\my-base", None, "my-base"),
        ("/home/ann/mini", None, "unnamed"),  # not the mini base
        ("exp/base", None, "base"),  # a folder here, though it looks like an id
        (None, None, "unnamed"),
    ],
)
def test_a_base_is_named_only_where_others_can_find_it(tmp_path, monkeypatch, base, found, shown):
    (tmp_path / "exp/base").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert (card.hub_id(base), card.base_name(base)) == (found, shown)
    text = card.model_card(RECORD | {"base": base}, SIZES)
    assert ("base_model: " in text) == bool(found)
    assert "ann" not in text and "/home" not in text


def test_labels_can_not_break_the_card(tmp_path):
    labels = {"domain": "a|b\n# not a title\n---\n<script>", "speaker": ""}
    text = card.model_card(RECORD | {"labels": labels}, SIZES)
    (tmp_path / "README.md").write_text(text)
    assert ModelCard.load(tmp_path / "README.md").data.tags[-1] == "domain-adaptation"
    assert "\n# IA³ adapter: domain a\\|b # not a title --- \\<script\\>\n" in text
    assert "| for | domain a\\|b # not a title --- \\<script\\> |" in text
    assert "biometric" not in text  # no speaker, though there is a label for one
