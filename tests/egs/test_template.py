"""egs/TEMPLATE: your own recordings, with a CSV file or as Kaldi data directories."""

import shutil
from pathlib import Path

import bench
import pytest
from corpus_files import kaldi_directories

from ia3_speech.data.kaldi import DataDirectory, read_data_directory, write_data_directory
from ia3_speech.data.utterance import Utterance
from ia3_speech.decoding import segment_directory

RECIPE = "TEMPLATE"


def corpus(folder, count, speakers):
    """A folder with `count` recordings of `speakers` and their CSV file."""
    rows = [f"wavs/{n:02d}.wav,sentence {'abcdefghijkl'[n]},spk {n % speakers}" for n in range(count)]
    for n in range(count):
        bench.noise(folder / f"wavs/{n:02d}.wav", 1.0)
    (folder / "list.csv").write_text("\n".join(["file,text,speaker", *rows]) + "\n")
    return folder


def test_a_copy_of_the_folder_passes_the_first_three_stages(tmp_path, base_folder):
    """As the README says: copied inside egs/, here inside a clone's like."""
    clone = tmp_path / "clone"
    (clone / "egs").mkdir(parents=True)
    for folder in ("ia3_speech", "recipes", "scripts"):
        (clone / folder).symlink_to(bench.ROOT / folder)
    shutil.copytree(bench.ROOT / "egs" / RECIPE, clone / "egs/clinic")
    folder = corpus(tmp_path / "notes", 12, speakers=4)
    options = ("--corpus", str(folder), "--stop-stage", "3", "--base", str(base_folder))
    done = bench.run(str(clone / "egs/clinic"), *options)
    assert done.returncode == 0, done.stdout + done.stderr
    assert [line for line in done.stdout.splitlines() if line.startswith("stage")] == [
        "stage 1, prepare notes", "stage 2, validate notes", "stage 3, check the texts",
    ]  # fmt: skip
    assert len(read_data_directory(clone / "egs/clinic/data/notes/train").speakers) == 2


