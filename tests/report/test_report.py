"""The report: its files, its texts, its errors; nothing in the data becomes markup."""

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest

from ia3_speech.commands.report import main
from ia3_speech.commands.score import main as score
from ia3_speech.common.errors import UserError
from ia3_speech.data.utterance import Utterance
from ia3_speech.report.tables import embedded_audio, linked_audio, tables_folder
from tests.corpus_files import write_table
from tests.report.conftest import HEARD, add_extras, make_recipe


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
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match=r"notes\.txt: is in the way of the report's tables"):
        recipe.page(force=True)


def test_the_charts(tmp_path):
    """Many speakers are folded away below a chart; each chart's title has its numbers."""
    texts = {f"spk{n}-1": ("no fever", "know fever", "no fever") for n in range(20)}
    recipe = make_recipe(tmp_path, texts, sound=False)
    add_extras(recipe)
    page = recipe.page()
    text = Reading(page).text
    assert "Median of the seeds from 47.0 % with 1 minute to 32.0 % with 10 minutes" in text
    assert "scale 0.5: test 40.0 %, out-of-domain speech 25.6 %" in text
    assert all(f"layer {layer}, key: " in text for layer in (0, 1, 10))
    assert "20 speakers: 20 better (below the line), 0 equal, 0 worse" in text
    pictures = re.findall(r"<svg.*?</svg>", page, re.DOTALL)
    assert len(pictures) == 6 and all(ElementTree.fromstring(picture) is not None for picture in pictures)


def test_what_is_missing_or_does_not_belong_together_is_refused(recipe, tmp_path):
    other = make_recipe(tmp_path / "other", {"dan-1": ("no", "no", "no")}, sound=False)
    with pytest.raises(UserError, match=r"utterance ann-1 .* is not in it"):
        main(other.data, recipe.adapted)
    write_table(recipe.base / "text", dict.fromkeys(HEARD, "other words"))
    score(recipe.data, recipe.base, replications=10)
    with pytest.raises(UserError, match=r"was scored before .* changed"):
        recipe.page()
    (recipe.adapted / "score.json").unlink()
    with pytest.raises(UserError, match=r"score.json: is not there"):
        recipe.page()


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


def utterance(source, start=None, end=None, name="a"):
    return Utterance(name, "spk", name, str(source), start, end)


@pytest.mark.parametrize(
    "name, link",
    [
        ("a b#1?&.flac", "./audio/a%20b%231%3F%26.flac"),
        ("javascript:alert(1).ogg", "./audio/javascript%3Aalert%281%29.ogg"),
        ('"><script>.mp3', "./audio/%22%3E%3Cscript%3E.mp3"),
        ("ä.opus", "./audio/%C3%A4.opus"),
    ],
)
def test_links_are_quoted(tmp_path, name, link):
    file = tmp_path / "audio" / name
    file.parent.mkdir()
    file.write_bytes(b"")
    assert linked_audio([utterance(file)], tmp_path) == {"a": link}
    assert linked_audio([utterance(file)], tmp_path / "exp/x") == {"a": "../." + link}
    assert linked_audio([utterance(file, 1.5, 3.25)], tmp_path) == {"a": link + "#t=1.5,3.25"}


def test_pipes_run_only_where_allowed(tmp_path, caplog):
    touched = tmp_path / "touched"
    assert embedded_audio([utterance(f"touch {touched} |")]) == {}
    assert not touched.exists() and "is a shell command (pass `allow_pipes`" in caplog.text
