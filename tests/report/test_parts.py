"""The parts of the report: pictures and players; formats by exact strings."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ia3_speech.data.utterance import Utterance
from ia3_speech.report.browse import embedded_audio, linked_audio
from ia3_speech.report.charts import (
    round_ticks,
    scatter_before_and_after,
)


@given(st.floats(-1e4, 1e4), st.floats(1e-3, 1e6), st.integers(3, 10))
@example(0.0, 0.15, 3)  # 0.15 / 0.05 is a little under 3
def test_ticks_are_few_and_inside(low, span, most):
    ticks = round_ticks(low, low + span, most)
    steps = np.diff(ticks)
    assert len(ticks) <= most
    assert all(low - 1e-6 * span <= tick <= low + span * (1 + 1e-6) for tick in ticks)
    assert len(steps) == 0 or np.allclose(steps, steps[0], rtol=1e-3)


def test_a_picture_of_speakers_says_how_many_are_better():
    values = [("ann", 0.5, 0.2, 10), ("<bob>", 0.2, 0.3, 20), ("cat", 0.2, 0.2, 5)]
    svg = scatter_before_and_after(
        "ia3_plus, a dot a speaker", "speakers", ("base", "ia3_plus"), values
    ).svg_file
    assert "<title>ia3_plus, a dot a speaker. 3 speakers: 1 better (below the line), 1 equal, 1 worse<" in svg
    assert "<title>&lt;bob&gt;: 20.0 % before, 30.0 % after, 20 words</title>" in svg
    assert svg.count('class="dot system"') == 2 and svg.count('class="dot third"') == 1


# ---- players


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
    assert embedded_audio([utterance(f"touch {touched} |")], allow_pipes=False) == {}
    assert not touched.exists() and "is a shell command (pass `allow_pipes`" in caplog.text
