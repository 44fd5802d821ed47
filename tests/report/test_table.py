"""Tables as CSV and Markdown, to the letter, and the folder that the report writes them into."""

import csv

import pytest

from ia3_speech.cli import UserError
from ia3_speech.report.table import Rate, Table
from ia3_speech.report.table_files import named, tables_folder

TABLE = Table(
    "rates",
    "Rates [95 % interval]",
    ["system", "WER %", "change %", "words"],
    [
        ["base", Rate(0.5), Rate(None, signed=True), 1234],
        ['the "a|b", 1', Rate(0.415013, (0.3712, 0.450321)), Rate(-0.17, (-0.25, 0.01), signed=True), None],
    ],
)


def test_csv():
    """Full rates, an interval in two further columns, quoted as RFC 4180 has it, nothing where missing."""
    assert TABLE.csv() == (
        "system,WER %,WER % low,WER % high,change %,change % low,change % high,words\n"
        "base,50.0000,,,,,,1234\n"
        '"the ""a|b"", 1",41.5013,37.1200,45.0321,-17.0000,-25.0000,1.0000,\n'
    )


def test_markdown():
    assert TABLE.markdown() == (
        "Rates \\[95 % interval\\]\n"
        "\n"
        "| system | WER % | change % | words |\n"
        "| --- | ---: | ---: | ---: |\n"
        "| base | 50.0 | – | 1,234 |\n"
        '| the "a\\|b", 1 | 41.5 \\[37.1, 45.0\\] | −17.0 \\[−25.0, +1.0\\] | – |\n'
    )


def test_html_keeps_the_interval_apart():
    table = Table("t", "T", ["", "WER %"], [["<a>", Rate(0.5, (0.25, 0.75), style="open")]])
    assert table.html() == (
        '<div class="wide" tabindex="0" role="region" aria-label="T"><table><caption>T</caption>'
        '<thead><tr><th scope="col"></th><th scope="col">WER %</th></tr></thead><tbody><tr>'
        '<th scope="row">&lt;a&gt;</th><td class="number" data-head="WER %"><span>'
        '<span class="open">50.0</span><span class="bounds"> [25.0, 75.0]</span></span></td></tr></tbody>'
        "</table></div>"
    )


def test_a_change_has_a_true_minus_sign():
    assert Rate(-0.0567, (-0.1, 0.02), signed=True).shown == ("−5.7", "[−10.0, +2.0]")
    assert Rate(None, signed=True).shown == ("–", "")


def test_names_of_files_are_safe_and_different():
    tables = [Table(name, "", [], []) for name in ("systems_a", "by_../x y", "systems_A", "systems_a")]
    assert [name for name, _ in named(iter(tables))] == [
        *("systems_a", "by_.._x_y", "systems_A_2", "systems_a_3")
    ]  # fmt: skip


def test_the_report_writes_every_table(recipe):
    recipe.page()
    folder = tables_folder(recipe.adapted / "report.html")
    names = ["by_accent", "by_speaker", "error_rates", "utterances", "words"]
    assert sorted(path.name for path in folder.iterdir()) == [
        f"{name}{suffix}" for name in names for suffix in (".csv", ".md")
    ]
    with (folder / "utterances.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[2] == {
        "utterance": "bob-1",
        "speaker": "bob",
        "accent": "scottish",
        "seconds": "1.2",
        "words": "3",
        "base WER %": "33.3333",
        "ia3_seed1 WER %": "66.6667",
        "reference": "start metformin today",
        "base": "start met today",
        "ia3_seed1": "start metformin two day",
    }


def test_tables_that_are_gone_come_back_and_other_files_are_not_lost(recipe, capsys):
    recipe.page()
    capsys.readouterr()
    recipe.page()
    assert capsys.readouterr().out.endswith("up to date\n")
    folder = tables_folder(recipe.adapted / "report.html")
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    recipe.page()
    assert (folder / "words.csv").is_file()
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match=r"notes\.txt: is in the way of the report's tables"):
        recipe.page(force=True)
    assert (folder / "notes.txt").read_text() == "mine"
