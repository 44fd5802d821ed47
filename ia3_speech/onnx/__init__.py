"""A base as an ONNX graph in which every vector of an adapter is an input: for small devices, without torch.

    ia3-speech export --format onnx --base mini --out DIR         (extra ia3-speech[onnx]; see `onnx_export`)

    asr = ia3_speech.onnx.load(DIR)                               numpy and onnxruntime alone
    asr.transcribe("audio.wav", adapter="speaker42").text         a name, a folder, a sum; None: the base
    asr.recognizer.base.logits(waves, [{}, {name: array}])        each row of a batch its own arrays

In: a folder that `export` wrote. Out: the `Transcriber` that `ia3_speech.load` gives, with greedy search;
another one can be handed to `recognizer.search`.
"""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ia3_speech.decoding.recognizer import Recognizer
    from ia3_speech.decoding.transcription import Transcriber


def load(folder: Path | str) -> "Transcriber":
    """A graph, to transcribe with; an adapter comes with each request, and none is loaded before.

    Raises:
        UserError: the folder holds no graph, or it is damaged.
    """
    from ia3_speech.adapters.expressions import parse_terms
    from ia3_speech.decoding.long_recordings import MAXIMUM_SECONDS
    from ia3_speech.decoding.recognizer import Recognizer
    from ia3_speech.decoding.transcription import Transcriber
    from ia3_speech.onnx.graph_session import OnnxBase

    base = OnnxBase.load(Path(folder))
    recognizer = Recognizer(
        base, bank=base, max_seconds=base.maximum_seconds or MAXIMUM_SECONDS, vad="energy"
    )

    def adapt(adapter: str | Path) -> "Recognizer":
        """The recogniser of one request."""
        terms = parse_terms(adapter)
        return replace(recognizer, adapter=terms, name=str(adapter), row=base.vectors(terms))

    return Transcriber(recognizer, adapt=adapt)
