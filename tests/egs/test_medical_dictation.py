"""egs/medical_dictation: the recipe itself, small, from end to end; killed on its way, and run again."""

import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from warm_python import path_with_warm_python

from ia3_speech.data.kaldi import read_data_directory

ROOT = Path(__file__).parents[2]
RECIPE = ROOT / "egs/medical_dictation"
SHARED = r"(test|out_of_domain) and (train|dev) share "  # what stage 2 says
# As little training as shows that it works, with a checkpoint on the way to go on from; five sentences of
# other speech.
OTHER = "ia3_speech/out_of_domain/librispeech_dev:6"
SMALL = ("--size", "small", "--small-opts", "--epochs 1 --checkpoint-steps 2", "--out-of-domain", OTHER)


class Bench:
    """Where the recipe runs in these tests: a work folder, a store of adapters, a base."""

    def __init__(self, work: Path, home: Path, base: Path):
        self.work, self.home, self.base = work, home, base
        self.exp = work / "exp/espeak_small"
        self.environment = os.environ | {
            "PATH": path_with_warm_python(),
            "IA3_SPEECH_HOME": str(home),
            "CUDA_VISIBLE_DEVICES": "",  # slow enough to be killed on its way
        }
        self.environment.pop(
            "UV_RUN_RECURSION_DEPTH", None
        )  # commands are printed for this Python, not for uv

    def start(self, *options: str, script: str = "run.sh", cwd: Path = ROOT) -> subprocess.Popen:
        command = ["bash", str(RECIPE / script), *options, "--work-dir", str(self.work)]
        return subprocess.Popen(
            [*command, "--base", str(self.base)],
            cwd=cwd,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, *options: str, script: str = "run.sh", cwd: Path = ROOT) -> SimpleNamespace:
        process = self.start(*options, script=script, cwd=cwd)
        out, err = process.communicate()
        return SimpleNamespace(returncode=process.returncode, stdout=out, stderr=err)


@pytest.fixture
def bench(tmp_path) -> Bench:
    """For runs that end before a base is needed."""
    return Bench(tmp_path / "work", tmp_path / "home", Path("mini"))


@pytest.fixture(scope="module")
def ran(tmp_path_factory, base_folder):
    """The whole recipe: killed in the middle of training, then run to its end."""
    folder = tmp_path_factory.mktemp("medical")
    bench = Bench(folder / "work", folder / "home", base_folder)
    process = bench.start(*SMALL)
    checkpoint = bench.exp / "ia3_seed1/checkpoints/last.pt"
    while not checkpoint.exists():
        assert process.poll() is None, "".join(process.communicate())
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    done = bench.run(*SMALL)
    assert done.returncode == 0, done.stdout + done.stderr
    bench.out = done.stdout
    return bench


def stages(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("stage ")]


def test_a_killed_run_goes_on_where_it_was(ran):
    early = ran.out.partition("stage 5")[0].splitlines()
    done = [line for line in early if not re.match(rf"stage [1-4], |{SHARED}", line)]
    assert done and all(line.endswith(": up to date") for line in done), early
    log = (ran.exp / "log/train_ia3_seed1.log").read_text()
    assert re.search(r"ia3_seed1: resuming after step \d+ of \d+", log)


def test_results_json_keeps_its_contract(ran):
    results = json.loads((ran.exp / "results.json").read_text())
    assert list(results) == ["schema", "systems", "pairs", "warnings", "commit", "dirty", "command"]
    assert results["schema"] == 1
    tested = [row for row in results["systems"] if row["set"] == "test"]
    assert [row["name"] for row in tested] == ["base", "ia3", "base + LM", "ia3 + LM", "ia3 + LM + hot words"]
    assert sum(row.get("out_of_domain", False) for row in results["systems"]) == 5  # out-of-domain speech
    base, ia3 = tested[:2]
    for row in (base, ia3):
        assert list(row) == [
            *("name", "adapter", "set", "seed", "wer", "wer_ci", "ci_unit", "cer", "words", "utterances"),
            *("term_error_rate", "trainable", "seconds"),
        ]
        assert 0 < row["cer"] < row["wer"] < 1.2
        assert row["wer_ci"][0] <= row["wer"] <= row["wer_ci"][1]
        assert (row["set"], row["utterances"], row["ci_unit"]) == ("test", 24, "speaker")
        assert row["words"] == sum(
            len(one.text.split()) for one in read_data_directory(ran.work / "data/espeak_small/test")
        )
        assert row["term_error_rate"] > 0
    assert (base["name"], base["adapter"], base["seed"]) == ("base", None, None)
    assert (base["trainable"], base["seconds"]) == (0, 0.0)
    assert (ia3["name"], ia3["adapter"], ia3["seed"]) == ("ia3", f"{ran.exp}/ia3_seed1/adapter", 1)
    assert ia3["trainable"] > 0
    assert ia3["seconds"] > 0
    pair = next(one for one in results["pairs"] if (one["set"], one["system"]) == ("test", "ia3"))
    assert list(pair) == ["set", "baseline", "system", "seed", "relative", "relative_ci"]
    assert (pair["set"], pair["baseline"], pair["system"]) == ("test", "base", "ia3")
    assert pair["relative"] == pytest.approx(ia3["wer"] / base["wer"] - 1)
    assert pair["relative_ci"][0] <= pair["relative"] <= pair["relative_ci"][1]
    assert isinstance(results["dirty"], bool)
    assert results["command"] == (
        "bash egs/medical_dictation/run.sh --size small --small-opts '--epochs 1 --checkpoint-steps 2' "
        f"--out-of-domain {OTHER} --work-dir {ran.work} --base {ran.base}"
    )
    assert (ran.exp / "RESULTS.md").read_text() in ran.out


