"""Dictation: spoken text to written text, by the packaged grammar and by one's own."""

import re
import sys

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ia3_speech.cli import UserError, command
from ia3_speech.data.numbers_in_words import UNITS, verbalize_numbers
from ia3_speech.data.text import normalize
from ia3_speech.decoding.segments import make_segments
from ia3_speech.decoding.transcript import TranscriptSegment, Word
from ia3_speech.dictation import DictationOptions, main
from ia3_speech.dictation.edits import Replacement, Tracked
from ia3_speech.dictation.grammar import PACKAGED_GRAMMAR, RULES, read_grammar
from ia3_speech.dictation.spoken_numbers import read_number, read_year

WRITE = DictationOptions().formatter()
COMMANDS = {
    "patient has no fever comma no cough full stop new line blood pressure one twenty over eighty period":
        "Patient has no fever, no cough.\nBlood pressure 120/80.",
    "i like grapes comma apples comma and oranges new paragraph they are good":
        "I like grapes, apples, and oranges\n\nThey are good",
    "open bracket see below close bracket comma then": "(See below), then",
    "medications colon metformin semicolon aspirin": "Medications: metformin; aspirin",
    "what time is it question mark I said": "What time is it? I said",
    "follow hyphen up in two weeks": "Follow-up in 2 weeks",
    "yes slash no": "Yes/no",
    "open quote fine close quote full stop": "“Fine”.",
    "open quotation mark fine close quotation mark comma he said": "“Fine”, he said",
    "Really Question Mark": "Really?",
    "twelve comma thirteen": "12, 13",
    # a recogniser that writes punctuation itself
    "Hello there. New line. World is big.": "Hello there.\nWorld is big.",
    "Is it sore question mark?": "Is it sore?",
    "I like grapes, comma, apples.": "I like grapes, apples.",
    # plain words
    "for a period of three weeks": "For a period of 3 weeks",
    "the grace period expires in thirty days": "The grace period expires in 30 days",
    "she had her period": "She had her period",
    "a two week period": "A 2 week period",
    "twice a day period has had a fall": "Twice a day. Has had a fall",
    "over the four year period taxes fell": "Over the 4 year period taxes fell",
    "period stopped last week": "Period stopped last week",
    "periods are regular": "Periods are regular",
    "a comma butterfly full stop": "A comma butterfly.",
    "the oxford comma": "The oxford comma",
    "comma-separated and commas": "Comma-separated and commas",
    "no history of colon cancer period": "No history of colon cancer.",
    "in the sigmoid colon comma no mass": "In the sigmoid colon, no mass",
    "came to a full stop": "Came to a full stop",
    "a new line of treatment": "A new line of treatment",
    "a dash of milk": "A dash of milk",
    # tags of a recogniser, as users saw them
    "{next} line} no fever {period} he said {comma} yes": "No fever. He said, yes",
    "no fever {next line cough": "No fever\nCough",
    "no fever next line} cough": "No fever\nCough",
    "no fever xt line} cough {next} para}graph} done": "No fever\nCough\n\nDone",
    "for a {period} of": "For a. Of",
    "no {unclear} fever": "No unclear fever",
}  # fmt: skip
NUMBERS = {
    "five hundred milligrams twice a day": "500 mg twice a day",
    "nought point five milligrams": "0.5 mg",
    "zero point one two five milligrams": "0.125 mg",
    "oh point five milligrams": "0.5 mg",
    "give point five milligrams": "Give 0.5 mg",
    "at this point five milligrams was given": "At this point 5 mg was given",
    "one hundred and fifty micrograms per kilogram": "150 mcg/kg",
    "five micrograms per kilogram per minute": "5 mcg/kg/min",
    "one thousand units of heparin": "1,000 units of heparin",
    "vitamin d five thousand units": "Vitamin D 5,000 units",
    "twenty-five milligrams": "25 mg",
    "500 milligrams": "500 mg",
    "7 point 5 milligrams": "7.5 mg",
    "a hundred milligrams": "100 mg",
    "two and a half tablets": "2½ tablets",
    "take one or two tablets every four to six hours": "Take 1 or 2 tablets every 4 to 6 hours",
    "five to ten milligrams": "5 to 10 mg",
    "five hyphen ten milligrams": "5-10 mg",
    "a fifty six year old man": "A 56-year-old man",
    "two year olds": "2-year-olds",
    "seventy years old": "70 years old",
    "between two and three weeks": "Between 2 and 3 weeks",
    "one in one thousand": "1 in 1,000",
    "seven out of ten": "7 out of 10",
    "thirty eight point five degrees": "38.5 °C",
    "temperature thirty seven degrees": "Temperature 37 °C",
    "temp is one hundred and one point five degrees": "Temp is 101.5 °F",
    "ninety eight point six degrees fahrenheit": "98.6 °F",
    "flexion to thirty five degrees": "Flexion to 35°",
    "flexion to ninety degrees": "Flexion to 90°",
    "sats ninety eight percent": "Sats 98%",
    "heart rate seventy two beats per minute": "Heart rate 72 bpm",
    "one twenty over eighty": "120/80",
    "one hundred and twenty over eighty": "120/80",
    "one oh five over sixty": "105/60",
    "one twenty five slash eighty": "125/80",
    "one hundred twenty slash eighty": "120/80",
    "five hundred slash one hundred twenty five milligrams": "500/125 mg",
    "strength five slash five": "Strength 5/5",
    "vision twenty over forty": "Vision 20/40",
    "left eye six over nine": "Left eye 6/9",
    "grade three over six murmur": "Grade 3/6 murmur",
    "sodium one hundred and thirty eight millimoles per litre": "Sodium 138 mmol/L",
    "two by two centimetres": "2 × 2 cm",
    "two hundred fifty dollars": "$250",
    "one hundred and seventy million people": "170 million people",
    "one point five million": "1.5 million",
    "a thousand two hundred patients": "1,200 patients",
    "minus five degrees celsius": "-5 °C",
    "call five five five one two three four": "Call 5551234",
    "call five five five hyphen one two three four": "Call 555-1234",
    # dates and times
    "the third of march twenty twenty four": "3 March 2024",
    "march third nineteen ninety nine": "March 3, 1999",
    "second of may two thousand and five": "2 May 2005",
    "march third comma twenty twenty one": "March 3, 2021",
    "in march comma twenty twenty four": "In March 2024",
    "on march third comma twenty patients came": "On March 3, 20 patients came",
    "the third of march comma two thousand people": "3 March, 2000 people",
    "three slash four slash twenty twenty": "3/4/2020",
    "on the twelfth of april": "On 12 April",
    "april ten milligrams": "April 10 mg",
    "may second guess": "May second guess",
    "march two by two": "March two by two",
    "in twenty fifteen": "In 2015",
    "in the nineteen fifties": "In the 1950s",
    "since nineteen eighty two": "Since 1982",
    "ten thirty a m": "10:30 am",
    "three p m": "3 pm",
    "at six forty five": "At 6:45",
    "fourteen hundred hours": "14:00",
    "oh eight hundred hours": "08:00",
    "at fourteen thirty hours": "At 14:30",
    "half past three": "Half past three",
    "ten to three": "Ten to three",
    # codes and letters
    "j eighteen point nine": "J18.9",
    "i c d ten code e eleven point six five": "ICD 10 code E11.65",
    "code i ten": "Code I10",
    "l four l five": "L4 L5",
    "l four slash l five": "L4/L5",
    "l five hyphen s one": "L5-S1",
    "c five slash six": "C5/6",
    "a t twelve fracture": "A T12 fracture",
    "a one c": "A1c",
    "vitamin b twelve": "Vitamin B12",
    "hepatitis b two weeks ago": "Hepatitis B 2 weeks ago",
    "a g p review": "A GP review",
    "an e c g and a c t scan": "An ECG and a CT scan",
    "p h seven point four": "pH 7.4",
    "type two diabetes": "Type 2 diabetes",
    "article six of the convention": "Article 6 of the convention",
}
UNCHANGED = [
    "two by two", "one of them said no one knows", "the second one", "wait a second", "second opinion",
    "one day", "one third of a cup", "three quarters of a tablet", "second degree burn", "first line",
    "to two too", "one two three", "twenty twenty vision",
    "in this section one finds", "one year old", "for twenty twenty four hours", "one-on-one",
    "the five-s rule",
    # can be read in two ways
    "two fifty milligrams", "two fifty milligram tablets", "one to two hundred milligrams",
    "ten or fifteen thousand", "one hundred and two fifty milligrams", "room one oh one",
]  # fmt: skip


