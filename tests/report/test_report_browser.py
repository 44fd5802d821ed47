"""The page in a real browser: sorting, filters and players work, nothing runs that came with the data."""

from pathlib import Path

import pytest

from ia3_speech.commands.report import main
from tests.report.conftest import HEARD, HOSTILE, add_extras, add_searches, make_recipe
from tests.report.webdriver import Browser, found

pytestmark = pytest.mark.skipif(
    not all(found().values()),
    reason=f"no {' and no '.join(name for name, path in found().items() if not path)} on this machine "
    "(Debian: apt-get install chromium chromium-driver)",
)

IDS = "return [...document.querySelectorAll('#utterance-rows tr > th')].map((cell) => cell.firstChild.data)"
MANY = {
    f"spk{n % 30:02d}-{n:04d}": (
        "no fever today",
        "no fever to day" if n % 3 else "no fever today",
        "no fever",
    )
    for n in range(1, 2001)
}


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    browser = Browser(tmp_path_factory.mktemp("profile"))
    yield browser
    browser.stop()


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("recipe")
    (folder / "terms").write_text("atrial fibrillation\tdiagnosis\nmetformin\tdrug\nfever\tfinding\n")
    recipe = make_recipe(folder, HEARD, terms=folder / "terms")
    add_extras(recipe)
    recipe.page()
    return recipe.adapted / "report.html"


@pytest.fixture
def opened(browser, page) -> Browser:
    """The page, freshly loaded; afterwards the console must be empty."""
    browser.open(page)
    yield browser
    assert browser.complaints() == []


def column(browser: Browser, number: int) -> list[str]:
    script = f"return [...document.querySelectorAll('#utterance-rows td:nth-child({number})')]"
    return browser.run(f"{script}.map((cell) => cell.textContent)")


def test_sorting(opened):
    natural = ["ann-1", "ann-2", "bob-1", "bob-2", "cat-9", "cat-10"]
    assert opened.run(IDS) == natural
    opened.click("#utterance-table button[data-key=id]")
    assert opened.run(IDS) == natural[::-1]
    opened.click("#utterance-table button[data-key=seconds]")
    assert column(opened, 3) == ["1.0", "1.1", "1.2", "1.3", "1.4", "1.5"]
    head = "return document.querySelector('#utterance-table button[data-key=seconds]').closest('th').ariaSort"
    assert opened.run(head) == "ascending"
    opened.click("#utterance-table button[data-key=seconds]")
    assert column(opened, 3) == ["1.5", "1.4", "1.3", "1.2", "1.1", "1.0"]
    assert opened.run(head) == "descending"


def test_filters(opened):
    """By speaker, by label, by what changed, by words of all that was said and heard."""
    opened.choose("select[data-label=speaker]", "bob")
    assert opened.run(IDS) == ["bob-1", "bob-2"]
    found = "return document.getElementById('utterance-found').textContent"
    assert opened.run(found) == "2 of 6 utterances, 3 words, WER: base 33.3 %, ia3_plus_seed1 100.0 %"
    opened.choose("select[data-label=accent]", "welsh")
    assert opened.run(IDS) == []
    opened.click("#utterance-reset")
    opened.choose("select[data-label=accent]", "welsh")
    assert opened.run(IDS) == ["cat-9", "cat-10"]
    opened.click("#utterance-reset")
    for shown, ids in {
        "changed": ["ann-1", "ann-2", "bob-1", "bob-2", "cat-10"],
        "better": ["ann-2", "cat-10"],
        "worse": ["ann-1", "bob-1", "bob-2"],
        "wrong": ["ann-1", "ann-2", "bob-1", "bob-2", "cat-10"],
    }.items():
        opened.choose("#utterance-shown", shown)
        assert opened.run(IDS) == ids
    opened.click("#utterance-reset")
    for text, ids in {"METFORMIN": ["bob-1"], "know": ["ann-2"], "fever cough": ["cat-10"]}.items():
        opened.run("document.getElementById('utterance-search').value = ''")
        opened.type("#utterance-search", text)
        assert opened.run(IDS) == ids


def test_any_two_systems_can_be_compared(browser, tmp_path):
    recipe = make_recipe(tmp_path, HEARD)
    main(recipe.data, add_searches(recipe), out=tmp_path / "report.html")
    browser.open(tmp_path / "report.html")
    found = "return document.getElementById('utterance-found').textContent"
    compared = "ia3_plus_seed1 + LM 56.3 %, ia3_plus_seed1 + LM + hot words 37.5 %"
    assert browser.run(found).endswith(compared)
    browser.choose("select[data-system='0']", "0")
    browser.choose("select[data-system='1']", "2")
    assert browser.run(found).endswith("WER: base 31.3 %, base + LM 25.0 %")
    browser.choose("#utterance-shown", "better")
    assert browser.run(IDS) == ["ann-2"]
    heads = "return [...document.querySelectorAll('#utterance-table button[data-key^=wer]')]"
    heads += ".map((one) => one.textContent)"
    assert browser.run(heads) == ["base WER %", "base + LM WER %"]
    who = "return [...document.querySelectorAll('#utterance-rows .who')].map((one) => one.textContent)"
    assert browser.run(who) == ["reference", "base", "base + LM"]
    assert browser.complaints() == []


