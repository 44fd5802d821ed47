"""What an experiment costs on out-of-domain speech, its trade-off and its learning curves, and speakers."""

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest
from records import put, rates, score, write

from ia3_speech.commands.results import collect
from ia3_speech.report.curve_files import read_learning_curve
from ia3_speech.report.results_tables import markdown
from ia3_speech.report.systems import find_systems


@pytest.fixture
def exp(tmp_path) -> Path:
    """A base of 50 and 20 %, ia3_plus with seeds of 30, 34 and 32 % (dev: the third is the median)."""
    folder = tmp_path / "exp"

    def system(name: str, own: float, general: float | None, train: dict | None = None, decay: float = 0.0):
        scale = float(name.partition("scale_")[2] or 1)
        against = (None, None) if name == "base" else (0.5, 0.2)
        scores = {"test": score(own, against[0], wer_ci=[own - 0.1, own + 0.1])}
        if general is not None:
            reader = rates(general + 0.1, against[1] and 0.3, 0.1)
            parts = {"reader": reader, "mix": rates(general, against[1], 0.1)}
            fields = {"wer_ci": [general - 0.1, general + 0.1], "changes": parts["mix"]["changes"]}
            scores["out_of_domain"] = score(general, against[1], {"corpus": parts}, **fields)
        for set_name, scored in scores.items():
            put(folder, f"{name}/decode_greedy_{set_name}", scored, scale=scale)
        if train:
            seconds = {"seconds": 3600.0, "audio_seconds": 7230.0, "trainable": 9}
            write(folder / name / "train.json", seconds | train)
            options = f"decay_to_one: {decay}\nplacements: [key]\nout: {name}\n"
            (folder / name / "config.yaml").write_text(options)

    system("base", 0.5, 0.2)
    for seed, (wer, dev) in enumerate([(0.3, 0.4), (0.34, 0.6), (0.32, 0.5)], 1):
        system(f"ia3_plus_seed{seed}", wer, 0.26, {"dev_wer": dev, "seed": seed})
    system("ia3_plus_seed3/scale_0.5", 0.38, 0.22)
    system("ia3_plus_slow_seed1", 0.4, 0.21, {"dev_wer": 0.45, "seed": 1}, decay=10.0)
    for minutes, wer in ((1, 0.48), (20, 0.36)):
        for seed in (1, 2, 3):
            train = {"dev_wer": 0.5, "seed": seed, "audio_seconds": 60.0 * minutes}
            system(f"curve/minutes_{minutes}_seed{seed}", wer + seed / 100, None, train)
    return folder


TABLES = """\
| out-of-domain speech | utterances | words | base WER % | ia3_plus WER % | change % |
| --- | ---: | ---: | ---: | ---: | ---: |
| all | 10 | 100 | 20.0 [10.0, 30.0] | 26.0 [16.0, 36.0] | +30.0 [+20.0, +40.0] |
| reader | 10 | 100 | 30.0 [20.0, 40.0] | 36.0 [26.0, 46.0] | +20.0 [+10.0, +30.0] |
| mix | 10 | 100 | 20.0 [10.0, 30.0] | 26.0 [16.0, 36.0] | +30.0 [+20.0, +40.0] |

| adapter | test WER % | out-of-domain speech WER % |
| --- | ---: | ---: |
| scale 0 | 50.0 [40.0, 60.0] | 20.0 [10.0, 30.0] |
| scale 0.5 | 38.0 [28.0, 48.0] | 22.0 [12.0, 32.0] |
| scale 1 | 32.0 [22.0, 42.0] | 26.0 [16.0, 36.0] |
| decay-to-one 10 | 40.0 [30.0, 50.0] | 21.0 [11.0, 31.0] |

| minutes to adapt on | seeds | test WER %, median | change % | WER % of the seeds |
| --- | ---: | ---: | ---: | ---: |
| 0 (the base) | – | 50.0 | – | – |
| 1 | 3 | 50.0 | +0.0 | 49.0 to 51.0 |
| 20 | 3 | 38.0 | -24.0 | 37.0 to 39.0 |
| 120.5 | 3 | 32.0 | -36.0 | 30.0 to 34.0 |
"""


