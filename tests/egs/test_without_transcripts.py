"""egs/without_transcripts: training on texts, and its table."""

import json

from ia3_speech.adapters.registry import is_adapter
from ia3_speech.data.kaldi import read_data_directory, write_data_directory
from ia3_speech.data.utterance import Utterance
from ia3_speech.unsupervised.options import SelfTrainingOptions
from tests.test_train import NO_DROPOUT, record

RECIPE = "without_transcripts"
MODULES = ("compare", "measure")

SAID = {"ann-1": "one two three four", "bob-1": "five six"}
HEARD = {  # one word wrong for each x
    "base": ("x x x four", "x x", 0.5),
    "with_transcripts": ("one two x four", "five six", 9.0),
    "self_train": ("one x x four", "x five six", 30.0),
}
TABLE = """\
| accent, greedy | WER % | change % | share of the gain with transcripts % | speakers better % | worse % | \
other speech WER % | s a second |
| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
| base | 83.3 | – | – | – | – | – | 0.10 |
| with_transcripts | 16.7 | -80.0 [-100.0, -66.7] | – | 100 | 0 | 100.0 | 0.90 |
| self_train | 50.0 | -40.0 [-50.0, -33.3] | 50 | 100 | 0 | – | 3.00 |
"""


def test_the_table(local, tmp_path, capsys):
    data, exp = tmp_path / "data/accent", tmp_path / "exp"
    utterances = [Utterance(id, id[:3], id, "/a.wav", text=text, duration=2.5) for id, text in SAID.items()]
    write_data_directory(data / "test", utterances)
    write_data_directory(data / "recordings", utterances)
    for system, (*texts, seconds) in HEARD.items():
        folder = exp / "accent" / system / "decode_greedy"
        folder.mkdir(parents=True)
        (folder / "text").write_text("".join(map("{} {}\n".format, SAID, texts)))
        record = {"cpu_seconds": 0.5, "audio_seconds": 5.0}
        (folder / "decode.json").write_text(json.dumps(record))
        if system != "base":
            (exp / "accent" / system / "all").mkdir()
            (exp / "accent" / system / "all/cpu.json").write_text(
                json.dumps(record | {"cpu_seconds": seconds / 2})
            )
    others = read_data_directory(local.compare.OTHER)
    other = exp / "accent/with_transcripts/decode_greedy_other"
    other.mkdir()
    (other / "text").write_text("".join(f"{utterance.id}\n" for utterance in others))  # nothing was heard
    rows = local.compare.compare(exp / "accent", "greedy", utterances)
    assert local.compare.table("accent, greedy", rows) == TABLE


def test_texts_train_an_adapter_with_a_dev_and_by_folds(local, tmp_path, tiny_model, processor):
    tiny_model(norm="layer", **NO_DROPOUT).save_pretrained(tmp_path / "base")
    processor.save_pretrained(tmp_path / "base")
    record(tmp_path / "data", 8)
    for dev in (None, tmp_path / "data"):
        out = tmp_path / ("one" if dev else "few")
        options = SelfTrainingOptions(
            base=str(tmp_path / "base"), data=tmp_path / "data", out=out, epochs=1, device="cpu"
        )
        local.measure.train_on_texts(options, dev)
        assert (out / "folds").is_dir() == (dev is None) and is_adapter(out / "adapter")
