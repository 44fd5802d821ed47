"""egs/routing: the mixed sets, and its tables to the letter."""

import json

import numpy as np
import pytest
import soundfile
from corpus_files import noise, write_table

from ia3_speech.common.atomic import write_json
from ia3_speech.data.kaldi.directory import read_data_directory, write_data_directory
from ia3_speech.data.utterance import Utterance

RECIPE = "routing"
MODULES = ("study",)

# Kind and id → what is said, and what the base, accent's adapter and auto hear; x is wrong.
SAID = {
    "accent-a-1": ("one two three four", "x x x four", "one two x four", "one two x four"),
    "accent-b-1": ("five six", "x x", "five x", "x x"),
    "reader-c-1": ("seven eight nine ten",
                   "x eight nine ten", "x x x ten", "x eight nine ten"),
}  # fmt: skip
CORPORA = ("accent_corpus", "orders_corpus", "telephone_corpus", "notes_corpus")
CHOSEN = {"accent-a-1": "accent", "accent-b-1": "base", "reader-c-1": "base"}


@pytest.fixture
def decoded(local, tmp_path):
    """exp and data with one mixed set of an adapter's kind and a reader's."""
    exp, data = tmp_path / "exp", tmp_path / "data"
    noise(tmp_path / "a.wav")
    utterances = [
        Utterance(id, id[:-2], id, str(tmp_path / "a.wav"), text=said, labels={"corpus": id.split("-")[0]})
        for id, (said, *_) in SAID.items()
    ]
    write_data_directory(data / "test", utterances)
    for number, system in enumerate(("base", "accent", "auto"), 1):
        folder = exp / system / "decode_greedy_test"
        write_table(folder / "text", {id: texts[number] for id, texts in SAID.items()})
        write_json(folder / "decode.json", {"real_time_factor": number / 100})
    lines = [f"{id}\t{adapter}\t0.9000\n" for id, adapter in CHOSEN.items()]
    (exp / "auto/decode_greedy_test/gate").write_text("".join(lines))
    return exp, data


EXPECTED = """\
| test, WER % | utterances | base | accent | auto | oracle |
| --- | ---: | ---: | ---: | ---: | ---: |
| accent | 2 | 83.3 | 33.3 | 50.0 | 33.3 |
| reader | 1 | 25.0 | 75.0 | 25.0 | 25.0 |
"""


def test_the_tables(decoded, local, tmp_path, capsys):
    exp, data = decoded
    options = local.study.Options(**dict.fromkeys(CORPORA, tmp_path), work_dir=tmp_path)
    local.study.compare(local.study.Study(local.study.__file__, "real", options), exp, data, ["accent"])
    text = capsys.readouterr().out
    assert text == (exp / "RESULTS.md").read_text() and text.startswith(EXPECTED)
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line[:1] == "|"]
    by_name = {tuple(row[:1]): row for row in rows}
    assert by_name["auto",][1].startswith("66.7 [") and by_name["auto",][2] == "+0.0 [+0.0, +0.0]"
    assert ["test, auto chose", "base", "accent"] in rows and rows[-2:] == [
        ["accent", "1", "1"], ["reader", "1", "0"],
    ]  # fmt: skip
    assert "3 utterances, 10 words, 3 speakers" in text and "base 0.010" in text
    assert set(json.loads((exp / "results.json").read_text())["sets"]) == {"test"}


def test_sets_are_mixed_and_a_line_is_a_telephones(local, tmp_path):
    time = np.arange(32_000) / 16_000
    for corpus, hertz in (("orders", 400), ("reader", 6000)):
        (tmp_path / corpus).mkdir()
        soundfile.write(tmp_path / corpus / "a.wav", 0.5 * np.sin(2 * np.pi * hertz * time), 16_000)
        audio = str(tmp_path / corpus / "a.wav")
        utterances = [Utterance(f"a-{n}", "a", "a", audio, n, n + 1, text="one") for n in (0, 1)]
        write_data_directory(tmp_path / corpus / "data", utterances)
    folders = {"orders": "orders", "reader": "reader", "line_reader": "reader"}
    parts = {kind: tmp_path / folder / "data" for kind, folder in folders.items()}
    write_data_directory(tmp_path / "left", utterances[:1])
    local.study.mix(tmp_path / "mixed", parts, without=tmp_path / "left")
    mixed = {u.id: u for u in read_data_directory(tmp_path / "mixed")}
    assert [*mixed] == ["line_reader-a-1", "orders-a-1", "reader-a-1"]
    assert {u.labels["corpus"] for u in mixed.values()} == {"line_reader", "orders", "reader"}
    wave, rate = soundfile.read(mixed["line_reader-a-1"].source)
    assert (rate, len(wave)) == (8000, 8000) and abs(wave[100:-100]).max() < 0.05