@pytest.mark.parametrize(
    ("sets", "given", "expected"),
    [
        (["all"], "corpus/all", {"train": 14, "dev": 2, "test": 4}),
        (["train", "test"], "corpus", {"train": 16, "dev": 4, "test": 20}),
    ],
)
def test_kaldi_directories_without_dev_are_divided_by_speaker(tmp_path, random_base, sets, given, expected):
    """One data directory, and a folder with train and test; ten speakers each, two utterances a speaker."""
    kaldi_directories(tmp_path / "corpus", each=2, sets=sets)
    done = bench.run(
        RECIPE, "--corpus", str(tmp_path / given), "--base", str(random_base), "--work-dir", str(tmp_path),
        "--stop-stage", "2", "--out-of-domain", "none",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    made = {name: read_data_directory(tmp_path / f"data/{Path(given).name}/{name}") for name in expected}
    assert {name: len(data) for name, data in made.items()} == expected
    assert len({speaker for data in made.values() for speaker in data.speakers}) == 10 * len(sets)
    for name in ("train", "dev"):
        assert f"test and {name} share 0 of {len(made['test'].speakers)} speakers" in done.stdout


def test_without_a_corpus_it_says_how_one_looks(tmp_path):
    done = bench.run(RECIPE, "--work-dir", str(tmp_path / "work"))
    assert (done.returncode, done.stdout) == (1, "")
    assert 'monday/002.wav,"no fever, no cough",anna,scottish' in done.stderr


def test_run_sh_stays_a_page():
    assert len((bench.ROOT / "egs" / RECIPE / "run.sh").read_text().splitlines()) <= 40


# ---- recordings that are longer than the base can process


def words(seconds: float) -> str:
    """Of noise a random base can tell no place: a text that leaves it little choice, ten words to 1.3 s."""
    return " ".join(round(seconds / 1.3) * ["one two three four five six seven eight nine ten"])


@pytest.fixture
def base_of(tiny_model, processor, tmp_path):
    """A function that makes a small random base with a maximum input duration, in seconds."""

    def make(seconds: float) -> str:
        folder = tmp_path / f"base_{seconds}"
        tiny_model(num_conv_pos_embeddings=round(100 * seconds)).save_pretrained(folder)
        processor.save_pretrained(folder)
        return str(folder)

    return make


@pytest.fixture
def aligned(monkeypatch) -> list[float]:
    """The lengths of what is aligned, in seconds."""
    lengths, align = [], segment_directory.segment_recording

    def recorded(wave, *rest):
        lengths.append(len(wave) / 16_000)
        return align(wave, *rest)

    monkeypatch.setattr(segment_directory, "segment_recording", recorded)
    return lengths


def kaldi_corpus(folder, seconds: dict[str, float], pipe: bool = False):
    """FOLDER/{train,dev,test} without utt2dur: in each a recording of 2 s, and one of `seconds`."""
    for name, length in seconds.items():
        utterances = []
        for id, own in ((f"{name}-1", 2.0), (f"{name}-2", length)):
            path = bench.noise(folder / f"sound/{id}.wav", own)
            source = f"cat {path} |" if pipe else str(path)
            utterances.append(Utterance(id, name, id, source, text=words(own)))
        write_data_directory(folder / name, utterances)
        assert not (folder / name / "utt2dur").exists()
    return folder


def check_cut(data: DataDirectory, of: str, seconds: float, maximum: float):
    """Of a directory: the short utterance as it was, and the long one in parts with all of its words."""
    short, *parts = data.utterances
    assert (short.id, short.text, short.duration) == (f"{of}-1", words(2.0), 2.0)
    assert len(parts) > 1 and all(part.id.startswith(f"{of}-2-") for part in parts)
    assert all(part.duration <= maximum + 1e-4 for part in parts)
    assert " ".join(part.text for part in parts) == words(seconds)


def test_a_csv_corpus_is_cut_at_the_maximum_of_its_base(tmp_path, base_of, aligned, capsys):
    folder = tmp_path / "notes"
    rows = []
    for name, length in (("train", 8.0), ("dev", 7.0), ("test", 9.0)):
        for number, seconds in ((1, 2.0), (2, length)):
            bench.noise(folder / f"{name}{number}.wav", seconds)
            rows.append(f"{name}{number}.wav,{words(seconds)},{name},{name}")
    (folder / "list.csv").write_text("\n".join(["file,text,speaker,split", *rows]) + "\n")
    with bench.local(RECIPE, "prepare") as local:
        local.prepare.main(folder, tmp_path / "out", base=base_of(10))
        assert aligned == [] and "became" not in capsys.readouterr().out
        assert [
            len(read_data_directory(tmp_path / "out" / name)) for name in ("train", "dev", "test")
        ] == 3 * [2]
        local.prepare.main(folder, tmp_path / "out", base=base_of(6))
    assert aligned == [8.0, 7.0]
    printed = capsys.readouterr().out
    for name in ("train", "dev"):
        data = read_data_directory(tmp_path / "out" / name)
        assert len(data) > 2 and all(one.duration <= 6 for one in data)
        assert f"{tmp_path}/out/{name}: {data.summary()}; 1 long recordings became " in printed
    assert [one.duration for one in read_data_directory(tmp_path / "out/test")] == [2.0, 9.0]


@pytest.mark.parametrize("pipe", [False, True])
def test_kaldi_directories_without_durations_are_cut(tmp_path, base_of, aligned, pipe):
    lengths = {"train": 40.0, "dev": 20.0, "test": 20.0}
    corpus = kaldi_corpus(tmp_path / "corpus", lengths, pipe)
    with bench.local(RECIPE, "prepare") as local:
        local.prepare.main(corpus, tmp_path / "out", allow_pipes=pipe, base=base_of(16))
    assert aligned == [40.0, 20.0]
    for name in ("train", "dev"):
        check_cut(read_data_directory(tmp_path / "out" / name, allow_pipes=pipe), name, lengths[name], 16)
    assert len(read_data_directory(tmp_path / "out/test", allow_pipes=pipe)) == 2


def test_run_sh_cuts_for_the_base_that_it_adapts(tmp_path, base_of):
    corpus = kaldi_corpus(tmp_path / "corpus", {"train": 8.0, "dev": 8.0, "test": 8.0})
    done = bench.run(
        RECIPE, "--corpus", str(corpus), "--base", base_of(6), "--work-dir", str(tmp_path / "work"),
        "--stop-stage", "1", "--out-of-domain", "none",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    check_cut(read_data_directory(tmp_path / "work/data/corpus/train"), "train", 8.0, 6)
