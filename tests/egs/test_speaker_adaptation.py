"""egs/speaker_adaptation: its preparation, and the recipe small from end to end."""

import json
import os
import re
import subprocess
import sys

import bench
import pytest

from ia3_speech.cli import UserError
from ia3_speech.data.kaldi import read_data_directory, write_data_directory
from ia3_speech.data.utterance import Utterance
from ia3_speech.loading import SearchOptions, load
from ia3_speech.transcribe import transcribe

RECIPE = "speaker_adaptation"
SMALL = ("--size", "small", "--small-opts", "--epochs 1")


@pytest.fixture(scope="module")
def local():
    with bench.local(RECIPE, "prepare") as modules:
        yield modules


# ---- preparation


def kaldi(folder, counts, texts=("some words",)):
    """A data directory; speaker → how many utterances, who say the texts in turn."""
    utterances = []
    for speaker, count in counts.items():
        for number in range(count):
            id = f"{speaker}-{number:02d}"
            bench.noise(folder / f"wav/{id}.wav")
            source = str(folder / f"wav/{id}.wav")
            text = texts[number % len(texts)]
            utterances.append(Utterance(id, speaker, id, source, text=text, labels={"room": "a"}))
    write_data_directory(folder / "data", utterances)
    return folder / "data"


def published(folder):
    """speechocean762's layout: four train speakers and two test speakers, half of each adults."""
    people = {"0001": 6, "0005": 10, "1027": 37, "1029": 19, "0024": 11, "1030": 27}
    (folder / "WAVE").mkdir(parents=True)
    for speaker, age in people.items():
        place = folder / ("test" if speaker in ("0024", "1030") else "train")
        place.mkdir(exist_ok=True)
        rows = {"spk2gender": [f"{speaker}\tm"], "spk2age": [f"{speaker}\t{age}"]}
        for number in range(5):
            id = f"0{speaker}{number:04d}"
            file = f"WAVE/SPEAKER{speaker}/{id}.WAV"
            bench.noise(folder / file)
            for name, value in (("wav.scp", file), ("text", "A BEAR"), ("utt2spk", speaker)):
                rows.setdefault(name, []).append(f"{id}\t{value}")
        for name, lines in rows.items():
            with (place / name).open("a") as table:
                table.writelines(f"{line}\n" for line in lines)
    return folder


def test_a_data_directory_keeps_its_labels_and_loses_speakers_with_little(local, tmp_path, capsys):
    local.prepare.main(str(kaldi(tmp_path, {"ann": 6, "bob": 4})), tmp_path / "out")
    found = read_data_directory(tmp_path / "out/test")
    assert list(found.speakers) == ["ann"] and len(found) == 6
    assert {one.labels["room"] for one in found} == {"a"}
    assert "left out, with fewer than 5 utterances: bob\n" in capsys.readouterr().out


def test_small_is_three_speakers_with_twelve_utterances(local, tmp_path):
    folder = kaldi(tmp_path, dict.fromkeys(("ann", "bob", "cat", "dan"), 14))
    local.prepare.main(str(folder), tmp_path / "out", size="small")
    assert {name: len(own) for name, own in read_data_directory(tmp_path / "out/test").speakers.items()} == {
        "ann": 12, "bob": 12, "cat": 12,
    }  # fmt: skip


def test_speechocean762_gives_test_speakers_or_held_out_train_speakers(local, tmp_path):
    corpus = published(tmp_path / "corpus")
    local.prepare.main(str(corpus), tmp_path / "test")
    assert list(read_data_directory(tmp_path / "test/test").speakers) == ["0024", "1030"]
    local.prepare.main(str(corpus), tmp_path / "train", "train")
    dev = read_data_directory(tmp_path / "train/test")
    assert sorted(speaker[0] for speaker in dev.speakers) == ["0", "1"]  # a child and an adult, none of test
    assert set(dev.speakers) <= {"0001", "0005", "1027", "1029"}


def test_train_speakers_are_the_accent_recipes_dev_set(local, tmp_path):
    corpus = published(tmp_path / "corpus")
    local.prepare.main(str(corpus), tmp_path / "mine", "train")
    done = bench.run(
        "speechocean762", "--corpus", str(corpus), "--work-dir", str(tmp_path), "--stop-stage", "1"
    )
    assert done.returncode == 0, done.stderr
    theirs = read_data_directory(tmp_path / "data/speechocean762/dev")
    assert [one.id for one in read_data_directory(tmp_path / "mine/test")] == [one.id for one in theirs]


def test_other_folders_are_refused(local, tmp_path):
    with pytest.raises(UserError, match=r"neither a Kaldi data directory .* nor speechocean762 as it was"):
        local.prepare.main(str(tmp_path), tmp_path / "out")
    with pytest.raises(UserError, match="--speakers train is for speechocean762"):
        local.prepare.main("espeak", tmp_path / "out", "train")


