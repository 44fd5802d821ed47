"""Calibration of word confidences: a scaling that makes them probabilities, fitted on a dev set.

In: a dev set with text, a recogniser. Out: the slope and bias of the words' log-odds (see `Scaling`), and how
well confidences tell right words from wrong ones. Texts never change, nor which word is less certain than
which.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ia3_speech.confidence.reliability import REVIEWED, Calibration, fit_scaling, measure
from ia3_speech.data.audio import SAMPLE_RATE
from ia3_speech.decoding.recognizer import Recognizer
from ia3_speech.decoding.word_times import Scaling, word_times
from ia3_speech.lm.tuning import dev_logits
from ia3_speech.scoring.alignment import align


def calibrate(
    recognizer: Recognizer,
    data: Path,
    scaling: Scaling | None = None,
    allow_pipes: bool = False,
) -> tuple[Calibration, Calibration] | None:
    """Measure the confidences of a data directory with text, without a scaling and with one; None where no
    word is recognised.

    Args:
        scaling: None: the one that is fitted here.

    Raises:
        UserError: the directory holds no words.
        AudioError: a recording cannot be used.
    """
    search, base = recognizer.search, recognizer.base
    references, pieces = dev_logits(recognizer, data, allow_pipes)
    recognizer.search = search
    frame = base.stride / SAMPLE_RATE
    hypotheses = {
        name: [search(logits.float()[None], [len(logits)])[0] for logits in own]
        for name, own in pieces.items()
    }
    texts = {name: " ".join(hypothesis.text for hypothesis in own) for name, own in hypotheses.items()}
    right = np.array([one for name, text in texts.items() for one in are_right(references[name], text)])
    if not len(right):
        return None

    def confidences(scaling: Scaling) -> np.ndarray:
        words = (
            word
            for name, own in pieces.items()
            for logits, hypothesis in zip(own, hypotheses[name], strict=True)
            for word in word_times(logits.float(), hypothesis, base.vocabulary, frame, scaling=scaling)
        )
        return np.array([word.confidence for word in words])

    uncalibrated = confidences(Scaling())
    scaling = scaling or fit_scaling(uncalibrated, right)
    return measure(uncalibrated, right), measure(confidences(scaling), right, scaling)


def are_right(reference: Sequence[str], hypothesis: str) -> list[bool]:
    """For each word of the hypothesis whether the alignment has it in the reference."""
    return [ref == hyp for ref, hyp in align(reference, hypothesis.split()) if hyp is not None]


def format_calibration(one: Calibration) -> str:
    """A table for people:

    slope 0.91, bias 0.2: 2,247 words, 812 wrong; cross-entropy 0.71 bits a word, calibration error 3.1 %
    wrong words are told from right ones with an area under the ROC curve of 0.886
    looking at the least certain 10 % of the words finds 24 % of the errors
    confidence   words   right
      0 to  10     512     9 %
    """
    lines = [
        f"{one.scaling}: {one.words:,} words, {one.errors:,} wrong; cross-entropy "
        f"{one.cross_entropy:.2f} bits a word, calibration error {one.calibration_error:.1%}",
        f"wrong words are told from right ones with an area under the ROC curve of {one.area:.3f}",
        f"looking at the least certain {REVIEWED:.0%} of the words finds {one.found:.0%} of the errors",
        "mean confidence    words    right",
    ]
    lines += [f"{row.confidence:>15.0%} {row.words:>8,} {row.right:>8.0%}" for row in one.bins]
    return "\n".join(lines)
