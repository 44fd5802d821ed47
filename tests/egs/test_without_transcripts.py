"""egs/without_transcripts: its table to the letter."""

from pathlib import Path

from corpus_files import write_table

import ia3_speech
from ia3_speech.common.atomic import write_json
from ia3_speech.data.kaldi.directory import read_data_directory, write_data_directory
from ia3_speech.data.utterance import Utterance

SHIPPED = Path(ia3_speech.__file__).parent / "out_of_domain/librispeech_dev"
RECIPE = "without_transcripts"
MODULES = ("study",)

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
        write_table(folder / "text", dict(zip(SAID, texts, strict=True)))
        record = {"cpu_seconds": 0.5, "audio_seconds": 5.0}
        write_json(folder / "decode.json", record)
        if system != "base":
            write_json(exp / "accent" / system / "all/cpu.json", record | {"cpu_seconds": seconds / 2})
    others = read_data_directory(SHIPPED)
    other = exp / "accent/with_transcripts/decode_greedy_other"
    write_table(other / "text", {utterance.id: "" for utterance in others})  # nothing was heard
    rows = local.study.compare(exp / "accent", "greedy", utterances)
    assert local.study.table("accent, greedy", rows) == TABLE
