"""The report: its files, its texts, its errors; nothing in the data becomes markup."""

import base64
import hashlib
import json
import re
import shutil
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest

from ia3_speech.commands.report import main
from ia3_speech.commands.score import main as score
from ia3_speech.errors import UserError
from ia3_speech.formatting import interval, percent
from ia3_speech.report.charts import has_cairo
from ia3_speech.report.tables import shown_cell, tables_folder
from ia3_speech.scoring.table import Rate
from tests.report.conftest import HEARD, HOSTILE, add_extras, make_recipe, write_table


class Reading(HTMLParser):
    """Every start tag with its attributes, and the text inside of each element."""

    def __init__(self, page: str):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.texts.append((self.tags[-1][0] if self.tags else "", data))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def text(self) -> str:
        """The visible texts, in order, with a space between the pieces."""
        return " ".join(" ".join(text.split()) for tag, text in self.texts if tag not in ("script", "style"))


def data_of(page: str) -> dict:
    """The utterances as page.js gets them."""
    return json.loads(re.search(r'id="utterance-data">(.*?)</script>', page, re.DOTALL)[1])


# ---- texts


def test_the_utterances(recipe):
    """Both alignments, as Kaldi's per_utt has them, in an exact form: page.js reads it."""
    data = data_of(recipe.page())
    assert data["systems"] == ["base", "ia3_plus_seed1"]
    assert data["labels"] == ["accent"]
    assert [row["id"] for row in data["rows"]] == list(HEARD)
    assert data["rows"][2] == {
        "id": "bob-1",
        "speaker": "bob",
        "labels": {"accent": "scottish"},
        "seconds": 1.2,
        "audio": "../../../data/test/audio/bob-1.wav",
        "alignments": [
            ["start", ["metformin", "met"], "today"],
            ["start", "metformin", [None, "two"], ["today", "day"]],
        ],
    }
    assert data["rows"][3]["alignments"] == [[], [[None, "uh"]]]  # nothing was said
    assert data["rows"][0]["alignments"][1][0] == ["the", None]  # nothing was heard


def test_the_numbers_are_those_of_score(recipe):
    scored = json.loads((recipe.adapted / "score.json").read_text())
    text = Reading(recipe.page()).text
    change = scored["changes"]["wer"]
    assert f"{percent(change['baseline'])} % → {percent(scored['wer'])} %" in text
    assert f"ia3_plus_seed1 {percent(scored['wer'])} {interval(scored['wer_ci'])}" in text
    relative = shown_cell(Rate(change["relative"], change["relative_ci"], signed=True))
    assert " ".join(relative[:2]) in text and relative[0].startswith("+")
    assert "Intervals: bootstrap over 3 speakers, 100 replicates, seed 0." in text
    assert "With only 3 speakers, the intervals are too narrow." in text
    segments = scored["mapsswe"]["segments"]
    assert f"Matched pairs test (MAPSSWE) of ia3_plus_seed1 against base: {segments} segments" in text
    assert "6 utterances of 3 speakers · 16 words · ia3_plus_seed1 compared with base" in text


@pytest.mark.parametrize(("speakers", "style"), [(3, "open"), (12, "better")])
def test_changes_of_few_speakers_are_not_coloured(tmp_path, speakers, style):
    texts = {f"s{n:02d}-1": ("a b c", "x y z", "a b c") for n in range(speakers)}
    page = make_recipe(tmp_path, texts, sound=False).page()
    classes = {span.get("class") for span in Reading(page).all("span")}
    assert f"pill {style}" in classes
    assert ("better" in classes) == (style == "better")
    assert ("coloured where the interval excludes 0" in page) == (style == "better")


def test_the_title_is_the_adapter_and_the_corpus(recipe):
    assert "<title>ia3_plus_seed1, tested on test</title>" in recipe.page()
    add_extras(recipe)
    file = recipe.exp / "ia3_plus_seed1/adapter/ia3_speech.json"
    record = {"labels": {}, "base": "mini", "training": {"data": "/home/ann/data/orders/train"}}
    file.write_text(json.dumps(record))
    assert "<title>IA³ adapter trained on orders, tested on test</title>" in recipe.page()
    file.write_text(json.dumps(record | {"labels": {"accent": "scottish"}}))
    assert "<title>IA³ adapter: accent scottish, tested on test</title>" in recipe.page()


