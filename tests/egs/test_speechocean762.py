"""egs/speechocean762: its first stages, all that goes along on a tiny corpus, and its own options."""

import json
import re
import tarfile

import bench
import corpus_files
import pytest
import torch
from publisher import serve
from safetensors.torch import load_file

from ia3_speech.data.kaldi import read_data_directory

RECIPE = "speechocean762"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return corpus_files.speechocean762(tmp_path_factory.mktemp("corpus") / "speechocean762")


# ---- the tiny corpus


@pytest.fixture(scope="module")
def ran(corpus, tmp_path_factory, base_folder):
    """Stages 1 to 3, started with a relative path."""
    work = tmp_path_factory.mktemp("work")
    options = ("--corpus", "speechocean762", "--work-dir", str(work), "--base", str(base_folder))
    done = bench.run(RECIPE, *options, "--stop-stage", "3", cwd=corpus.parent)
    assert done.returncode == 0, done.stdout + done.stderr
    done.data = work / "data/speechocean762"
    return done


def test_the_first_three_stages_pass(ran):
    lines = ran.stdout.splitlines()
    assert [line for line in lines if line.startswith("stage")] == [
        "stage 1, prepare speechocean762", "stage 2, validate speechocean762", "stage 3, check the texts",
    ]  # fmt: skip
    assert "test_adults and train share 0 of 1 speakers and 1 of 2 sentences" in lines
    assert f"{ran.data}/train: 8 utterances can be trained on" in lines


# ---- forgetting, the trade-off, the learning curve


@pytest.fixture(scope="module")
def measured(ran, corpus, tmp_path_factory, random_base):
    """The tiny corpus through the report, with all that goes along, each once."""
    folder = tmp_path_factory.mktemp("general")
    reader = folder / "reader/14/2"
    bench.noise(reader / "14-2-0000.flac")
    (reader / "14-2.trans.txt").write_text("14-2-0000 A WORD\n")
    extra = ("--out-of-domain", f"{bench.general(folder / 'talk')}:2 reader", "--trade-off", "0 0.5 1")
    few = (
        "--epochs 1 --batch-seconds 4 --learning-rate 1e-4"  # a higher rate is worse on noise than the start
    )
    extra += ("--decay-to-one", "2", "--curve", "0.05 0.1", "--small-opts", few)
    extra += ("--test-sets", "test_adults", "--lm", "none")

    def run(*options, **environment):
        paths = ("--corpus", str(corpus), "--work-dir", str(folder / "work"), "--base", str(random_base))
        return bench.run(RECIPE, *paths, "--size", "small", *extra, *options, cwd=folder, **environment)

    done = run("--stop-stage", "8")
    assert done.returncode == 0, done.stdout + done.stderr
    done.run, done.exp = run, folder / "work/exp/speechocean762_small"
    done.data = folder / "work/data/speechocean762_small"
    return done


def test_general_speech_is_every_second_utterance_and_the_reader(measured):
    assert [one.id for one in read_data_directory(measured.data / "out_of_domain")] == [
        "reader-14-2-0000", *(f"talk-{id}" for id in ("g0-0", "g0-2", "g1-4", "g1-6")),
    ]  # fmt: skip


def test_off_is_the_base_to_the_byte(measured):
    off = measured.exp / "ia3_seed1/off/decode_greedy_out_of_domain"
    base = measured.exp / "base/decode_greedy_out_of_domain/text"
    assert json.loads((off / "decode.json").read_text())["adapter"]["terms"][0]["weight"] == 0
    assert (off / "text").read_bytes() == base.read_bytes()
    assert f"{off}: with the adapter off the hypotheses are the base's, byte for byte\n" in measured.stdout


def test_forgetting_stands_apart_in_the_tables_and_the_report(measured):
    rows = json.loads((measured.exp / "results.json").read_text())["systems"]
    assert {row["set"]: row.get("out_of_domain", False) for row in rows} == {
        "test_adults": False, "out_of_domain": True,
    }  # fmt: skip
    text = (measured.exp / "RESULTS.md").read_text()
    marked = (r"| reader \* | 1 | 2 |", r"| talk \* | 4 | 8 |")  # of one speaker, and of two
    for line in ("| all | 5 | 10 |", *marked, "| scale 0.5 |", "| decay 2 |"):
        assert f"\n{line}" in text
    assert "\n| out_of_domain |" not in text
    points = json.loads((measured.exp / "trade_off.json").read_text())["points"]
    assert [point.get("scale", point.get("decay_to_one")) for point in points] == [0, 0.5, 1, 2]
    page = (measured.exp / "report_test_adults.html").read_text()
    assert "Out-of-domain speech" in page and "scale 0.5: test_adults " in page


def test_learning_curve(measured):
    """Parts of train hold one another; an epoch of each hears as much, and all of train is the last point."""
    parts = {name: read_data_directory(measured.data / f"curve/minutes_{name}") for name in ("0.05", "0.1")}
    assert [len(part) for part in parts.values()] == [2, 4]
    assert {one.id for one in parts["0.05"]} < {one.id for one in parts["0.1"]}
    trained = {
        name: json.loads((measured.exp / f"{name}_seed1/train.json").read_text())
        for name in ("curve/minutes_0.05", "curve/minutes_0.1", "ia3")
    }
    assert [one["utterances"] for one in trained.values()] == [2, 4, 8]
    steps = [one["steps"] for one in trained.values()]
    assert steps[0] == steps[1] < steps[2]
    curve = json.loads((measured.exp / "curve.json").read_text())
    assert curve["set"] == "test_adults"
    assert [point["minutes"] for point in curve["points"]] == [0.05, 0.1, 0.2]
    assert "WER on test_adults by amount of audio" in (measured.exp / "report_test_adults.html").read_text()


