"""egs/TEMPLATE: a folder of recordings with a CSV file, and all that people get wrong in one."""

import shutil

import bench
import pytest

from ia3_speech.cli import UserError
from ia3_speech.data.kaldi import read_data_directory

RECIPE = "TEMPLATE"


@pytest.fixture(scope="module")
def local():
    with bench.local(RECIPE, "prepare", "sets") as modules:
        yield modules


def made(folder, lines, encoding="utf-8", files=None, name="list.csv"):
    """A folder with these lines in a CSV file, and the recordings that they name."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(("\n".join(lines) + "\n").encode(encoding))
    for file in files if files is not None else [line.split(",")[0] for line in lines[1:]]:
        bench.noise(folder / file, 1.0)
    return folder


def plain(count, speakers=1):
    """Lines with `count` recordings of `speakers`, each with a sentence of its own."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    rows = [
        f"wavs/{n:02d}.wav,sentence {letters[n % 26]}{letters[n // 26]},spk {n % speakers}"
        for n in range(count)
    ]
    return ["file,text,speaker", *rows]


def prepared(local, folder, tmp_path, **options):
    local.prepare.main(folder, tmp_path / "out", **options)
    return {name: read_data_directory(tmp_path / "out" / name) for name in ("train", "dev", "test")}


def test_the_sets_to_the_byte(local, tmp_path):
    lines = [
        "File; Text ;speaker;split;Accent;gender",
        'monday/001.wav;"No fever; no cough";Anna B;train;southern scottish;female',
        "monday/002.wav;take two;Anna B;dev;southern scottish;female",
        "tuesday\\001.WAV;it’s a test;Carl;test;;m",
    ]
    files = ["monday/001.wav", "monday/002.wav", "tuesday/001.flac"]
    folder = made(tmp_path / "my data", lines, encoding="utf-8-sig", files=files)
    prepared(local, folder, tmp_path)
    assert bench.content(tmp_path / "out/train") == {
        "spk2gender": ["Anna_B f"],
        "spk2utt": ["Anna_B Anna_B-001"],
        "text": ["Anna_B-001 No fever; no cough"],
        "utt2accent": ["Anna_B-001 southern scottish"],
        "utt2dur": ["Anna_B-001 1"],
        "utt2spk": ["Anna_B-001 Anna_B"],
        "wav.scp": [f"Anna_B-001 {folder.resolve()}/monday/001.wav"],
    }
    found = bench.content(tmp_path / "out/test")
    assert found["text"] == ["Carl-001 it’s a test"]
    assert found["wav.scp"] == [f"Carl-001 {folder.resolve()}/tuesday/001.flac"]
    assert "utt2accent" not in found


def test_many_speakers_are_split_by_speaker(local, tmp_path, capsys):
    sets = prepared(local, made(tmp_path / "mine", plain(40, speakers=10)), tmp_path)
    assert {name: len(data.speakers) for name, data in sets.items()} == {"train": 7, "dev": 1, "test": 2}
    speakers = [set(data.speakers) for data in sets.values()]
    assert len(set.union(*speakers)) == 10
    assert (
        "test: 2 of 10 speakers, 20% of all recordings\n"
        "dev: 1 of the 8 speakers left, 10% of all recordings\n"
    ) in capsys.readouterr().out


def test_few_speakers_are_split_by_sentence(local, tmp_path):
    lines = plain(30)
    lines[2] = lines[2].replace("sentence ba", "Sentence, aa!").replace(",Sentence, aa!", ',"Sentence, aa!"')
    sets = prepared(
        local, made(tmp_path / "mine", lines, files=[f"wavs/{n:02d}.wav" for n in range(30)]), tmp_path
    )
    assert {name: len(data) for name, data in sets.items()} == {"train": 20, "dev": 3, "test": 7}
    where = [name for name, data in sets.items() for one in data if "aa" in one.text]
    assert len(where) == 2
    assert len(set(where)) == 1


def test_a_train_of_one_speaker_gives_sentences_to_dev(local, tmp_path, capsys):
    head, *lines = plain(40, speakers=4)
    speakers = sorted({line.rpartition(",")[2] for line in lines})
    rows = [f"{line},{'train' if line.endswith(speakers[0]) else 'test'}" for line in lines]
    sets = prepared(local, made(tmp_path / "mine", [f"{head},split", *rows]), tmp_path)
    assert {name: len(data) for name, data in sets.items()} == {"train": 8, "dev": 2, "test": 30}
    assert "dev: 2 of the 10 sentences left, 5% of all recordings\n" in capsys.readouterr().out


def test_without_speakers_each_recording_is_one(local, tmp_path, capsys):
    lines = [line.rpartition(",")[0] for line in plain(12)]
    sets = prepared(local, made(tmp_path / "mine", lines), tmp_path, size="small")
    assert sum(len(data.speakers) for data in sets.values()) == 12
    out = capsys.readouterr().out
    assert "list.csv: no column speaker (the columns are file, text): each recording counts as a" in out
    assert "test: 2 of 12 sentences, 17% of all recordings" in out


