"""The page in a real browser: sorting, filters and players work, nothing runs that came with the data."""

import pytest

from tests.report.conftest import HEARD, HOSTILE, add_extras, make_recipe
from tests.report.webdriver import Browser, needs_browser

pytestmark = needs_browser

IDS = "return [...document.querySelectorAll('#utterance-rows tr > th')].map((cell) => cell.firstChild.data)"
FOUND = "return document.getElementById('utterance-found').textContent"
WORDS = "return [...document.querySelectorAll('#word-rows a')].map((link) => link.textContent)"


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    browser = Browser(tmp_path_factory.mktemp("profile"))
    yield browser
    browser.stop()


@pytest.fixture(scope="module")
def page(tmp_path_factory):
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


def test_sorting_and_filters(opened):
    """By speaker, by label, by change, by words of all texts."""
    natural = ["ann-1", "ann-2", "bob-1", "bob-2", "cat-9", "cat-10"]
    assert opened.run(IDS) == natural
    opened.click("#utterance-table button[data-key=id]")
    assert opened.run(IDS) == natural[::-1]
    head = "return document.querySelector('#utterance-table button[data-key=id]').closest('th').ariaSort"
    assert opened.run(head) == "descending"
    opened.choose("select[data-label=speaker]", "bob")
    assert opened.run(IDS) == ["bob-2", "bob-1"]
    assert opened.run(FOUND) == "2 of 6 utterances, 3 words, WER: base 33.3 %, ia3_plus_seed1 100.0 %"
    opened.click("#utterance-reset")
    opened.choose("#utterance-shown", "worse")
    assert sorted(opened.run(IDS)) == ["ann-1", "bob-1", "bob-2"]
    opened.click("#utterance-reset")
    opened.type("#utterance-search", "fever cough")
    assert opened.run(IDS) == ["cat-10"]


def test_words_are_filtered_and_lead_to_their_utterances(opened):
    """Those that hold the whole word, or the words of a term in their order."""
    assert opened.run(WORDS)[:2] == ["no", "metformin"]
    opened.choose("#word-shown", "terms")
    terms = ["atrial", "atrial fibrillation", "fever", "fibrillation", "metformin"]
    assert sorted(opened.run(WORDS)) == terms
    opened.choose("#utterance-shown", "worse")
    opened.click('#word-rows a[data-word="atrial fibrillation"]')
    assert opened.run(IDS) == ["ann-1"] and opened.run("return location.hash") == "#utterances"
    assert opened.run("return document.getElementById('utterance-search').value") == '"atrial fibrillation"'


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
    assert browser.complaints() == []
