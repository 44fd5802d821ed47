"""egs/accent_times_domain: its tables to the letter."""

import json
import subprocess
from pathlib import Path

import pytest
from corpus_files import noise

from ia3_speech.atomic import write_json
from ia3_speech.commands import score as scoring
from ia3_speech.commands.results import fill
from ia3_speech.data.kaldi import write_data_directory
from ia3_speech.data.utterance import Utterance
from ia3_speech.errors import UserError

RECIPE = "accent_times_domain"
MODULES = ("compare",)
RECIPES = Path(__file__).parents[2] / "recipes"

SAID = {"a-1": "one two three four", "a-2": "five six", "b-1": "seven eight nine ten"}
HEARD = {  # one word wrong for each x
    "base": [("x x three four", "x six", "x x x ten")],
    "accent": [("one x three four", "x six", "x x nine ten"), ("x x three four", "five six", "x x nine ten")],
    "domain": [("x x three four", "five six", "x x nine ten")] * 2,
    "sum": [
        ("one two three four", "five six", "x x nine ten"),
        ("one x three four", "five six", "x x x ten"),
    ],
    "half": [("one x three four", "five six", "x x nine ten")] * 2,
}


@pytest.fixture
def scored(local, tmp_path):
    """exp and data with one set, and the systems of HEARD."""
    exp, data = tmp_path / "exp", tmp_path / "data/test_orders"
    noise(tmp_path / "a.wav")
    write_data_directory(
        data, [Utterance(id, id[0], id, str(tmp_path / "a.wav"), text=text) for id, text in SAID.items()]
    )
    for system, seeds in HEARD.items():
        for seed, texts in enumerate(seeds, 1):
            name = "base" if system == "base" else f"{system}_seed{seed}"
            folder = exp / name / "decode_greedy_test_orders"
            folder.mkdir(parents=True)
            lines = (f"{id} {text}\n" for id, text in zip(SAID, texts, strict=True))
            (folder / "text").write_text("".join(lines))
            made = {"schema": 1, "commit": "abc1234", "dirty": False, "command": "bash run.sh"}
            write_json(folder / "inputs.json", made)
            adapter = None if system == "base" else {"name": f"{system}+", "path": system}
            if system == "sum":
                del adapter["path"]
            write_json(folder / "decode.json", {"adapter": adapter})
            scoring.main(data, folder, None if system == "base" else exp / "base" / folder.name)
    return exp


EXPECTED = """\
| test_orders | WER % | against base % | against accent % | against domain % | CER % | WER % of the seeds \
|
| --- | ---: | ---: | ---: | ---: | ---: | ---: |
| base | 60.0 [50.0, 75.0] | – | – | – | 52.2 | – |
| accent | 40.0 [33.3, 50.0] | -33.3 [-33.3, -33.3] | – | +0.0 [+0.0, +0.0] | 37.0 | 40.0 to 40.0 |
| domain | 40.0 [33.3, 50.0] | -33.3 [-33.3, -33.3] | +0.0 [+0.0, +0.0] | – | 34.8 | 40.0 to 40.0 |
| accent+domain | 20.0 [0.0, 50.0] | -66.7 [-100.0, -33.3] | -50.0 [-100.0, +0.0] | -50.0 [-100.0, +0.0] | \
21.7 | 20.0 to 40.0 |
| accent:0.5+domain:0.5 | 30.0 [16.7, 50.0] | -50.0 [-66.7, -33.3] | -25.0 [-50.0, +0.0] | \
-25.0 [-50.0, +0.0] | 28.3 | 30.0 to 30.0 |

| MAPSSWE, test_orders | against base | against accent | against domain |
| --- | ---: | ---: | ---: |
| accent | z = 2.00, p = 0.046 | – | z = 0.00, p = 1 |
| domain | z = 2.00, p = 0.046 | z = 0.00, p = 1 | – |
| accent+domain | z = 4.00, p = 6.3e-05 | z = 2.00, p = 0.046 | z = 1.00, p = 0.32 |
| accent:0.5+domain:0.5 | z = 0.00, p = 1 | z = 1.00, p = 0.32 | z = 1.00, p = 0.32 |

- test_orders: 3 utterances, 10 words. In brackets 95 % intervals of a bootstrap over 2 speakers; changes \
are relative, on the same draws, and negative is better.
- Seed 1 of 2 is shown: that of the accent's adapter with the median dev WER.
- MAPSSWE: with a positive z the system makes fewer errors.
- base, accent, domain, accent+domain, accent:0.5+domain:0.5: `bash run.sh` (commit abc1234).
"""