WORDS = "return [...document.querySelectorAll('#word-rows a')].map((link) => link.textContent)"


def test_words_are_sorted_filtered_and_coloured(opened):
    assert opened.run(WORDS)[:2] == ["no", "metformin"]
    opened.click("#word-table button[data-key=gain]")
    assert opened.run(WORDS)[-1] == "no"
    opened.choose("#word-shown", "terms")
    words = opened.run(WORDS)
    assert sorted(words) == ["atrial", "atrial fibrillation", "fever", "fibrillation", "metformin"]
    assert opened.run("return document.querySelectorAll('#word-rows a.term').length") == len(words)
    opened.choose("#word-shown", "worse")
    assert "fibrillation" in opened.run(WORDS) and "no" not in opened.run(WORDS)
    opened.click("#word-reset")
    opened.type("#word-search", "FIB")
    assert sorted(opened.run(WORDS)) == ["atrial fibrillation", "fibrillation"]


def test_a_word_leads_to_its_utterances(opened):
    """Those that hold the whole word, or the words of a term in their order."""
    opened.choose("#utterance-shown", "worse")
    for word, ids in {"no": ["ann-2", "cat-10"], "atrial fibrillation": ["ann-1"]}.items():
        opened.click(f'#word-rows a[data-word="{word}"]')
        assert opened.run(IDS) == ids
    assert opened.run("return location.hash") == "#utterances"
    assert opened.run("return document.getElementById('utterance-search').value") == '"atrial fibrillation"'


def test_alignments_are_marked(opened):
    marks = "return [...document.querySelectorAll('#utterance-rows .texts :is(ruby, del, ins)')]"
    opened.type("#utterance-search", "bob-1")
    assert opened.run(f"{marks}.map((mark) => [mark.tagName, mark.textContent])") == [
        ["RUBY", "metmetformin"],
        ["INS", "two"],
        ["RUBY", "daytoday"],
    ]


PLAY = """
  const player = document.querySelector("#utterance-rows audio");
  player.addEventListener("ended", () => done(["ended", player.duration]));
  player.addEventListener("error", () => done(["error", player.error.message]));
  player.play().catch((error) => done([String(error)]));
"""


def test_players_play_embedded_audio_of_a_page_that_was_moved(browser, tmp_path):
    recipe = make_recipe(tmp_path / "recipe", HEARD)
    page = tmp_path / "elsewhere/report.html"
    recipe.page(embed_audio=True, out=page)
    (tmp_path / "recipe").rename(tmp_path / "gone")
    browser.open(page)
    how, seconds = browser.wait(PLAY)
    assert (how, round(seconds, 2)) == ("ended", 1.0)
    assert browser.complaints() == []


def test_nothing_from_the_data_runs(browser, tmp_path):
    recipe = make_recipe(tmp_path, HOSTILE, normalize="none")
    recipe.page()
    browser.open(recipe.adapted / "report.html")
    assert len(browser.run(IDS)) == len(HOSTILE)
    assert browser.run("return window.attacked === undefined")
    elements = "document.querySelectorAll('main :is(img, script:not([type]), iframe)')"
    assert browser.run(f"return {elements}.length") == 0
    said = browser.run("return document.querySelector('.texts .reference').textContent")
    assert any(texts[0] in said for texts in HOSTILE.values())
    assert browser.complaints() == []


def test_thousands_of_utterances_come_a_page_at_a_time(browser, tmp_path):
    recipe = make_recipe(tmp_path, MANY, sound=False, replications=10)
    recipe.page()
    browser.open(recipe.adapted / "report.html")
    assert len(browser.run(IDS)) == 50
    position = "return document.getElementById('utterance-position').textContent"
    assert browser.run(position) == "Page 1 of 40"
    browser.click("#utterance-next")
    assert browser.run(position) == "Page 2 of 40"
    assert browser.run("return document.getElementById('utterance-previous').disabled") is False
    browser.choose("#utterance-page-size", "200")
    assert len(browser.run(IDS)) == 200
    browser.choose("select[data-label=speaker]", "spk07")
    assert (len(browser.run(IDS)), browser.run(position)) == (67, "Page 1 of 1")
    assert browser.complaints() == []