def capitalized(text: str) -> str:
    return text[0].upper() + text[1:]


@pytest.mark.parametrize(
    ("spoken", "written"),
    [
        *COMMANDS.items(),
        *(
            (spoken, capitalized(written) if written[:2] != "pH" else written)
            for spoken, written in NUMBERS.items()
        ),
        *((text, capitalized(text)) for text in UNCHANGED),
    ],
)
def test_written(spoken, written):
    assert WRITE(spoken) == written
    assert WRITE(written) == written


@pytest.mark.parametrize(
    ("spoken", "written"),
    [
        ("the twenty first century", "The 21st century"),
        ("his eleventh birthday", "His 11th birthday"),
        ("the one hundred and second", "The 102nd"),
        ("the thirty second week", "The 32nd week"),
        ("a thirty second hold", "A 30 second hold"),
        ("thirty seconds", "30 seconds"),
        ("a thirty second", "A 30 second"),
        ("the first and the ninth", "The first and the ninth"),
    ],
)
def test_ordinals_and_seconds(spoken, written):
    assert WRITE(spoken) == written


def test_capitals(tmp_path):
    names = tmp_path / "names.txt"
    names.write_text("# staff\nO'Neill\nvan der Berg\nSmith\n\nHbA1c\n", "utf-8")
    write = DictationOptions(dictation_names=names).formatter()
    spoken = (
        "seen by dr smith's team full stop o'neill and van der berg said i'm well i think period smithson"
    )
    assert (
        write(spoken) == "Seen by Dr Smith's team. O'Neill and van der Berg said I'm well I think. Smithson"
    )
    assert write("hba1c on monday") == "HbA1c on Monday"
    assert write("mr. smith e.g. chest. there") == "Mr. Smith e.g. chest. There"
    assert write("ph full stop mg full stop ok") == "Ph. mg. Ok"  # a symbol of a unit keeps its case


