"""A folder of `ia3-speech export --format onnx-asr` in onnx-asr, whose release 0.12 lacks the type
`wav2vec2-ctc` (istupakov/onnx-asr#135, merged after it): this class gives its CTC decoding the same input.
"""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnxruntime
from onnx_asr.asr import _AsrWithCtcDecoding
from onnx_asr.loader import AsrTypeNames, Manager, load_model


class Wav2Vec2Ctc(_AsrWithCtcDecoding):
    """Samples and lengths to log probabilities."""

    _preprocessor_name = "identity"

    def __init__(self, model_files, preprocessor_factory, onnx_options):
        super().__init__(model_files, preprocessor_factory, onnx_options)
        self.session = onnxruntime.InferenceSession(model_files["model"], onnx_options["sess_options"])

    @staticmethod
    def _get_model_files(quantization=None):
        raise NotImplementedError

    @property
    def _subsampling_factor(self) -> int:
        return self.config["subsampling_factor"]

    def _encode(self, samples, lengths):
        (logprobs,) = self.session.run(["logprobs"], {"input_values": samples, "input_lengths": lengths})
        return logprobs, np.minimum(lengths // self._subsampling_factor + 1, logprobs.shape[1])


def load_onnx_asr(folder: str | Path) -> Callable[[Sequence[np.ndarray]], list[str]]:
    """A function: waveforms at 16 kHz → their texts."""
    folder, options = Path(folder), onnxruntime.SessionOptions()
    options.intra_op_num_threads = len(os.sched_getaffinity(0))
    if "wav2vec2-ctc" in AsrTypeNames.__args__:
        model = load_model("wav2vec2-ctc", folder, sess_options=options)
    else:
        manager = Manager()
        names = {"model": "model.onnx", "vocab": "vocab.txt", "config": "config.json"}
        files = {key: folder / name for key, name in names.items()}
        model = manager._create_asr_adapter(
            Wav2Vec2Ctc(files, manager._create_preprocessor, {"sess_options": options})
        )
    return lambda waves: model.recognize(list(waves), sample_rate=16_000)
