"""Dictation of live input: final texts are what is written of the whole; what is told, and printed, when."""

import io
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from ia3_speech.commands.live import LiveOutput
from ia3_speech.decoding.segments import written_text
from ia3_speech.decoding.transcript import Word
from ia3_speech.dictation import make_dictation
from ia3_speech.live.streaming import PostProcessed, StreamEvent

DICTATION = make_dictation()
SPOKEN = (
    "no fever full stop the dose is five hundred milligrams twice a day new paragraph blood pressure one "
    "hundred and twenty over eighty new line temperature thirty eight point five degrees comma review open "
    "bracket see below close bracket period for a period of two weeks colon"
)
WORDS = SPOKEN.split()
# Any words, and the same text cut anywhere.
PIECES = st.lists(st.lists(st.sampled_from(WORDS), max_size=12).map(" ".join), max_size=25) | st.lists(
    st.integers(0, 3 * len(WORDS)), max_size=25
).map(lambda cuts: [" ".join((3 * WORDS)[a:b]) for a, b in pairwise([0, *sorted(cuts), None])])


def recognized(*pieces: str) -> list[StreamEvent]:
    """Final events of a stream: each word lasts half a second, each pause a whole one."""
    events, start = [], 0.0
    for text in pieces:
        times = [start + 0.5 * number for number in range(len(text.split()) + 1)]
        words = tuple(Word(word, at, at + 0.5, 1.0) for word, at in zip(text.split(), times, strict=False))
        events.append(StreamEvent(text, start, times[-1], True, words))
        start = times[-1] + 1
    return events


def final_events(pieces: list[str]) -> list[StreamEvent]:
    """What is told of pieces that come one at a time."""
    dictation = PostProcessed(DICTATION, partials=False)
    events = [event for piece in recognized(*pieces) for event in dictation.events([piece])]
    return [*events, *dictation.flush()]


@settings(max_examples=40)
@given(PIECES)
def test_final_texts_join_to_the_text_of_the_whole(pieces):
    events = final_events(pieces)
    words = [word for event in recognized(*pieces) for word in event.words]
    whole = written_text(words, DICTATION)
    assert all(event.final for event in events)
    assert "".join(e.text if e.text.endswith("\n") else f"{e.text} " for e in events).strip() == whole
    assert [word for event in events for word in event.words] == (words if whole else [])
    for event in events:
        assert event.raw_text == " ".join(word.text for word in event.words)
        assert (event.start, event.end) == (event.words[0].start, event.words[-1].end)


def test_dictated_line_breaks_are_printed():
    output = LiveOutput(io.StringIO(), "dictation")
    output.show(final_events(["pressure of two", "new line", "review", "new paragraph next visit"]))
    assert output.stream.getvalue() == "Pressure of two\nReview\n\nNext visit\n"