# ---- properties

OTHER_PARTS = """
a b c g i l m o p x °C % ½ 5 0.5 1,000 2024 120/80 38.5 $5 e.g. mg mL point over to or by and in out_of past
o'clock minus per degrees celsius dollars half {next} line} xt_line} {period } { march may june one two three
nine ten twelve nineteen twenty fifty zero nought oh hundred thousand million first second third twentieth
twenties seconds the i'm it's temperature , . ? ( ) - – “ ... re-check
"""
GRAMMAR = read_grammar()
DOSE_UNITS = sorted({*GRAMMAR.units} & {*UNITS})
PARTS = sorted(
    {phrase for one in GRAMMAR.commands for phrase in one.say}
    | {word for one in GRAMMAR.commands for phrase in one.not_after for word in phrase.split()}
    | {form for forms in GRAMMAR.units.values() for form in forms}
    | {*GRAMMAR.counted_words, *GRAMMAR.labels, *GRAMMAR.codes, *GRAMMAR.phrases, "\n", "\n\n"}
    | {part.replace("_", " ") for part in OTHER_PARTS.split()}
)
dictated = st.lists(st.tuples(st.sampled_from(PARTS), st.sampled_from([" ", " ", " ", " ", ""])), max_size=12)


@settings(max_examples=400, deadline=None)
@given(dictated.map(lambda parts: "".join(word + blank for word, blank in parts)))
def test_writing_twice_is_writing_once(text):
    written = WRITE(text)
    assert WRITE(written) == written


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=40))
@example("ǅ. ß. ﬁn. İ")
@example("\x1c.\x85 {")
def test_any_text_is_written_once(text):
    written = WRITE(text)
    assert WRITE(written) == written


