"""Tables as CSV and Markdown, to the letter."""

from ia3_speech.scoring.table import Rate, Table, markdown_table

TABLE = Table(
    "rates",
    "Rates [95 % interval]",
    ["system", "WER %", "change %", "words"],
    [
        ["base", Rate(0.5), Rate(None, signed=True), 1234],
        ['the "a|b", 1*', Rate(0.415013, (0.3712, 0.450321)), Rate(-0.17, (-0.25, 0.01), signed=True), None],
    ],
)


def test_csv():
    """Full rates, an interval in two further columns, quoted as in RFC 4180, empty if missing."""
    assert TABLE.csv() == (
        "system,WER %,WER % low,WER % high,change %,change % low,change % high,words\n"
        "base,50.0000,,,,,,1234\n"
        '"the ""a|b"", 1*",41.5013,37.1200,45.0321,-17.0000,-25.0000,1.0000,\n'
    )


def test_markdown():
    assert TABLE.markdown == (
        "| system | WER % | change % | words |\n"
        "| --- | ---: | ---: | ---: |\n"
        "| base | 50.0 | – | 1,234 |\n"
        '| the "a\\|b", 1\\* | 41.5 [37.1, 45.0] | -17.0 [-25.0, +1.0] | – |\n'
    )
    assert markdown_table(["a"], []) == ""
