"""Progress: a line in the log for work of any kind, and nothing after its end."""

import threading

import pytest

from ia3_speech.common import progress
from ia3_speech.common.progress import Progress


@pytest.fixture
def lines(caplog, monkeypatch):
    """A function that waits for another line in the log; a line is due each second."""
    caplog.set_level("INFO", "ia3_speech")
    monkeypatch.setattr(progress, "FIRST_LINE", 1)
    monkeypatch.setattr(progress, "NEXT_LINE", 1)

    def wait() -> str:
        caplog.clear()
        while not caplog.messages:
            threading.Event().wait(0.1)
        return caplog.messages[-1]

    return wait


def test_the_innermost_work_is_in_the_log_until_it_ends(lines):
    with Progress(4, "training") as outer:
        outer.begin_epoch("training", 1, 2)
        outer.update(0.5)
        assert lines().startswith("training, epoch 1 of 2: 12 %, about ")
        with Progress(None, "recognising dev"):
            assert lines().startswith("recognising dev: ") and lines().endswith(" s so far")
        outer.update(3.5)
        assert lines() == "training, epoch 1 of 2: 100 %", "what follows is not in the estimate: no 0 s left"
    assert Progress.running == []
    assert [*Progress(iter([1, 2]), "hidden", hidden=True)] == [1, 2]
