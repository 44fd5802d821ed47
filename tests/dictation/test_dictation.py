"""Dictation: what can be read in two ways stays in words, and what is written reads as it was spoken."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from num2words import num2words

from ia3_speech.decoding.segments import make_segments, written_text
from ia3_speech.decoding.transcript import Word
from ia3_speech.dictation import make_dictation
from ia3_speech.dictation.grammar import read_grammar

DICTATION = make_dictation()

# What an attack on the first grammar found: each was written as something else; some would harm a patient.
ATTACKS = {
    "covid test negative ten days ago": "Covid test negative ten days ago",
    "o negative two units of blood": "O negative 2 units of blood",
    "start a point five milligram dose": "Start a point five milligram dose",
    "tenderness at mcburney's point five centimetres": "Tenderness at mcburney's point five centimetres",
    "in january the second dose was given": "In January the second dose was given",
    "heart rate around one ten": "Heart rate around one ten",
    "infuse one hundred over sixty minutes": "Infuse one hundred over sixty minutes",
    "hepatitis a and e": "Hepatitis a and e",
    "the follow up period was uneventful": "The follow up period was uneventful",
    "perforated colon": "Perforated colon",
}
WRITTEN = {
    "no fever full stop increase metformin to five hundred milligrams twice a day new paragraph review in "
    "two weeks": "No fever. Increase metformin to 500 mg twice a day\n\nReview in two weeks",
    "is it sore question mark i think so": "Is it sore? I think so",
    "open bracket see below close bracket full stop": "(See below).",
    "open quote fine close quote full stop i'm well": "“Fine”. I'm well",
    "a four-point- restraint": "A four-point- restraint",
    "zero point one two five milligrams": "0.125 mg",
    "a two hundred and fifty milligram tablet": "A 250 mg tablet",
    "five hundred thousand units": "500,000 units",
    "five micrograms per kilogram per minute": "5 mcg/kg/min",
    "sodium one hundred and thirty eight millimoles per litre": "Sodium 138 mmol/L",
    "sats ninety eight per cent on air": "Sats 98% on air",
    "minus five degrees celsius": "-5 °C",
    "temperature thirty eight point five degrees full stop": "Temperature 38.5 degrees.",
    "blood pressure one hundred and thirty over eighty and pulse ten":
        "Blood pressure 130/80 and pulse ten",
    "b p is one hundred twenty over eighty millimetres of mercury": "B p is 120/80 mmHg",
    "bp was ninety over sixty on monday": "Bp was 90/60 on Monday",
    "infuse at one hundred and twenty five millilitres per hour": "Infuse at 125 mL/h",
    "zero full stop five milligrams": "Zero. Five milligrams",
}  # fmt: skip
# Each stays as it is, but for a capital and for what follows the arrow.
UNTOUCHED = """
one to two hundred milligrams
take two five hundred milligram tablets
dispense one hundred five milligram tablets
two and a half milligrams
one point zero milligrams
five comma two milligrams
vitamin d three thousand units
in two thousand five milligrams were given
grew five gram negative rods
blood pressure ten over twenty
blood pressure one ninety over sixty
came to a full stop
the second one in a two week period
march second at ten thirty a m in twenty twenty four
grade two j eighteen point nine room one oh one
no comma shaped bacilli
five, hundred milligrams
""".strip().splitlines()


EXPECTED = ATTACKS | WRITTEN | {text: text[0].upper() + text[1:] for text in UNTOUCHED}


SYMBOLS = {
    "%": "percent", "kg": "kilogram", "g": "gram", "mg": "milligram", "mcg": "microgram", "ng": "nanogram",
    "L": "liter", "dL": "deciliter", "mL": "milliliter", "m": "meter", "cm": "centimeter",
    "mm": "millimeter", "mmHg": "millimeter of mercury", "mmol": "millimole", "mEq": "milliequivalent",
    "kPa": "kilopascal", "kcal": "kilocalorie", "bpm": "beat per minute", "°C": "degree celsius",
    "°F": "degree fahrenheit", "min": "minute", "h": "hour",
}  # fmt: skip
MARKS = {
    ".": "full stop", "?": "question mark", "!": "exclamation mark", ",": "comma", ":": "colon",
    ";": "semicolon", "(": "open bracket", ")": "close bracket", "[": "open square bracket", "-": "hyphen",
    "]": "close square bracket", "“": "open quote", "”": "close quote", "/": "slash", "–": "dash",
    "\n": "new line",
}  # fmt: skip
SYNONYMS = [
    ("period", "full stop"), ("exclamation point", "exclamation mark"), ("parenthesis", "bracket"),
    ("brackets", "bracket"), ("quotes", "quote"), ("forward slash", "slash"), ("semi colon", "semicolon"),
    ("newline", "new line"), ("next line", "new line"), ("(?:new|next) paragraph", "new line new line"),
    ("hyphen", ""), ("nought|naught", "zero"), ("per cent", "percent"),
    ("degrees? centigrade", "degree celsius"),
    (r"(\w*)(lit|met)re(s?)", r"\1\2er\3"), (r"(\w*gram)me(s?)", r"\1\2"),
    (r"(\w*(?:gram|liter|meter|mole|equivalent|pascal|calorie)|degree|beat|unit)s", r"\1"),
]  # fmt: skip
UNIT = "|".join(sorted(SYMBOLS, key=len, reverse=True))
NUMBER = r"\d+(?:,\d\d\d)*(?:\.\d+)?"
READ = re.compile(
    rf"(?P<pressure>\d+/\d+)(?: (?P<mercury>mmHg))?|(?P<sign>(?<![\w])-)?(?P<number>{NUMBER})"
    rf"(?: ?(?P<units>(?:{UNIT})(?:/(?:{UNIT}))*)(?!\w))?|(?P<mark>[.?!,:;()\[\]“”/\n–-])"
)


def in_words(number: str) -> str:
    whole, _, decimals = number.replace(",", "").partition(".")
    words = num2words(int(whole)).replace(",", "").replace("-", " ")
    return words + (" point " + " ".join(num2words(int(digit)) for digit in decimals) if decimals else "")


def read_aloud(written: str) -> str:
    """The words of a written text: an independent reader, by num2words."""

    def words(match: re.Match) -> str:
        if match["mark"]:
            return f" {MARKS[match['mark']]} "
        if match["pressure"]:
            pressure = " over ".join(map(in_words, match["pressure"].split("/")))
            return f" {pressure} {SYMBOLS[match['mercury']] if match['mercury'] else ''} "
        units = " per ".join(SYMBOLS[unit] for unit in match["units"].split("/")) if match["units"] else ""
        return f" {'minus' if match['sign'] else ''} {in_words(match['number'])} {units} "

    return READ.sub(words, re.sub(r"(?<=\w)-(?=[^\W\d])", " ", written)).lower()


def canonical(words: str) -> str:
    """Words without what is spoken in several ways: period or full stop, litre or liter, hundred and one."""
    words = " ".join(words.lower().replace("-", " ").split())
    for spoken, standard in SYNONYMS:
        words = re.sub(rf"(?<![\w'])(?:{spoken})(?![\w'])", standard, words)
    words = re.sub(
        r"\b(hundred|thousand|million) and (?=(?:\w+t(?:een|y)|[a-z]{3,5}|eleven|twelve)\b)", r"\1 ", words
    )
    return re.sub("^(?:new line ?)+|(?: ?new line)+$", "", " ".join(words.split()))


def timed(words: list[str], pauses: list[int]) -> list[Word]:
    """Words of 0.4 s, with 0, 0.4 or 0.8 s before each."""
    timed_words, now = [], 0.0
    for word, pause in zip(words, pauses, strict=False):
        now = round(now + 0.4 * pause, 3)
        timed_words.append(Word(word, now, round(now + 0.4, 3), 1.0))
        now = round(now + 0.4, 3)
    return timed_words


GRAMMAR = read_grammar()
NUMBERS = [
    *(num2words(n) for n in (*range(20), *range(20, 100, 10))), "hundred", "thousand", "million", "and",
    "point", "oh", "nought", "a", "half", "second", "third", "double", "twenty-five",
]  # fmt: skip
FORMS = [form for forms in GRAMMAR.units.values() for form in forms] + [*GRAMMAR.counted]
COMMANDS = [*GRAMMAR.commands, *GRAMMAR.between_pauses]
CONTEXT = [
    *GRAMMAR.connectives, *GRAMMAR.labels, *GRAMMAR.blood_pressure, *GRAMMAR.no_unit, *GRAMMAR.per, "minus",
    "negative", "vitamin d", "i", "i'm", "monday", "tablets", "minutes", "days", "mcburney's", "aspirin",
    "is", "was",
]  # fmt: skip
SENTENCES = st.sampled_from(sorted(EXPECTED))
PART = st.one_of(*map(st.sampled_from, (NUMBERS, NUMBERS, FORMS, COMMANDS, CONTEXT)), SENTENCES)
SOUP = st.lists(PART, min_size=1, max_size=25).map(lambda parts: " ".join(parts).replace(",", "").split())
PAUSES = st.randoms(use_true_random=False).map(lambda rng: rng.choices([0, 0, 0, 1, 2], k=500))


@pytest.mark.parametrize(("spoken", "written"), EXPECTED.items())
def test_sentences_are_written_and_read_as_they_were_spoken(spoken, written):
    assert DICTATION.write(spoken) == written
    assert canonical(read_aloud(written)) == canonical(spoken) or "," in spoken


@settings(max_examples=60)
@given(SOUP, PAUSES)
def test_anything_reads_as_it_was_spoken(words, pauses):
    written = written_text(timed(words, pauses), DICTATION)
    assert canonical(read_aloud(written)) == canonical(" ".join(words))


def with_bars(text: str) -> list[Word]:
    """Words with a pause of 0.8 s at each bar, and one of 0.4 s at each apostrophe that stands alone."""
    words, pauses = [], []
    for part in text.replace("|", "2").replace(" ' ", " 1 ").split():
        if part in "12":
            pauses.append(int(part))
        else:
            pauses += [0] * (len(words) == len(pauses))
            words.append(part)
    return timed(words, pauses)


@pytest.mark.parametrize(
    ("spoken", "segments"),
    [
        ("no fever | full stop the dose is five hundred | milligrams",
         {"no fever full stop": "No fever.", "the dose is five hundred milligrams": "The dose is 500 mg"}),
        ("no fever comma ' no cough ' comma rest", {"no fever comma no cough comma rest":
                                                    "No fever comma no cough comma rest"}),
        ("plan | colon | new line | rest | period", {"plan colon new line": "Plan:", "rest period": "Rest."}),
        ("fever | open bracket | mild | close bracket", {"fever": "Fever",
                                                         "open bracket mild close bracket": "(mild)"}),
        ("blood pressure | ninety | over sixty", {"blood pressure": "Blood pressure",
                                                  "ninety over sixty": "90/60"}),
    ],
)  # fmt: skip
def test_pauses_and_segments(spoken, segments):
    words = with_bars(spoken)
    result = list(make_segments(words, DICTATION))
    assert {segment.raw_text: segment.text for segment in result} == segments
    assert [word for segment in result for word in segment.words] == (words if segments else [])
    assert all((s.start, s.end) == (s.words[0].start, s.words[-1].end) for s in result)


@settings(max_examples=40)
@given(SOUP, PAUSES, st.data())
def test_pieces_and_segments_joined_are_the_whole_text(words, pauses, data):
    words = timed(words, pauses)
    whole = written_text(words, DICTATION)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(words)), max_size=6)))
    writer, pieces = DICTATION.start(), []
    for first, end in zip([0, *cuts], [*cuts, None], strict=True):
        pieces += writer.add(words[first:end])
    pieces += writer.finish()
    assert "".join(piece.text for piece in pieces).strip() == whole
    assert [piece.first for piece in pieces] == [0, *(piece.end for piece in pieces[:-1])]
    assert pieces[-1].end == len(words)
    segments = list(make_segments(iter(words), DICTATION))
    assert [word for segment in segments for word in segment.words] == (words if whole else [])
    for segment in segments:
        assert segment.text and whole.startswith(segment.text)
        whole = whole.removeprefix(segment.text).lstrip()
    assert not whole


def test_rules_of_the_user(tmp_path):
    rules = tmp_path / "clinic.yaml"
    rules.write_text(
        "rules: {a and e: A&E, 'grade {number}': 'grade {number}', '{number} dollars': '${number}'}\n"
        "commands: {comma: ','}\n"
        "units: {mCi: [millicuries]}\n"
        "counted: [weeks]\n"
        "names: [van der Berg, no]\n"
    )
    write = make_dictation(rules).write
    spoken = "seen in a and e by van der berg comma grade two full stop now five millicuries in twelve weeks"
    assert write(spoken) == "Seen in A&E by van der Berg, grade 2. Now 5 mCi in 12 weeks"
    assert write("grade two fifty costs thirty dollars") == "Grade two fifty costs $30"
    assert write("one or two hundred dollars five hundred milligrams") == (
        "One or two hundred dollars 500 mg"
    )


@pytest.mark.parametrize(
    ("off", "written"),
    [
        ("commands", "On Monday 5 mg full stop blood pressure 120/80 new paragraph yes"),
        ("numbers", "On Monday five milligrams. Blood pressure one hundred and twenty over eighty\n\nYes"),
        ("names, New Paragraph", "On monday 5 mg. Blood pressure 120/80 new paragraph yes"),
    ],
)
def test_parts_switched_off(off, written):
    spoken = "on monday five milligrams full stop blood pressure one hundred and twenty over eighty"
    assert make_dictation(off=off).write(f"{spoken} new paragraph yes") == written


def test_the_command(run_command, tmp_path):
    notes = tmp_path / "notes.txt"
    notes.write_text("no fever full stop five grams\n\nyes new paragraph no\n")
    done = run_command("dictation", "--raw", notes)
    assert done.out == "no fever full stop five grams\tNo fever. 5 g\n\t\nyes new paragraph no\tYes⏎⏎No\n"
    assert "not UTF-8" in run_command("dictation", stdin="café full stop\n".encode("latin-1")).err
    assert "'perod'" in run_command("dictation", notes, "--dictation-off", "perod").err
