"""The players of the report: links are quoted, and shell commands run only where that is allowed."""

import pytest

from ia3_speech.data.utterance import Utterance
from ia3_speech.report.tables import embedded_audio, linked_audio


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