def test_the_time_is_projected_before_it_is_spent(measured):
    lines = measured.stdout.splitlines()
    found = [number for number, line in enumerate(lines) if " trainings left" in line]
    assert [lines[number][:17] for number in found] == [
        "4 trainings left;", "3 trainings left,", "2 trainings left,", "1 trainings left,",
    ]  # fmt: skip
    found = found[1:]
    assert lines[found[0] + 1].startswith("stage 5, train ia3_decay2, ")
    assert lines[found[1] + 1].startswith("stage 5, train curve/minutes_0.05, ")


def test_a_second_run_measures_nothing_again(measured):
    again = measured.run("--stop-stage", "8")
    assert again.returncode == 0, again.stderr
    lines = again.stdout.splitlines()
    told = r"stage \d+, .*|test_adults and .*|out_of_domain and .*|.*: up to date|.*byte for byte"
    assert not [line for line in lines if not re.fullmatch(told, line)], again.stdout


def test_other_hypotheses_with_the_adapter_off_stop_the_recipe(measured):
    text = measured.exp / "base/decode_greedy_out_of_domain/text"
    before = text.read_bytes()
    text.write_bytes(before + b"one-more\n")
    done = measured.run("--stage", "6", "--stop-stage", "6")
    text.write_bytes(before)
    assert done.returncode == 1
    assert "adapter off these must be the base's hypotheses, byte for byte" in done.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--out-of-domain", "", "--decay-to-one", ""), "--trade-off needs out-of-domain speech: give"),
        (("--trade-off", ""), "--decay-to-one needs --trade-off"),
        (("--curve", "1 two"), "--curve takes numbers such as 0.5, not 'two'"),
        (("--average", "true"), "--average takes the mean of several seeds: give --seeds 3"),
        (("--decay-to-one", "-1"), "--decay-to-one takes numbers such as 0.5, not '-1'"),
        (("--test-sets", "test_adults out_of_domain"), "no set can be called out_of_domain"),
    ],
)
def test_what_goes_along_is_checked_first(measured, options, message):
    done = measured.run(*options)
    assert done.returncode == 1 and message in done.stderr


def test_the_mean_of_two_seeds_is_tested_shown_and_registered(measured, tmp_path):
    home = tmp_path / "home"
    extra = ("--seeds", "2", "--average", "true", "--decay-to-one", "", "--curve", "")
    done = measured.run(*extra, IA3_SPEECH_HOME=str(home))
    assert done.returncode == 0, done.stdout + done.stderr
    seeds, mean = (
        [measured.exp / f"ia3_{name}" for name in names] for names in (("seed1", "seed2"), ("average",))
    )
    first, second, found = (load_file(one / "adapter/ia3_speech.safetensors") for one in (*seeds, *mean))
    assert found.keys() == first.keys()
    for name, vector in found.items():
        torch.testing.assert_close(vector.double(), (first[name].double() + second[name].double()) / 2)
    assert [json.loads((one / "train.json").read_text())["seed"] for one in seeds] == [1, 2]
    took = [json.loads((one / "train.json").read_text())["seconds"] for one in seeds]
    rows = json.loads((measured.exp / "results.json").read_text())["systems"]
    assert [row["seconds"] for row in rows if row["name"] == "ia3_average"] == [pytest.approx(sum(took))] * 2
    trade_off = json.loads((measured.exp / "trade_off.json").read_text())["points"]
    scores = {
        name: json.loads((mean[0] / f"{name}/decode_greedy_test_adults/score.json").read_text())["wer"]
        for name in (".", "scale_0.5")
    }
    assert [point["wer"] for point in trade_off[1:]] == [scores["scale_0.5"], scores["."]]
    assert "\n| ia3_average | " in (measured.exp / "RESULTS.md").read_text()
    kept = load_file(home / "adapters/mandarin/ia3_speech.safetensors")
    assert all(torch.equal(kept[name], found[name]) for name in found)
    card = (home / "adapters/mandarin/README.md").read_text()
    assert str(measured.exp) not in card and "test_adults" in card


def test_without_a_corpus_it_says_where_it_is_published(tmp_path):
    done = bench.run(RECIPE, "--work-dir", str(tmp_path / "work"))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: No corpus: give --corpus DIR, or --download DIR.\n")
    wrong = bench.run(RECIPE, "--corpsu", "x", "--work-dir", str(tmp_path / "work"))
    assert wrong.stderr.endswith("adapt.sh: invalid option --corpsu (--help lists the options)\n")
    assert "https://www.openslr.org/101/" in done.stderr
    assert not (tmp_path / "work").exists()


def test_help_has_the_recipes_own_option():
    done = bench.run(RECIPE, "--help")
    assert done.returncode == 0
    assert done.stdout.startswith("  --download DIR ")
    assert "  --seeds N " in done.stdout


def test_the_recipe_fetches_and_goes_on(corpus, tmp_path):
    with tarfile.open(tmp_path / "speechocean762.tar.gz", "w:gz") as tar:
        tar.add(corpus, "speechocean762")
    options = ("--download", "fetched", "--stop-stage", "1", "--work-dir", "work", "--size", "small")
    with serve({"/101/speechocean762.tar.gz": (tmp_path / "speechocean762.tar.gz").read_bytes()}) as address:
        done = bench.run(RECIPE, *options, cwd=tmp_path, OPENSLR=address)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(
        f"{tmp_path}/fetched/speechocean762: unpacked (sha256 of speechocean762.tar.gz: "
    )
    assert len(read_data_directory(tmp_path / "work/data/speechocean762_small/dev")) == 4


def test_run_sh_stays_a_page():
    assert len((bench.ROOT / "egs" / RECIPE / "run.sh").read_text().splitlines()) <= 40