@settings(max_examples=40, deadline=None)
@given(dictated.map(lambda parts: " ".join(word for word, _ in parts)), st.data())
def test_without_rules_text_is_only_tidied(text, data):
    assert DictationOptions(dictation_off=",".join(RULES)).formatter()(text) == re.sub(
        r"\n{3,}", "\n\n", "\n".join(" ".join(line.split()) for line in text.split("\n"))
    ).strip("\n")
    off = data.draw(st.lists(st.sampled_from(RULES), unique=True, max_size=4))
    write = DictationOptions(dictation_off=",".join(off)).formatter()
    assert write(write(text)) == write(text)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 10**9 - 1), st.sampled_from(["", ".5", ".05", ".125", ".40"]))
def test_what_numbers_py_spells_is_read_again(value, decimals):
    words = verbalize_numbers(f"{value}{decimals}").split()
    found = read_number(words, 0)
    if not decimals and 1900 <= value < 2100:  # spelled as a year
        assert read_year(words, 0) == (value, len(words))
    else:
        assert (found.value, found.end) == (float(f"{value}{decimals}"), len(words))


@settings(max_examples=300, deadline=None)
@given(
    st.integers(2, 9999),
    st.sampled_from(["", ".5", ".25"]),
    st.sampled_from(DOSE_UNITS),
)
def test_doses_survive_the_way_to_words_and_back(value, decimals, unit):
    blank = "" if unit == "%" else " "
    written = f"Give {value:,}{decimals}{blank}{unit} now"
    assert WRITE(normalize(verbalize_numbers(written))) == written


def test_clinical_notes_come_back(shared_data):
    """What real notes are written as is, spelled out again, what was said."""
    respelled = {"GP": "g p", "A&E": "a and e", "L ": "litres ", "lbs": "l b s"}
    changed = 0
    for line in (shared_data / "medical_notes/train/text").read_text("utf-8").splitlines():
        spoken = line.partition(" ")[2].lower()
        written = WRITE(spoken)
        changed += any(character.isdigit() for character in written)
        for symbol, words in respelled.items():
            written = written.replace(symbol, words)
        back = normalize(verbalize_numbers(written.replace("2018", "two thousand and eighteen")))
        assert back.replace("liters", "litres").replace(" and ", " ") == spoken.replace(" and ", " ")
    assert changed > 40


# ---- segments of a recording


def timed(text: str) -> list[Word]:
    """Words of half a second; a bar is a pause of 0.8 s."""
    words, now = [], 0.0
    for part in text.split():
        if part == "|":
            now += 0.8
        else:
            words.append(Word(part, round(now, 3), round(now + 0.5, 3), 1.0))
            now += 0.5
    return words


def segments_of(text: str, **options) -> list[TranscriptSegment]:
    return list(make_segments(iter(timed(text)), WRITE, **options))


@pytest.mark.parametrize(
    ("spoken", "segments"),
    [
        (
            "no fever | full stop the dose is five hundred | milligrams",
            {"no fever full stop": "No fever.", "the dose is five hundred milligrams": "The dose is 500 mg"},
        ),
        ("five | hundred | milligrams | daily", {"five hundred milligrams": "500 mg", "daily": "daily"}),
        ("he went | home | full | stop he", {"he went": "He went", "home full stop": "home.", "he": "He"}),
        ("plan colon | new line rest | and fluids", {"plan colon new line": "Plan:", "rest": "Rest",
                                                     "and fluids": "and fluids"}),
        ("fever | open bracket | mild | close bracket", {"fever": "Fever",
                                                         "open bracket mild close bracket": "(mild)"}),
        ("on the third | of march twenty | twenty four he", {"on the third of march twenty twenty four":
                                                             "On 3 March 2024", "he": "he"}),
        ("follow | hyphen | up", {"follow hyphen up": "Follow-up"}),
        ("blood pressure one twenty | over eighty", {"blood pressure one twenty over eighty":
                                                     "Blood pressure 120/80"}),
        ("new line | no fever", {"new line no fever": "No fever"}),
        ("for a | period of", {"for a": "For a", "period of": "period of"}),
        ("new line | new line", {}),
    ],
)  # fmt: skip
def test_what_a_pause_divides_belongs_to_one_segment(spoken, segments):
    found = segments_of(spoken)
    assert {one.raw_text: one.text for one in found} == segments
    words = timed(spoken)
    assert [word for one in found for word in one.words] == (words if segments else [])
    assert all((one.start, one.end) == (one.words[0].start, one.words[-1].end) for one in found)


