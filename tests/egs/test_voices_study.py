"""egs/voices: what a migration has of the gain with texts."""

import json

from ia3_speech.data.kaldi import write_data_directory
from ia3_speech.data.utterance import Utterance

RECIPE = "voices"
MODULES = ("migrate",)
RECOGNISED = {  # one word wrong for each x
    "old base": ("x x x x", "x x", "ctc"),
    "old adapter": ("the cat x down", "big dog", "ctc"),
    "new base": ("The x x x.", "X dog", "english"),
    "with texts": ("The cat sat down.", "Big dog", "english"),
    "migrated": ("The cat x down.", "Big dog", "english"),
}


def test_the_share_of_the_gain_with_texts(local, tmp_path):
    said = {"ann-1": "the cat sat down", "bob-1": "big dog"}
    utterances = [Utterance(id, id[:3], id, "/a.wav", text=text, duration=2.5) for id, text in said.items()]
    write_data_directory(tmp_path / "test", utterances)
    for system, (*texts, scoring) in RECOGNISED.items():
        record = {"scoring": scoring, "texts": dict(zip(said, texts, strict=True))}
        local.migrate.file_of(tmp_path, system).write_text(json.dumps(record))
    results = local.migrate.compare(tmp_path, tmp_path / "test")
    wers = {system: round(6 * wer) for system, (wer, _) in results["wer"].items()}
    assert wers == {"old base": 6, "old adapter": 1, "new base": 4, "with texts": 0, "migrated": 1}
    assert results["share"] == (0.75, (2 / 3, 1.0))
