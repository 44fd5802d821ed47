"""General speech of several corpora as one set; forgetting, trade-off and learning curve of an exp folder."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from ia3_speech.cli import UserError
from ia3_speech.data.kaldi import Utterance, read, write
from ia3_speech.report.curve_files import read_learning_curve, read_trade_off

# ---- recipes/utils/general.py


def noise(path: Path, seconds: float = 0.5) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.zeros(round(16_000 * seconds)), 16_000)
    return path


@pytest.fixture
def mix(tmp_path) -> Path:
    """A Kaldi directory of nine utterances; its speakers' ids stand in front, as Kaldi wants it."""
    utterances = [
        Utterance(f"s{n % 2}-{n}", f"s{n % 2}", f"s{n % 2}-{n}", str(noise(tmp_path / f"sound/{n}.wav")),
                  text=f"WORD {n}", labels={"source": "made"})
        for n in range(9)
    ]  # fmt: skip
    write(tmp_path / "mix", sorted(utterances, key=lambda one: one.id))
    return tmp_path / "mix"


@pytest.fixture
def reader(tmp_path) -> Path:
    chapter = tmp_path / "reader/LibriSpeech/test-clean/14/2"
    for number in range(2):
        noise(chapter / f"14-2-000{number}.flac", 1.0)
    (chapter / "14-2.trans.txt").write_text("14-2-0000 CHAPTER ONE\n14-2-0001 THE END\n")
    return tmp_path / "reader"


def test_every_nth_utterance_of_a_directory_and_a_reader_to_the_byte(utils, mix, reader, tmp_path, capsys):
    utils.general.main(f"{mix}:4\n{reader}", tmp_path / "general")
    sound, chapter = tmp_path / "sound", reader / "LibriSpeech/test-clean/14/2"
    assert {path.name: path.read_text() for path in (tmp_path / "general").iterdir()} == {
        "spk2utt": "mix-s0 mix-s0-0 mix-s0-8\nmix-s1 mix-s1-7\nreader-14 reader-14-2-0000 reader-14-2-0001\n",
        "text": "mix-s0-0 WORD 0\nmix-s0-8 WORD 8\nmix-s1-7 WORD 7\nreader-14-2-0000 CHAPTER ONE\n"
                "reader-14-2-0001 THE END\n",
        "utt2corpus": "mix-s0-0 mix\nmix-s0-8 mix\nmix-s1-7 mix\nreader-14-2-0000 reader\n"
                      "reader-14-2-0001 reader\n",
        "utt2dur": "mix-s0-0 0.5\nmix-s0-8 0.5\nmix-s1-7 0.5\nreader-14-2-0000 1\nreader-14-2-0001 1\n",
        "utt2spk": "mix-s0-0 mix-s0\nmix-s0-8 mix-s0\nmix-s1-7 mix-s1\nreader-14-2-0000 reader-14\n"
                   "reader-14-2-0001 reader-14\n",
        "wav.scp": f"mix-s0-0 {sound}/0.wav\nmix-s0-8 {sound}/8.wav\nmix-s1-7 {sound}/7.wav\n"
                   f"reader-14-2-0000 {chapter}/14-2-0000.flac\nreader-14-2-0001 {chapter}/14-2-0001.flac\n",
    }  # fmt: skip
    said = f"{tmp_path}/general: 5 utterances, 3 speakers, 0.1 minutes\n"
    assert capsys.readouterr().out == said


def test_small_takes_twelve_of_each(utils, mix, reader, tmp_path, monkeypatch):
    monkeypatch.setattr(utils.general, "SMALL", 3)
    utils.general.main(f"{mix}\n{reader}", tmp_path / "general", "small")
    assert [one.id for one in read(tmp_path / "general")] == [
        "mix-s0-0", "mix-s0-6", "mix-s1-3", "reader-14-2-0000", "reader-14-2-0001",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("corpora", "message"),
    [
        ("{0}/sound", r"sound: no general speech that we know \(a Kaldi data directory with wav\.scp"),
        ("{0}/none:40", r"none: no general speech that we know"),
        ("{0}/mix:0", r"mix:0: every 0th utterance"),
        ("{0}/mix\n{0}/again/mix", r"again/mix: another corpus is called mix too"),
    ],
)
def test_what_is_no_general_speech(utils, mix, tmp_path, corpora, message):
    with pytest.raises(UserError, match=message):
        utils.general.main(corpora.format(tmp_path), tmp_path / "general")
    assert not (tmp_path / "general").exists()


# ---- an exp folder with all of it