def test_a_function_of_ones_own_sees_each_segment_by_itself():
    found = make_segments(timed("full | stop"), str.title, "left")
    assert [one.line for one in found] == ["left: Full", "left: Stop"]


SENTENCES = sorted({*COMMANDS, *NUMBERS, *UNCHANGED})
WITH_PAUSES = st.lists(st.sampled_from(SENTENCES), min_size=1, max_size=8).flatmap(
    lambda sentences: st.builds(
        lambda pauses: " ".join(
            word + " |" * pause for word, pause in zip(" ".join(sentences).split(), pauses, strict=False)
        ),
        st.lists(st.sampled_from([0, 0, 0, 1]), min_size=250, max_size=250),
    )
)


@settings(max_examples=100, deadline=None)
@given(WITH_PAUSES)
def test_joined_segments_are_what_is_written_of_the_whole_text(spoken):
    words = timed(spoken)
    whole = WRITE(" ".join(word.text for word in words))
    segments = segments_of(spoken, at_once=True)
    assert segments_of(spoken) == segments
    assert [word for one in segments for word in one.words] == words
    for one in segments:
        assert one.text and whole.startswith(one.text)
        whole = whole.removeprefix(one.text).lstrip()
    assert not whole


@settings(max_examples=100, deadline=None)
@given(dictated.map(lambda parts: "".join(word + blank for word, blank in parts).split()))
def test_pieces_share_out_words_and_text(words):
    pieces = WRITE.pieces(words)
    assert "".join(piece.text for piece in pieces) == WRITE(" ".join(words))
    ends = [piece.end for piece in pieces]
    assert ends == sorted({*ends}) and ends[-1:] == ([len(words)] if pieces else [])
    for piece, first in zip(pieces, [0, *ends], strict=False):
        assert first <= piece.anchor < piece.end


def test_a_segment_comes_before_words_that_cannot_change_it():
    spoken = "five hundred | milligrams | " + 12 * "he has no fever | " + "comma"

    def words():
        yield from timed(spoken)[:40]
        pytest.fail("read too far")

    found = make_segments(words(), WRITE)
    assert [next(found).text for _ in range(4)] == ["500 mg", *3 * ["he has no fever"]]
    assert [one.text for one in segments_of(spoken)][-1] == "he has no fever,"


def test_a_change_is_of_the_word_at_which_it_begins():
    text = Tracked.of(["take", "five", "hundred", "milligrams"])
    written = text.changed([Replacement(0, 4, "Take"), Replacement(5, 28, "500 mg")])
    assert (written.text, written.words) == ("Take 500 mg", 5 * [0] + 6 * [1])
    assert text.changed([Replacement(0, 5, "", 5)]).words == text.words[5:]


# ---- rules, grammars


@pytest.mark.parametrize(
    ("off", "spoken", "written"),
    [
        ("commands", "no comma yes", "No comma yes"),
        ("period", "done period next full stop", "Done period next."),
        ("braces", "{period}", "{period}"),
        ("dates", "on the third of june", "On the third of June"),
        ("times", "ten thirty a m", "Ten thirty AM"),
        ("years", "nineteen ninety nine", "Nineteen ninety nine"),
        ("over", "eighty over sixty", "80 over 60"),
        ("ratios", "one in ten", "One in 10"),
        ("ranges", "five to ten mg", "Five to 10 mg"),
        ("units", "five milligrams", "Five milligrams"),
        ("temperature", "forty degrees", "40 degrees"),
        ("currencies", "ten dollars", "10 dollars"),
        ("counted", "two days", "Two days"),
        ("labels", "type two", "Type two"),
        ("codes", "l four", "L four"),
        ("letters", "e c g", "E c g"),
        ("digits", "one two three four", "One two three four"),
        ("ordinals", "tenth", "Tenth"),
        ("cardinals", "twelve", "Twelve"),
        ("pronoun_i", "then i", "Then i"),
        ("names", "on monday", "On monday"),
        ("sentence_starts", "yes full stop no", "yes. no"),
        ("phrases", "please x ray", "Please x ray"),
    ],
)
def test_each_rule_can_be_switched_off(off, spoken, written):
    assert DictationOptions(dictation_off=off).formatter()(spoken) == written
    assert WRITE(spoken) != written