def test_how_it_was_decoded(recipe):
    """decode.json of the base, and of a sum of adapters; decoded by another tool there is none."""
    record = {"command": "python -m x", "base": {"name": "mini", "sha256": "0123456789abcdef"}}
    record |= {"adapter": None, "audio_seconds": 6.0, "real_time_factor": 0.1, "device": "cpu"}
    record |= {"dtype": "float32", "versions": {"python": "3.11"}}
    (recipe.base / "decode.json").write_text(json.dumps(record))
    text = Reading(recipe.page()).text
    assert "base mini 0123456789ab adapter none audio 6 s, real-time factor 0.1" in " ".join(text.split())
    assert f"by another tool, into {recipe.adapted}" in text
    terms = [{"name": name, "sha256": "f" * 64, "weight": 0.5} for name in ("accent", "medical")]
    (recipe.adapted / "decode.json").write_text(
        json.dumps(record | {"adapter": {"name": "sum", "terms": terms}})
    )
    text = " ".join(Reading(recipe.page()).text.split())
    assert "adapter accent × 0.5 ffffffffffff medical × 0.5 ffffffffffff" in text


def test_tables_as_files_replace_their_own_and_no_others(recipe, capsys):
    recipe.page()
    folder = tables_folder(recipe.adapted / "report.html")
    names = ["by_accent", "by_speaker", "error_rates", "utterances", "words"]
    assert sorted(path.stem for path in folder.iterdir()) == names
    lines = (folder / "utterances.csv").read_text().splitlines()
    assert lines[0].startswith(
        "utterance,speaker,accent,seconds,words,base WER %,ia3_plus_seed1 WER %,reference"
    )
    assert lines[3].startswith("bob-1,bob,scottish,1.2,3,33.3333,66.6667,start metformin today,")
    by_label = json.loads((recipe.adapted / "score.json").read_text())["by_label"]
    rows = dict(line.split(",", 1) for line in (folder / "by_accent.csv").read_text().splitlines())
    assert f"{100 * by_label['accent']['scottish']['wer']:.4f}" in rows["scottish"]
    capsys.readouterr()
    recipe.page()
    assert capsys.readouterr().out.endswith("up to date\n")
    shutil.rmtree(folder)
    recipe.page()
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match=r"notes\.txt: is in the way of the report's tables"):
        recipe.page(force=True)
    (folder / "notes.txt").rename(folder / "mine.csv")
    folder.with_suffix(".html").unlink()  # then no report owns them
    with pytest.raises(UserError, match=r"mine\.csv: is in the way of the report's tables"):
        recipe.page(force=True)


def test_figures_and_their_numbers(tmp_path, capsys):
    """Each chart of the page as files, beside others; many speakers are folded away below one."""
    texts = {f"spk{n}-1": ("no fever", "know fever", "no fever") for n in range(20)}
    recipe, folder = make_recipe(tmp_path, texts, sound=False), tmp_path / "figures"
    add_extras(recipe)
    folder.mkdir()
    (folder / "mine.svg").write_text("")
    text = Reading(recipe.page(figures=folder)).text
    assert "epoch 3 with 42.00 %, the last epoch within one standard error of the lowest, 40.00 %" in text
    assert "Median of the seeds from 47.0 % with 1 minute to 32.0 % with 10 minutes" in text
    assert "scale 0.5: test 40.0 %, out-of-domain speech 25.6 %" in text
    assert all(f"layer {layer}, key: 5, 25, 50, 75 and 95 % lie below" in text for layer in (0, 1, 10))
    assert "20 values, median WER 0.0 %, from 0.0 to 0.0 %" in text
    assert "WER by speaker. 20 speakers: 20 better (below the line), 0 equal, 0 worse" in text
    names = {"wer_by_speaker", "training_loss", "dev_wer", "learning_curve", "trade_off", "vectors"}
    suffixes = (".svg", ".csv", ".pdf") if has_cairo() else (".svg", ".csv")
    written = {name + suffix for name in names for suffix in suffixes}
    assert {path.name for path in folder.iterdir()} == written | {"mine.svg"}
    for name in names:
        ElementTree.parse(folder / f"{name}.svg")
    for file in folder.glob("*.pdf"):
        assert file.read_bytes().startswith(b"%PDF")
    assert (folder / "dev_wer.csv").read_text().splitlines()[:2] == ["epoch,CTC loss,dev WER %", "0,,60.0000"]
    assert "spk7,1,2,50.0000,0.0000,-100.0000" in (folder / "wer_by_speaker.csv").read_text()
    assert (
        f"{folder}: 6 figures as SVG{' and PDF' if has_cairo() else '; PDF needs'}" in capsys.readouterr().out
    )
    legend = (folder / "learning_curve.svg").read_text()
    assert ">median of the seeds</text>" in legend and 'class="whisker"' in legend


