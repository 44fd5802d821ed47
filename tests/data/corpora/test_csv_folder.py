"""A folder of recordings with a CSV file, and all that people get wrong in one."""

from string import ascii_lowercase

import pytest
from corpus_files import content, csv_corpus, noise

from ia3_speech.common.errors import UserError
from ia3_speech.data.corpora import csv_folder, preparation
from ia3_speech.data.kaldi.directory import read_data_directory

pytestmark = pytest.mark.usefixtures("enough_speech")


def plain(count):
    """Lines with `count` recordings of one speaker, each with a sentence of its own."""
    texts = [f"sentence {ascii_lowercase[n % 26]}{ascii_lowercase[n // 26]}" for n in range(count)]
    rows = [f"wavs/{n:02d}.wav,{text},spk" for n, text in enumerate(texts)]
    return ["file,text,speaker", *rows]


def prepared(folder, tmp_path, **options):
    csv_folder.prepare(folder, tmp_path / "out", **options)
    return {name: read_data_directory(tmp_path / "out" / name) for name in ("train", "dev", "test")}


def test_the_sets_to_the_byte(tmp_path):
    lines = [
        "File; Text ;speaker;split;Accent;gender",
        'monday/001.wav;"No fever; no cough";Anna B;train;southern scottish;female',
        "monday/002.wav;take two;Anna B;dev;southern scottish;female",
        "tuesday\\001.WAV;it’s a test;Carl;test;;m",
    ]
    files = ["monday/001.wav", "monday/002.wav", "tuesday/001.flac"]
    folder = csv_corpus(tmp_path / "my data", lines, encoding="utf-8-sig", files=files)
    prepared(folder, tmp_path)
    assert preparation.text_places(tmp_path / "out/train")["Anna_B-002"] == f"{folder}/list.csv:3"
    assert content(tmp_path / "out/train") == {
        "spk2gender": ["Anna_B f"],
        "spk2utt": ["Anna_B Anna_B-001"],
        "text": ["Anna_B-001 No fever; no cough"],
        "utt2accent": ["Anna_B-001 southern scottish"],
        "utt2dur": ["Anna_B-001 1"],
        "utt2spk": ["Anna_B-001 Anna_B"],
        "wav.scp": [f"Anna_B-001 {folder.resolve()}/monday/001.wav"],
    }
    result = content(tmp_path / "out/test")
    assert result["text"] == ["Carl-001 it’s a test"]
    assert result["wav.scp"] == [f"Carl-001 {folder.resolve()}/tuesday/001.flac"]
    assert "utt2accent" not in result


def test_few_speakers_are_split_by_sentence(tmp_path, capsys):
    lines = plain(30)
    lines[2] = lines[2].replace(",sentence ba", ',"Sentence, aa!"')
    folder = csv_corpus(
        tmp_path / "mine", lines, files=[f"wavs/{n:02d}.wav" for n in range(30)] + ["x/y.ogg"]
    )
    sets = prepared(folder, tmp_path)
    assert {name: len(data) for name, data in sets.items()} == {"train": 20, "dev": 3, "test": 7}
    where = [name for name, data in sets.items() for item in data if "aa" in item.text]
    assert len(where) == 2 and len(set(where)) == 1
    assert "mine: 1 sound files have no text, such as x/y.ogg; they are left out" in capsys.readouterr().out


def test_all_faults_are_named_by_line(tmp_path):
    lines = [
        "file,text,split",
        "a.wav,one,train",
        "b.wave,two,train",
        "c.wav, ?! ,test",
        "./a.wav,again,training",
        ",five,test",
        "nothing/like.it,six\u200b,test",
        "a.wav,no, no,test",
    ]
    folder = csv_corpus(tmp_path / "mine", lines, files=["a.wav", "b.wav", "c.wav"])
    with pytest.raises(UserError) as error:
        prepared(folder, tmp_path)
    path = folder / "list.csv"
    starts = [
        "8: 4 fields for 3 columns (a text with a comma in it", "4: no text for c.wav",
        "5: ./a.wav is already in line 2", "5: the split is 'training'", "6: no such file: (empty)",
        "7: no such file: nothing/like.it", "7: character U+200B ZERO WIDTH SPACE does not print",
    ]  # fmt: skip
    lines = str(error.value).splitlines()
    assert all(line.startswith(f"{path}:{start}") for line, start in zip(lines, starts, strict=True))


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig", "utf-8"])
def test_files_of_excel(tmp_path, encoding):
    """With or without a byte-order mark, with TABs; with a first line that names the separator, or none."""
    lines = ["file\ttext\tspeaker", *(f"{n}.wav\tcafé número {'abcdef'[n]}\tZoë {n}" for n in range(6))]
    for first in ([], ["sep=\t"]):
        folder = csv_corpus(
            tmp_path / "mine", [*first, *lines], encoding, files=[f"{n}.wav" for n in range(6)]
        )
        texts = sorted(item.text for data in prepared(folder, tmp_path).values() for item in data)
        assert texts == [f"café número {c}" for c in "abcdef"]


def workbook(folder, rows):
    """A folder with these rows in an Excel workbook, and the recordings that they name."""
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    for row in rows:
        book.active.append(row)
    book.create_sheet("notes").append(["not read"])
    folder.mkdir()
    book.save(folder / "list.xlsx")
    for name in {str(row[0]) for row in rows if str(row[0]).endswith(".wav")}:
        noise(folder / name, 1.0)
    return folder


def test_an_excel_workbook(tmp_path):
    """Numbers and truth values are taken as Excel shows them; empty rows and columns are not counted."""
    rows = [[None], ["Filename", "Sentence", "Speaker", "Room", None], [None] * 5]
    rows += [["a.wav", "one", 7, 1.0, None]]
    rows += [[f"{n}.wav", f"text {'abcdefgh'[n]}", n, n % 2 == 0, None] for n in range(8)]
    folder = workbook(tmp_path / "mine", rows)
    (folder / "~$list.xlsx").write_bytes(b"locked")
    result = [item for data in prepared(folder, tmp_path).values() for item in data]
    expected = {f"{n}-{n}": f"text {'abcdefgh'[n]}" for n in range(8)}
    assert {item.id: item.text for item in result} == {"7-a": "one"} | expected
    assert {item.labels["room"] for item in result} == {"1", "TRUE", "FALSE"}


def test_of_a_few_minutes_no_dev_is_taken_away(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(preparation, "FEW_SECONDS", 300.0)
    (tmp_path / "out/dev").mkdir(parents=True)  # of an earlier preparation, of more speech
    csv_folder.prepare(csv_corpus(tmp_path / "mine", plain(20)), tmp_path / "out")
    train, test = (read_data_directory(tmp_path / "out" / name) for name in ("train", "test"))
    assert len(train) == 20 and [u.id for u in train] == [u.id for u in test]
    assert not (tmp_path / "out/dev").exists() and "cross-validation evaluates" in capsys.readouterr().out
    named_dev = csv_corpus(tmp_path / "named", ["file,text", *(f"dev/{n}.wav,sentence {n}" for n in "abc")])
    csv_folder.prepare(named_dev, named_dev)  # recordings in a folder of the name of a set stay
    assert len(read_data_directory(named_dev / "train")) == 3 == len([*(named_dev / "dev").iterdir()])