def test_every_rule_is_in_the_grammar_and_explained():
    assert read_grammar().rules == RULES
    text = PACKAGED_GRAMMAR.read_text("utf-8")
    assert all(re.search(rf"^  - {rule} +# \S", text, re.MULTILINE) for rule in RULES)


def test_a_grammar_of_ones_own(tmp_path):
    own = tmp_path / "own.yaml"
    own.write_text(
        "rules: [commands, units, phrases]\n"
        "commands: [{say: [stop now], write: '!', joins: left}]\n"
        "units: {Bq: [becquerels]}\n"
        "phrases: {b d: bd}\n"
    )
    write = DictationOptions(dictation_grammar=own).formatter()
    assert write("five becquerels b d stop now twenty comma") == "5 Bq bd! twenty comma"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rules: [comands]", ":1: there is no rule 'comands' (rules: phrases, braces"),
        ("rules: [units]\nunit: {}", ":2: unknown key 'unit' (known: rules, commands"),
        ("rules: [units\n", ":2: did not find expected ',' or ']'"),
        ("", ": holds no grammar (copy "),
        ("commands: [{say: [a b]}]", ":1: a command needs say and write"),
        ("commands: [{say: [stop], write: a}]", ":1: write: 'a' holds letters or digits"),
        ("commands: [{say: [stop], write: '.', joins: up}]", ":1: joins: 'up' is none of left"),
        ("commands:\n  - {say: [no], write: '.'}", ":2: say: [False] is no list of words (put true, no"),
        (
            "phrases: {a b: b c, b c: a b}",
            ":1: phrases: 'b c' holds the phrase 'b c', which would be replaced",
        ),
        ("labels: type", ":1: labels: 'type' is no list of words"),
        ("temperature: {celsius: 34}", ":1: celsius: 34 is not two numbers"),
        ("labels:", ":1: labels: is empty"),
        ("units: [mg]", ":1: units: is no mapping of lists"),
        ("phrases: {1: one}", ":1: phrases: is no mapping of texts"),
    ],
)
def test_what_is_wrong_with_a_grammar_is_said(tmp_path, text, message):
    own = tmp_path / "own.yaml"
    own.write_text(text)
    with pytest.raises(UserError, match=re.escape(f"{own}{message}")):
        DictationOptions(dictation_grammar=own).check()


def test_bad_options(tmp_path):
    with pytest.raises(UserError, match="'perod' is no rule and no command"):
        DictationOptions(dictation_off="full stop,perod").check()
    with pytest.raises(UserError, match="no such file"):
        DictationOptions(dictation_grammar=tmp_path / "none.yaml").check()
    with pytest.raises(UserError, match="a text file with a name a line"):
        DictationOptions(dictation_names=tmp_path / "none").check()
    (tmp_path / "names").write_text("Smith\n123\n")
    with pytest.raises(UserError, match="names:2: '123' holds no letter"):
        DictationOptions(dictation_names=tmp_path / "names").check()


# ---- the command


@pytest.fixture
def run(capsys, monkeypatch):
    def outcome(*argv: str, stdin: str = ""):
        import io

        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        with pytest.raises(SystemExit) as caught:
            command(main, [*argv])
        printed = capsys.readouterr()
        return caught.value.code, printed.out, printed.err

    return outcome


def test_the_command(run, tmp_path):
    notes = tmp_path / "notes.txt"
    notes.write_text("FIVE HUNDRED MILLIGRAMS\n\nplan colon new line rest\n", "utf-8")
    assert run("--dictation-off", "cardinals", "--lower", str(notes)) == (0, "500 mg\n\nPlan:\nRest\n", "")
    assert run("--dictation-off", "colon,Full Stop", stdin="plan colon yes") == (0, "Plan colon yes\n", "")
    assert run("--raw", stdin="plan colon new line rest\n") == (
        0,
        "plan colon new line rest\tPlan:⏎Rest\n",
        "",
    )
    message = f"error: {tmp_path}/none: no such file (a text file, or - for stdin)\n"
    assert run(str(tmp_path / "none")) == (1, "", message)