def test_sounds_that_no_line_names_are_counted(local, tmp_path, capsys):
    folder = made(tmp_path / "mine", plain(12))
    bench.noise(folder / "extra/one.ogg")
    prepared(local, folder, tmp_path)
    said = "list.csv: does not name 1 sound files, such as extra/one.ogg; they are left out"
    assert said in capsys.readouterr().out


def test_everything_that_is_wrong_is_said_by_line(local, tmp_path):
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
    folder = made(tmp_path / "mine", lines, files=["a.wav", "b.wav", "c.wav"])
    with pytest.raises(UserError) as error:
        prepared(local, folder, tmp_path)
    path = folder / "list.csv"
    assert str(error.value).splitlines() == [
        f'{path}:8: 4 fields for 3 columns (a text with a comma in it stands in quotation marks: "…")',
        f"{path}:4: no text for c.wav (write what is said, or remove the line)",
        f"{path}:5: ./a.wav stands in line 2 already (remove one of them)",
        f"{path}:5: the split is 'training' (train, dev or test)",
        f"{path}:6: no such file: (empty) (paths are relative to {folder})",
        f"{path}:7: no such file: nothing/like.it (paths are relative to {folder})",
        f"{path}:7: character U+200B ZERO WIDTH SPACE does not print "
        "(in the text of nothing/like.it: type it anew)",
    ]


@pytest.mark.parametrize(
    ("lines", "encoding", "message"),
    [
        (["file,text", "a.wav,caf\u00e9"], "latin-1", r"csv:2: not UTF-8, byte 0xe9 \(save it as"),
        (["file,text", "a.wav,no, no"], "utf-8", r"csv:2: 3 fields for 2 columns \(a text with a comma"),
        (["file;text", "a.wav"], "utf-8", r"csv:2: 1 fields for 2 columns \(a text with a semicolon"),
        (["file,text", 'a.wav,"two', "b.wav,three"], "utf-8", r"csv:2: unexpected end of data \(a quotation"),
        (["path,text", "a.wav,two"], "utf-8", r"csv:1: no column file \(the columns are path, text\)"),
        (["file,text,text", "a.wav,two,two"], "utf-8", r"csv:1: two columns text \(give each"),
        (["file,text,", "a.wav,two,"], "utf-8", r"csv:1: a column without a name \(give each"),
        (["file,text"], "utf-8", r"csv: holds no recording \(one a line"),
        (["file,text,split", "a.wav,one,train", "b.wav,two,"], "utf-8", r"split says '', 'train' \(each"),
        (["file,text,dur", "a.wav,a,1", "b.wav,b,1", "c.wav,c,1"], "utf-8", r"'dur' cannot be the name of a"),
        (["file,text", "a.wav,the same", "b.wav,The same!"], "utf-8", r"out/\w+: no utterance is left"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(local, tmp_path, lines, encoding, message):
    folder = made(tmp_path / "mine", lines, encoding, files=["a.wav", "b.wav", "c.wav"])
    with pytest.raises(UserError, match=message):
        prepared(local, folder, tmp_path)


def test_one_csv_file_is_expected(local, tmp_path):
    folder = made(tmp_path / "mine", plain(3))
    shutil.copy(folder / "list.csv", folder / "other.TSV")
    with pytest.raises(
        UserError, match=r"holds 2 CSV files \(list\.csv, other\.TSV\) at its top, and one is"
    ):
        prepared(local, folder, tmp_path)
    with pytest.raises(UserError, match="nothing: there is no such folder"):
        prepared(local, tmp_path / "nothing", tmp_path)
    (tmp_path / "nothing").mkdir()
    with pytest.raises(UserError, match=r"(?s)holds no CSV file at its top.*file,text,speaker,accent"):
        prepared(local, tmp_path / "nothing", tmp_path)


def test_a_copy_of_the_folder_passes_the_first_three_stages(tmp_path, base_folder):
    """As the README says: copied inside egs/, here inside a clone's like."""
    clone = tmp_path / "clone"
    (clone / "egs").mkdir(parents=True)
    (clone / "recipes").symlink_to(bench.ROOT / "recipes")
    shutil.copytree(bench.ROOT / "egs" / RECIPE, clone / "egs/clinic")
    folder = made(tmp_path / "notes", plain(12, speakers=4))
    options = ("--corpus", str(folder), "--stop-stage", "3", "--base", str(base_folder))
    done = bench.run(str(clone / "egs/clinic"), *options)
    assert done.returncode == 0, done.stdout + done.stderr
    assert [line for line in done.stdout.splitlines() if line.startswith("stage")] == [
        "stage 1, prepare notes", "stage 2, validate notes", "stage 3, coverage",
    ]  # fmt: skip
    assert len(read_data_directory(clone / "egs/clinic/data/notes/train").speakers) == 2


def test_without_a_corpus_it_says_how_one_looks(tmp_path):
    done = bench.run(RECIPE, "--work-dir", str(tmp_path / "work"))
    assert (done.returncode, done.stdout) == (1, "")
    assert 'monday/002.wav,"no fever, no cough",anna,scottish' in done.stderr


def test_run_sh_stays_a_page():
    assert len((bench.ROOT / "egs" / RECIPE / "run.sh").read_text().splitlines()) <= 40