def rates(wer: float, baseline: float | None = None) -> dict:
    change = {"relative": (wer / baseline - 1) if baseline else None, "relative_ci": [-0.5, 0.5]}
    return {
        **{"wer": wer, "wer_ci": [wer - 0.1, wer + 0.1], "cer": wer / 4, "words": 100, "utterances": 10},
        **{"ci_unit": "speaker", "ci_clusters": 12},
        "changes": {"wer": change} if baseline else {},
    }


def score(wer: float, baseline: float | None = None, **by_corpus: tuple[float, float | None]) -> dict:
    label = {"corpus": {name: rates(*pair) for name, pair in by_corpus.items()}} if by_corpus else {}
    return rates(wer, baseline) | {
        **{"schema": 1, "ci_unit": "speaker", "ci_clusters": 4, "by_label": label, "terms": None},
        **{"term_error_rate": None, "term_error_rate_ci": None, "terms_by_category": {}},
        **({"baseline": rates(baseline)} if baseline else {}),
    }


@pytest.fixture
def exp(tmp_path) -> Path:
    """A base of 50 and 20 %, ia3 with seeds of 30, 34 and 32 % (dev: the third is the median)."""
    folder = tmp_path / "exp"

    def put(name: str, own: float, general: float | None, train: dict | None = None, pull: float = 0.0):
        against = (None, None) if name == "base" else (0.5, 0.2)
        scores = {"test": score(own, against[0])}
        if general is not None:
            reader = (general + 0.1, against[1] and 0.3)
            scores["general"] = score(general, against[1], reader=reader, mix=(general, against[1]))
        for set_name, found in scores.items():
            (folder / name / f"decode_greedy_{set_name}").mkdir(parents=True)
            (folder / name / f"decode_greedy_{set_name}/score.json").write_text(json.dumps(found))
            (folder / name / f"decode_greedy_{set_name}/decode.json").write_text('{"seconds": 36.0}')
        if train:
            seconds = {"seconds": 3600.0, "audio_seconds": 7230.0, "trainable": 9}
            (folder / name / "train.json").write_text(json.dumps(seconds | train))
            lines = f"pull: {pull}\ndev: {tmp_path}/dev\nplacements: [key]\nlearning_rate: 0.01\nepochs: 8\n"
            (folder / name / "config.yaml").write_text(lines)

    put("base", 0.5, 0.2)
    for seed, (wer, dev) in enumerate([(0.3, 0.4), (0.34, 0.6), (0.32, 0.5)], 1):
        put(f"ia3_seed{seed}", wer, 0.26, {"dev_wer": dev, "seed": seed})
    put("ia3_seed3/scale_0.5", 0.38, 0.22)
    put("ia3_pull10_seed1", 0.4, 0.21, {"dev_wer": 0.45, "seed": 1}, pull=10.0)
    for minutes, wer in (("1", 0.48), ("20", 0.36)):
        for seed in (1, 2, 3):
            put(f"curve/minutes_{minutes}_seed{seed}", wer + seed / 100, None, {"dev_wer": 0.5, "seed": seed})
    return folder


def test_points_are_what_the_report_draws(utils, exp):
    utils.results.points(exp, "ia3", 3, "test", exp / "ia3_seed3", "10", "1 20")
    trade_off = read_trade_off(exp / "trade_off.json")
    assert (trade_off.own, trade_off.out_of_domain) == ("test", "general speech")
    assert [(one.setting, one.value, one.own.wer, one.out_of_domain.wer) for one in trade_off.points] == [
        ("scale", 0.0, 0.5, 0.2), ("scale", 0.5, 0.38, 0.22), ("scale", 1.0, 0.32, 0.26),
        ("decay_to_one", 10.0, 0.4, 0.21),
    ]  # fmt: skip
    assert trade_off.points[1].out_of_domain.interval == pytest.approx((0.12, 0.32))
    curve = read_learning_curve(exp / "curve.json")
    assert (curve.set, curve.unit, curve.base.wer) == ("test", "minutes", 0.5)
    assert [(one.amount, one.seed, round(one.estimate.wer, 2)) for one in curve.points] == [
        (1.0, "1", 0.49), (1.0, "2", 0.5), (1.0, "3", 0.51), (20.0, "1", 0.37), (20.0, "2", 0.38),
        (20.0, "3", 0.39), (120.5, "1", 0.3), (120.5, "2", 0.34), (120.5, "3", 0.32),
    ]  # fmt: skip


def test_points_of_an_older_baseline_are_left_out_and_without_any_the_files_go(utils, exp):
    utils.results.points(exp, "ia3", 3, "test", exp / "ia3_seed3", "10", "1 20")
    for place in exp.glob("curve/*/decode_greedy_test/score.json"):
        place.write_text(json.dumps(score(0.4, 0.55)))
    for place in exp.rglob("decode_greedy_general/score.json"):
        place.unlink()
    utils.results.points(exp, "ia3", 3, "test", exp / "ia3_seed3", "10", "1 20")
    assert not (exp / "curve.json").exists() and not (exp / "trade_off.json").exists()