def test_the_terms_were_fixed_before_anything_was_decoded(ran):
    terms = ran.exp / "terms_test"
    decoded = [*ran.exp.glob("*/decode_greedy_test/text")]
    assert len(decoded) == 2
    assert all(terms.stat().st_mtime < text.stat().st_mtime for text in decoded)
    assert "\tonly in test\n" in terms.read_text()
    score = json.loads((ran.exp / "ia3_seed1/decode_greedy_test/score.json").read_text())
    assert score["terms_by_category"]["only in test"]["reference"] > 0


def test_the_language_model_knows_the_lists_and_no_test_sentence(ran):
    """Words of ICD-10-CM and of the drug list, which train lacks; weights of all three parts, from dev."""
    summary = json.loads((ran.exp / "lm.json").read_text())
    train, lists, *own = map(Path, summary["weights"])
    assert (train.name, lists.name) == ("train", "lm_texts")
    assert [path.name for path in own] in ([], ["lm.arpa.gz"])  # a base with a model of its own
    assert sum(summary["weights"].values()) == pytest.approx(1) and summary["dev"]["words"] > 0
    lines = set((ran.exp / "lm_texts").read_text().splitlines())
    assert "atrial fibrillation" in " ".join(lines)
    tested = read_data_directory(ran.work / "data/espeak_small/test")
    assert not lines & {one.text.lower() for one in tested}
    for system in ("base", "ia3_seed1"):
        record = json.loads((ran.exp / system / "decode_lm_test/decode.json").read_text())
        assert record["search"] == "beam" and record["lm"].endswith("/lm.arpa.gz")
        greedy = json.loads((ran.exp / system / "decode_greedy_test/decode.json").read_text())
        assert greedy["search"] == "greedy"


def test_hot_words_are_terms_of_train_and_compared_with_the_adapter_alone(ran):
    lines = (ran.exp / "ia3_seed1/hotwords.txt").read_text().splitlines()
    terms = {line.split("\t")[0] for line in lines if not line.startswith("# ")}
    said = {one.text.lower() for one in read_data_directory(ran.work / "data/espeak_small/train")}
    assert terms and all(any(term in text for text in said) for term in terms)
    decoded = ran.exp / "ia3_seed1/decode_hotwords_test"
    record = json.loads((decoded / "decode.json").read_text())
    assert record["search"] == "beam" and record["terms"] == len(terms)
    found = json.loads((decoded / "score.json").read_text())
    alone = json.loads((ran.exp / "ia3_seed1/decode_greedy_test/score.json").read_text())
    assert found["baseline"]["wer"] == alone["wer"] and found["changes"]["term_error_rate"]


def test_both_adapters_are_registered_and_the_printed_command_works(ran):
    registered = {path.name for path in (ran.home / "adapters").iterdir() if path.name[0] != "."}
    assert registered == {"medical", "speaker42"}
    command = ran.out.splitlines()[-1].strip()
    sample = ran.exp / "speaker42/sample.wav"
    assert command == (
        f"IA3_SPEECH_HOME={ran.home} python -m ia3_speech.transcribe --adapter speaker42 {sample}"
    )
    said = subprocess.run(
        ["bash", "-c", command], cwd=ROOT, env=ran.environment, capture_output=True, text=True, check=True
    )
    transcripts = (ran.exp / "speaker42/transcripts").read_text()
    assert [line.split()[0] for line in transcripts.splitlines()] == ["said", "base", "medical", "speaker42"]
    assert said.stdout.strip() == transcripts.splitlines()[-1].partition(" ")[2].strip()
    assert transcripts in ran.out


def test_speaker42_starts_from_the_medical_adapter_with_fifteen_sentences(ran):
    data = ran.work / "data/espeak_small/speaker42"
    assert [len(read_data_directory(data / name)) for name in ("train", "dev")] == [12, 3]
    results = json.loads((ran.exp / "speaker42/results.json").read_text())
    for name in ("test", "out_of_domain"):
        systems = [row["name"] for row in results["systems"] if row["set"] == name]
        assert systems == ["base", "medical", "speaker42"]
    config = (ran.exp / "speaker42/speaker42_seed1/config.yaml").read_text()
    assert f"init_adapter: {ran.exp}/ia3_seed1/adapter\n" in config