def test_tables(exp):
    collect(exp)
    systems = find_systems(exp, ["ia3_plus"])
    assert markdown(systems, ("forgetting", "curve")) == TABLES
    assert "out-of-domain" not in markdown(systems, ("systems", "labels", "provenance"))  # it is no headline
    rows = json.loads((exp / "results.json").read_text())["results"]
    assert {row["set"] for row in rows} == {"test", "out_of_domain"}
    text = (exp / "RESULTS.md").read_text()
    assert "| ia3_plus (seed 3 of 3) | 32.0" in text and "| all | 10 | 100 | 20.0" in text
    assert "- out_of_domain: 10 utterances, 100 words." in text


def adapted(folder, name, errors, train=None, **options):
    """A scored system: errors of speakers a, b and c, of 10, 10 and 20 words."""
    words = dict(zip("abc", (10, 10, 20), strict=True))
    total = sum(errors)
    counts = zip("abc", errors, strict=True)
    by_speaker = {s: rates(0.5) | {"words": words[s], "errors": count} for s, count in counts}
    scored = score(total / 40, None if name == "base" else 0.5, {"speaker": by_speaker})
    put(folder, f"{name}/decode_greedy_test", scored)
    if train:
        write(folder / name / "train.json", train | {"utterances": options["k"]})
        write(folder / name / "config.yaml", options)


TRAIN = {"trainable": 9, "seconds": 3.0, "adapters": 12, "speakers": 3, "seed": 1}
TRAIN |= {"not_improved": ["a/fold1", "a/fold2", "b/fold1"]}


@pytest.fixture
def speakers(tmp_path):
    adapted(tmp_path, "base", [6, 4, 10])
    adapted(tmp_path, "accent", [5, 4, 8])
    adapted(tmp_path, "from_base_k15_seed1", [4, 4, 11], TRAIN, k=15, init_adapter=None)
    adapted(tmp_path, "from_accent_k5_seed1", [5, 3, 8], TRAIN, k=5, init_adapter="accent")
    adapted(tmp_path, "from_accent_k15_seed1", [4, 4, 4], TRAIN, k=15, init_adapter="accent")
    return tmp_path


SPEAKERS = """\
| speakers | compared with | before % | WER % | change % | median speaker, points | better % | equal % \
| worse % | speakers | words each | no epoch improved |
| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
| from_accent_k5 | base | 50.0 | 40.0 | -20.0 [-25.0, -16.7] | -10.0 | 100 | 0 | 0 | 3 | 10 | {folds} |
| from_accent_k5 | accent | 42.5 | 40.0 | -5.9 [-25.0, +0.0] | +0.0 | 33 | 67 | 0 | 3 | 10 | {folds} |
| from_accent_k15 | base | 50.0 | 30.0 | -40.0 [-60.0, +0.0] | -20.0 | 67 | 33 | 0 | 3 | 10 | {folds} |
| from_accent_k15 | accent | 42.5 | 30.0 | -29.4 [-50.0, +0.0] | -10.0 | 67 | 33 | 0 | 3 | 10 | {folds} |
| from_base_k15 | base | 50.0 | 47.5 | -5.0 [-33.3, +10.0] | +0.0 | 33 | 33 | 33 | 3 | 10 | {folds} |
"""


def test_each_system_is_compared_with_the_base_and_with_its_start(speakers):
    expected = SPEAKERS.format(folds="3 of 12 folds, 2 speakers")
    assert markdown(find_systems(speakers), ("speakers",)) == expected


def test_scatter_and_curve(speakers):
    collect(speakers)
    svg = ElementTree.parse(speakers / "scatter_from_accent_k15.svg").getroot()
    texts = [text.text for text in svg.iter("{http://www.w3.org/2000/svg}text")]
    assert "3 speakers: 2 better (below the line), 1 equal, 0 worse" in texts
    curve = read_learning_curve(speakers / "curve.json")
    assert (curve.unit, curve.base.value) == ("utterances", 17 / 40)  # of its start
    assert curve.medians == {5: 0.4, 15: 0.3}
    assert not (speakers / "curve_2.json").exists()  # a single point is no curve