def test_tables_and_results_json(local, scored, capsys):
    capsys.readouterr()
    local.compare.main(scored, scored.parent / "data", "test_orders", seeds=2)
    assert capsys.readouterr().out == (scored / "RESULTS.md").read_text() == EXPECTED
    page = scored.parent / "page.md"
    page.write_text("<!-- results exp/RESULTS.md -->\nnot run yet\n<!-- end of results -->\n")
    fill(page)
    assert EXPECTED in page.read_text()

    found = json.loads((scored / "results.json").read_text())
    assert [(one["name"], one["seed"], one["adapter"], one["wer"]) for one in found["systems"]] == [
        ("base", None, None, 0.6), ("accent", 1, "accent", 0.4), ("accent", 2, "accent", 0.4),
        ("domain", 1, "domain", 0.4), ("domain", 2, "domain", 0.4),
        ("sum", 1, "sum+", 0.2), ("sum", 2, "sum+", 0.4),
        ("half", 1, "half", 0.3), ("half", 2, "half", 0.3),
    ]  # fmt: skip
    pairs = {(one["system"], one["baseline"]): one for one in found["pairs"]}
    assert len(pairs) == 2 + 2 + 3 + 3 and pairs["sum", "domain"]["mapsswe"]["segments"] == 2
    with pytest.raises(UserError, match=r"accent_seed3/decode_greedy_test_orders/score.json: is not there"):
        local.compare.main(scored, scored.parent / "data", "test_orders", seeds=3)


def test_sentences_of_the_training_of_either_part(local, scored):
    """They are a warning in both files, and the others have a table: those of a-2 and b-1."""
    data = scored.parent / "data"
    for part, text in (("accent", "ONE two three four"), ("domain", "something else")):
        source = str(scored.parent / "a.wav")
        write_data_directory(data / part, [Utterance(f"{part}-1", part, f"{part}-1", source, text=text)])
    training = [data / "accent", data / "domain"]
    base = scored / "base/decode_greedy_test_orders"
    for folder in sorted(scored.glob("*/decode_greedy_test_orders")):
        scoring.main(data / "test_orders", folder, None if folder == base else base, training=training)
    local.compare.main(scored, data, "test_orders", seeds=2)
    warning = (
        "1 of 3 sentences of the test set occur in training: the 2 utterances with other sentences are "
        "scored separately too"
    )
    found = json.loads((scored / "results.json").read_text())
    assert found["warnings"] == [{"set": "test_orders", "system": None, "text": warning}]
    assert all(row["unseen_sentences"]["utterances"] == 2 for row in found["systems"])
    _, _, unseen, *rest = (scored / "RESULTS.md").read_text().split("\n\n")
    assert unseen.startswith("| test_orders, sentences not in training | WER % | against base % |")
    assert "\n| domain | 33.3 [0.0, 50.0] | -50.0 [-100.0, -33.3] | -33.3 [-100.0, +0.0] | – | " in unseen
    assert rest[0] == f"- **Warning:** {warning}."


def test_what_is_decoded_and_scored(tmp_path):
    """The commands of stage 7, but for what the recipes of the parts have decoded."""
    script = f"""
    set -euo pipefail
    cd {RECIPES}/../egs/accent_times_domain
    IA3_SPEECH_START_DIR={tmp_path} IA3_SPEECH_ROOT=/root
    . {RECIPES}/utils/stages.sh
    eval "$(sed -n '/^place()/p; /^combined()/,/^}}/p' run.sh)"
    work_dir=w suffix="" exp={tmp_path} data=data base=mini precision=no decode_opts="" pipes="" stop_stage=8
    step() {{ shift; "$@"; }}
    decode_cmd=printed score_cmd=printed
    printed() {{ echo "${{@:2}}" | sed "s,-m ia3_speech.,,; s,{tmp_path}/,,g"; }}
    for set in test_adults test_orders out_of_domain; do combined half 2 $set; done
    """
    (tmp_path / "half_seed2").mkdir()
    (tmp_path / "half_seed2/decode_greedy_test_adults").symlink_to(tmp_path)
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True)
    parts = [f"w/exp/{name}/ia3_plus_seed2/adapter:0.5" for name in ("speechocean762", "barista_orders")]
    trained = "--training w/data/speechocean762/train w/data/barista_orders/train"
    lines = []
    for name, options in (("test_orders", f"--cluster utterance {trained}"), ("out_of_domain", "")):
        folder = f"decode_greedy_{name}"
        lines.append(
            f"python decode --base mini --search greedy --adapter {'+'.join(parts)} --precision no "
            f"data/{name} half_seed2/{folder}"
        )
        lines.append(f"python score data/{name} half_seed2/{folder} {options} --baseline base/{folder}")
    lines[1] += " --terms terms_test_orders"
    lines[3] += " --cluster speaker"
    assert [line.split() for line in done.stdout.splitlines()] == [line.split() for line in lines], (
        done.stderr
    )