def test_confidences_are_calibrated_where_dev_has_enough_words(ran):
    """medical's by both searches; speaker42's dev set has three sentences."""
    assert ran.out.count("recognised, and 100 are needed") == 1
    kept = json.loads((ran.exp / "ia3_seed1/adapter/ia3_speech.json").read_text())["confidence"]
    for search, decoded in (("greedy", "greedy"), ("beam", "lm"), ("beam", "hotwords")):
        record = json.loads((ran.exp / f"ia3_seed1/decode_{decoded}_test/decode.json").read_text())
        assert all(record["confidence_scaling"][name] == kept[search][name] for name in ("slope", "bias"))
    assert "Word confidences" in (ran.exp / "report_test.html").read_text()


def test_a_second_run_does_nothing_again(ran):
    before = {path: path.stat().st_mtime_ns for path in ran.exp.rglob("*") if path.is_file()}
    again = ran.run(*SMALL)
    assert again.returncode == 0
    assert stages(again.stdout) == stages(ran.out)
    told = rf"(stage \d+, |{SHARED}).*|.*: up to date|.*byte for byte"
    lines = again.stdout.partition("\nsaid ")[0].splitlines()
    assert not [line for line in lines if line and not re.fullmatch(told, line)]
    assert {path: path.stat().st_mtime_ns for path in ran.exp.rglob("*") if path.is_file()} == before


def test_stages_can_be_chosen(ran):
    done = ran.run(*SMALL, "--stage", "2", "--stop-stage", "3")
    assert stages(done.stdout) == ["stage 2, validate espeak_small", "stage 3, check the texts"]


def test_a_learning_rate_of_the_sweep_sees_dev_alone(ran):
    done = ran.run("rates", "--rates", "2e-3", *SMALL[:4], script="local/sweep.sh")
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.match(r"1 trainings left, \d+ s each so far: 0\.0 hours\nstage 1, ", done.stdout)
    trained = ran.exp / "ia3_rate2e-3_seed1"
    assert "learning_rate: 0.002\n" in (trained / "config.yaml").read_text()
    assert 0 < json.loads((trained / "train.json").read_text())["dev_wer"] < 1.2
    assert not list(trained.glob("decode_*"))


def test_a_corpus_of_ones_own_lies_beside_the_others(ran, tmp_path):
    (tmp_path / "my notes").symlink_to(ran.work / "data/espeak_small")
    options = ("--corpus", "my notes", "--corpus-name", "mine", "--stop-stage", "2")
    done = ran.run(*options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    data = ran.work / "data/mine"
    assert [len(read_data_directory(data / name)) for name in ("train", "dev", "test")] == [48, 12, 24]
    assert {path.name for path in data.iterdir() if path.is_dir()} == {
        *("train", "dev", "test", "out_of_domain", "valid")
    }


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ((), True),
        (("--corpus", "espeak"), True),
        (("--corpus", "my/notes"), False),
        (("--config", "own"), False),
    ],
)
def test_speaker42_is_adapted_to_in_the_corpus_made_here_alone(tmp_path, options, expected):
    """Nothing synthetic is added to a corpus of one's own, and no speaker42 is registered after it."""
    (tmp_path / "own").write_text("corpus=my/notes\n")
    (tmp_path / "fake").write_text('adapt.sh() { printf "%s\\n" "$@"; }\n')  # a function goes before PATH
    done = subprocess.run(
        ["bash", str(RECIPE / "run.sh"), *options],
        cwd=tmp_path,
        env=os.environ | {"BASH_ENV": str(tmp_path / "fake"), "PATH": path_with_warm_python()},
        capture_output=True,
        text=True,
        check=True,
    )
    words = done.stdout.splitlines()
    assert ("local/speaker42.sh" in words) == ("local/prepare.py" in words) == expected
    assert ("python -m ia3_speech.data.corpora.kaldi" in words) == (not expected)
    assert words[words.index("--corpus") + 1] == ("espeak" if expected else "my/notes")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--sizes", "small"), "adapt.sh: invalid option --sizes (--help lists the options)"),
        (("--size", "medium"), "error: --size must be full or small, not 'medium'"),
        (("--seeds", "0"), "error: --seeds must be a number from 1 on, not '0'"),
        (("--corpus", "no/such/folder"), "error: no/such/folder/train: no Kaldi directory (a corpus is "),
        (("--train-config", "none.yaml"), "error: there is no configuration none.yaml"),
    ],
)
def test_wrong_options_are_refused(bench, options, message):
    done = bench.run(*options)
    assert done.returncode == 1
    assert message in done.stderr


def test_help(bench):
    done = bench.run("--help")
    assert done.returncode == 0
    for option in (
        "--corpus DIR",
        "--seeds N",
        "--size full|small",
        "--stage N",
        "--stop-stage N",
        "--base BASE",
    ):
        assert option in done.stdout
    assert not bench.work.exists()


def test_usage_of_the_sweep(bench):
    done = bench.run("everything", script="local/sweep.sh")
    assert done.returncode == 1
    assert done.stderr.startswith("Usage: bash local/sweep.sh rates|placements|more|seeds")


def test_run_sh_stays_a_page(bench):
    assert len((RECIPE / "run.sh").read_text().splitlines()) < 40