def test_points_of_what_is_not_trained(utils, exp):
    with pytest.raises(UserError, match=r"exp/other_seed1: not trained yet \(run the earlier stages\)"):
        utils.results.points(exp, "other", 1, "test", exp / "other_seed1")


TABLES = """\
| general speech | utterances | words | base WER % | ia3 WER % | change % |
| --- | ---: | ---: | ---: | ---: | ---: |
| all | 10 | 100 | 20.0 [10.0, 30.0] | 26.0 [16.0, 36.0] | +30.0 [-50.0, +50.0] |
| reader | 10 | 100 | 30.0 [20.0, 40.0] | 36.0 [26.0, 46.0] | +20.0 [-50.0, +50.0] |
| mix | 10 | 100 | 20.0 [10.0, 30.0] | 26.0 [16.0, 36.0] | +30.0 [-50.0, +50.0] |

| adapter | test WER % | general speech WER % |
| --- | ---: | ---: |
| scale 0 | 50.0 [40.0, 60.0] | 20.0 [10.0, 30.0] |
| scale 0.5 | 38.0 [28.0, 48.0] | 22.0 [12.0, 32.0] |
| scale 1 | 32.0 [22.0, 42.0] | 26.0 [16.0, 36.0] |
| pull 10 | 40.0 [30.0, 50.0] | 21.0 [11.0, 31.0] |

| minutes to adapt on | seeds | test WER %, median | change % | WER % of the seeds |
| --- | ---: | ---: | ---: | ---: |
| 0 (the base) | – | 50.0 | – | – |
| 1 | 3 | 50.0 | +0.0 | 49.0 to 51.0 |
| 20 | 3 | 38.0 | -24.0 | 37.0 to 39.0 |
| 120.5 | 3 | 32.0 | -36.0 | 30.0 to 34.0 |
"""


def test_tables(utils, exp, capsys):
    utils.results.points(exp, "ia3", 3, "test", exp / "ia3_seed3", "10", "1 20")
    page = exp / "page.md"
    page.write_text("<!-- results . forgetting curve only ia3 -->\n<!-- end of results -->\n")
    utils.results.fill(page)
    assert page.read_text().split("\n", 1)[1] == f"{TABLES}<!-- end of results -->\n"
    page.write_text("<!-- results . systems labels origin only ia3 -->\n<!-- end of results -->\n")
    utils.results.fill(page)
    assert "general" not in page.read_text()  # it is no headline


def test_results_json_marks_general_speech(utils, exp):
    utils.results.collect(exp, "test general", "bash run.sh")
    rows = json.loads((exp / "results.json").read_text())["systems"]
    assert {(row["set"], row.get("general", False)) for row in rows} == {("test", False), ("general", True)}
    text = (exp / "RESULTS.md").read_text()
    assert "| ia3 (seed 3 of 3) | 32.0" in text and "| all | 10 | 100 | 20.0" in text
    assert "- general: 10 utterances, 100 words." in text


def test_projected_time_of_parts(utils, exp, tmp_path, capsys):
    """An epoch hears 20 of 120.5 minutes, and decodes dev's 30 minutes at a third of the cost."""
    sound = noise(tmp_path / "dev.wav")
    write(tmp_path / "dev", [Utterance("a-1", "a", "a-1", str(sound), text="A", duration=1800.0)])
    utils.results.project(exp, 10, 20, "test general")
    seconds = 3600 * (1200 + 600) / (7230 + 600) + 2 * 36
    assert capsys.readouterr().out == (
        f"10 trainings left, {seconds:.0f} s each so far: {10 * seconds / 3600:.1f} hours\n"
    )


def test_lengths_are_those_of_segments_and_a_pipes_is_not_known(utils, tmp_path):
    sound = tmp_path / "a.wav"
    soundfile.write(sound, np.zeros(32_000, np.float32), 16_000)
    pipe = "cat a.wav |"
    cases = [((str(sound),), 2.0), ((str(sound), 0.5), 1.5), ((str(sound), 0.5, 1.25), 0.75)]
    cases += [((pipe,), None), ((pipe, 0.5, 1.25), 0.75)]
    for (source, *times), seconds in cases:
        assert utils.sets.with_length(Utterance("a-1", "a", "a-1", source, *times)).duration == seconds
    told = Utterance("a-1", "a", "a-1", str(sound), duration=9.0)
    assert utils.sets.with_length(told) == told