# ---- the recipe


@pytest.fixture(scope="module")
def ran(tmp_path_factory, random_base):
    """Espeak voices from the base, two amounts in two jobs; then from one of the adapters, by its name."""
    place = tmp_path_factory.mktemp("speakers")
    work, home = place / "work", place / "home"

    def run(*options):
        line = (*SMALL, "--work-dir", str(work), "--base", str(random_base), "--precision", "no", *options)
        done = bench.run(RECIPE, *line, IA3_SPEECH_HOME=str(home), OMP_NUM_THREADS="1")
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    first = run("--k", "3 5", "--nj", "2", "--out-of-domain", str(bench.general(place / "talk")))
    second = run("--k", "3", "--init-adapter", "speaker01", "--stop-stage", "8", "--out-of-domain", "none")
    return {"exp": work / "exp/espeak_small", "data": work / "data/espeak_small/test", "home": home,
            "first": first, "second": second, "run": run, "base": random_base}  # fmt: skip


def test_each_utterance_is_tested_once_by_an_adapter_that_never_heard_it(ran):
    everybody = {one.id for one in read_data_directory(ran["data"])}
    for name, k in (("from_base_k3", 3), ("from_base_k5", 5), ("from_speaker01_k3", 3)):
        tasks = [
            json.loads(path.read_text()) for path in (ran["exp"] / f"{name}_seed1").glob("*/*/task.json")
        ]
        assert len(tasks) == 12
        assert sorted(id for task in tasks for id in task["texts"]) == sorted(everybody)
        for task in tasks:
            heard = {*task["trained_on"], *task["held_out"]}
            assert len(heard) == k and not heard & task["texts"].keys()
        lines = (ran["exp"] / f"{name}_seed1/decode_greedy_test/text").read_text().splitlines()
        assert {line.split()[0] for line in lines} == everybody


@pytest.mark.parametrize(("start", "rate"), [("base", "0.02"), ("speaker01", "0.01")])
def test_a_start_from_an_adapter_has_its_own_rate(ran, start, rate):
    record = (ran["exp"] / f"from_{start}_k3_seed1/config.yaml").read_text()
    assert f"learning_rate: {rate}\n" in record


def test_how_long_it_takes_is_said_before_it_starts(ran):
    lines = ran["first"].splitlines()
    assert "2 trainings left; the first one will tell how long one takes" in lines
    assert (
        sum(bool(re.fullmatch(r"1 trainings left, \d+ s each so far: 0\.0 hours", line)) for line in lines)
        == 1
    )
    first = next(number for number, line in enumerate(lines) if line.startswith("stage 5, adapt"))
    assert lines[first + 1].strip().startswith("about ")


def test_tables_pictures_curve_and_reports(ran):
    found = {path.name for path in ran["exp"].iterdir()}
    assert {"results.json", "RESULTS.md"} <= found
    for name in ("from_base_k3", "from_base_k5", "from_speaker01_k3"):
        assert {f"scatter_{name}.svg", f"report_{name}.html"} <= found
    page = (ran["exp"] / "report_from_base_k5.html").read_text()
    assert "Learning curve" in page
    assert "IA³ adapters, one for each speaker, started from the base, tested on espeak_small/test" in page
    table = (ran["exp"] / "RESULTS.md").read_text()
    assert "| from_speaker01_k3 | speaker01 |" in table and "| from_speaker01_k3 | base |" in table
    rows = json.loads((ran["exp"] / "results.json").read_text())["systems"]
    assert "\n- No sentence of test occurs in the same speaker's adaptation utterances.\n" in table
    # The second run was not asked for five utterances: they may be of other inputs.
    assert [row["name"] for row in rows] == ["base", "speaker01", "from_base_k3", "from_speaker01_k3"]
    assert all(row["ci_unit"] == "speaker" and row["adapter"] is None for row in rows if "_k" in row["name"])


def test_out_of_domain_speech_is_decoded_with_each_speakers_adapter_in_turn(ran):
    folder = ran["exp"] / "from_base_k5_seed1"
    record = json.loads((folder / "decode_greedy_out_of_domain/decode.json").read_text())
    assert record["adapter"]["name"] == "one of 3 speakers' in turn"
    own = read_data_directory(ran["data"].parent / "out_of_domain").utterances
    lines = (folder / "decode_greedy_out_of_domain/text").read_text().splitlines()
    texts = {line.partition(" ")[0]: line.partition(" ")[2] for line in lines}
    assert list(texts) == [one.id for one in own]
    for number in (0, 1, 3):  # the fourth utterance is the first speaker's again
        speaker = sorted(read_data_directory(ran["data"]).speakers)[number % 3]
        adapter = str(folder / speaker / "fold1/adapter")
        recognizer = load(str(ran["base"]), adapter=adapter, search=SearchOptions("greedy")).recognizer
        alone = transcribe(own[number].source, recognizer=recognizer)
        assert texts[own[number].id] == alone.text
    table = (ran["exp"] / "RESULTS.md").read_text()  # of the second run, which did not ask for it
    assert (
        "| out-of-domain speech | utterances | words | base WER % | from_base_k3 WER % | change % |\n"
        in table
    )