# ---- errors


def test_what_is_missing_or_does_not_belong_together_is_refused_with_a_hint(recipe, tmp_path):
    with pytest.raises(UserError, match="there is no such file or folder"):
        recipe.page(training=tmp_path / "none.jsonl")
    with pytest.raises(UserError, match=r"was scored without a baseline \(run .* --baseline"):
        main(recipe.data, recipe.base, baseline=recipe.adapted)
    other = make_recipe(tmp_path / "other", {"dan-1": ("no", "no", "no")}, sound=False)
    with pytest.raises(UserError, match=r"utterance ann-1 .* is not in it \(is it the right set\?\)"):
        main(other.data, recipe.adapted)
    (recipe.data / "utt2ward").write_text("".join(f"{name} icu\n" for name in HEARD))
    score(recipe.data, recipe.adapted, baseline=recipe.base, replications=10)
    with pytest.raises(UserError, match=r"or by other labels \(run .*score"):
        recipe.page()
    write_table(recipe.base / "text", dict.fromkeys(HEARD, "other words"))
    score(recipe.data, recipe.base, replications=10)
    with pytest.raises(UserError, match=r"was scored before .* changed"):
        recipe.page()
    (recipe.adapted / "score.json").unlink()
    with pytest.raises(UserError, match=r'score.json: is not there \(run "ia3-speech score DATA'):
        recipe.page()


@pytest.mark.parametrize(
    "name, text, message",
    [
        ("curve.json", "{", "is not JSON"),
        ("curve.json", '{"points": []}', "is not in its format: IndexError"),
        (
            "trade_off.json",
            '{"points": [{"setting": "scale", "wer": 0.3}]}',
            "is not in its format: KeyError('value')",
        ),
        (
            "ia3_plus_seed1/metrics.jsonl",
            '{"epoch": 1, "loss": 1}',
            "is not in its format: KeyError('dev_wer')",
        ),
    ],
)
def test_damaged_files_are_named(recipe, name, text, message):
    add_extras(recipe)
    (recipe.exp / name).write_text(text)
    with pytest.raises(UserError, match=re.escape(name) + ".*" + re.escape(message)):
        recipe.page()


# ---- hostile data


def test_hostile_texts_and_names_stay_text(tmp_path):
    """A reference, an id, a label with markup in it: shown, never a tag, never a script."""
    recipe = make_recipe(tmp_path, HOSTILE, normalize="none")
    page = recipe.page()
    reading = Reading(page)
    assert len(reading.all("script")) == 3  # the utterances and words as JSON, and ours
    assert {tag for tag, _ in reading.tags}.isdisjoint(
        {"img", "iframe", "object", "embed", "textarea", "form"}
    )
    assert not [name for _, attributes in reading.tags for name in attributes if name.startswith("on")]
    rows = {row["id"]: row for row in data_of(page)["rows"]}
    reference = [pair[0] if isinstance(pair, list) else pair for pair in rows["<b>ann-1"]["alignments"][0]]
    assert " ".join(word for word in reference if word) == HOSTILE["<b>ann-1"][0]
    assert ("a", "<b>ann") in reading.texts


def test_nothing_is_fetched(recipe):
    """No address but places in the page, data and audio files; and a policy that says so."""
    add_extras(recipe)
    page = recipe.page().replace("http://www.w3.org/2000/svg", "")  # the name of a language
    reading = Reading(page)
    addresses = [
        value for _, found in reading.tags for key, value in found.items() if key in ("href", "src", "action")
    ]
    assert addresses and all(address.startswith(("#", "data:")) for address in addresses)
    assert not re.search(r"https?:|@import|url\(", page)
    policy = next(meta["content"] for meta in reading.all("meta") if "http-equiv" in meta)
    script = page[page.rindex("<script>") + len("<script>") : page.rindex("</script>")]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy == (
        f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; img-src data:; "
        "media-src 'self' file: data:; base-uri 'none'; form-action 'none'"
    )