def test_transcribe_takes_each_speakers_adapter_by_its_name(ran):
    names = sorted(path.name for path in (ran["home"] / "adapters").iterdir() if path.name[0] != ".")
    assert names == [f"speaker{speaker}" for speaker in read_data_directory(ran["data"]).speakers]
    record = json.loads((ran["home"] / "adapters/speaker05/ia3_speech.json").read_text())
    assert record["labels"]["speaker"] == "05"
    wave = next(one.source for one in read_data_directory(ran["data"]) if one.speaker == "05")
    line = ["-m", "ia3_speech.transcribe", "--base", str(ran["base"]), "--adapter", "speaker05", wave]
    own = os.environ | {"IA3_SPEECH_HOME": str(ran["home"]), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, *line], env=own, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def test_a_second_run_does_nothing_again(ran):
    before = {path: path.stat().st_mtime_ns for path in ran["exp"].rglob("task.json")}
    options = ("--k", "3", "--init-adapter", "speaker01", "--stop-stage", "8", "--out-of-domain", "none")
    out = ran["run"](*options)
    told = r"stage \d+, .*|test and .*|out_of_domain and .*|/\S+/scatter_\S+|\s*\S+: up to date"
    assert not [line for line in out.splitlines() if not re.fullmatch(told, line)], out
    assert {path: path.stat().st_mtime_ns for path in ran["exp"].rglob("task.json")} == before


def test_repeated_sentences_are_told_and_out_of_domain_speech_is_tested_by_default(tmp_path, random_base):
    """In three folds a speaker's sixth sentence is the first one again, which other folds were trained on."""
    texts = ("one", "two", "three", "four", "five", "one")
    corpus = kaldi(tmp_path, {"ann": 6, "bob": 6}, texts)
    line = ("--corpus", str(corpus), "--corpus-name", "own", "--k", "4", "--folds", "3")
    place = ("--work-dir", str(tmp_path / "work"), "--base", str(random_base))
    done = bench.run(RECIPE, *SMALL, *line, *place, IA3_SPEECH_HOME=str(tmp_path), OMP_NUM_THREADS="1")
    assert done.returncode == 0, done.stdout + done.stderr
    exp = tmp_path / "work/exp/own_small"
    warning = (
        "2 of 10 sentences of the test set occur in the same speaker's adaptation utterances: the 8 "
        "utterances with other sentences are scored separately too"
    )
    results = json.loads((exp / "results.json").read_text())
    assert results["warnings"] == [{"set": "test", "system": None, "text": warning}]
    rows = {(one["name"], one["set"]): one for one in results["systems"]}
    assert rows["from_base_k4", "test"]["unseen_sentences"]["utterances"] == 8
    assert {one["name"] for one in results["systems"] if one.get("out_of_domain")} == {"base", "from_base_k4"}
    assert rows["from_base_k4", "out_of_domain"]["utterances"] == 12
    table = (exp / "RESULTS.md").read_text()
    card = (tmp_path / "adapters/speakerann/README.md").read_text()
    assert f"> **Warning.** own\\_small/test: {warning}." in card
    assert "pooled over the adapters of 2 speakers" in card
    assert f"- **Warning:** {warning}.\n" in table
    assert "| from_base_k4 | 8 | 8 | base | " in table
    page = (exp / "report_from_base_k4.html").read_text()
    assert f"<b>Warning. </b>{warning}." in page
    assert "On 8 utterances with sentences that are not in training it " in page
    assert "On out-of-domain speech (12 utterances" in page


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--k", "15 x"), "error: --k must be numbers from 2 on, not '15 x'"),
        (("--folds", "1"), "error: --folds must be a number from 2 on, not '1'"),
        (("--nj", "0"), "error: --nj must be a number from 1 on, not '0'"),
        (("--init-adapter", "nobody"), "nobody"),
        (("--speakers", "train"), "--speakers train is for speechocean762"),
    ],
)
def test_wrong_options_are_refused(tmp_path, options, message):
    done = bench.run(RECIPE, *options, "--work-dir", str(tmp_path / "work"), IA3_SPEECH_HOME=str(tmp_path))
    assert done.returncode == 1
    assert message in done.stderr


def test_help_and_run_sh_stays_a_page():
    done = bench.run(RECIPE, "--help")
    assert done.returncode == 0
    assert all(
        option in done.stdout for option in ("--speakers test|train", "--k 'A B'", "--nj N", "--prefix")
    )
    assert len((bench.ROOT / "egs" / RECIPE / "run.sh").read_text().splitlines()) <= 40
