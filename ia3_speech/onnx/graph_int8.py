"""A graph with its encoder in int8, by ONNX Runtime's quantiser, calibrated on real speech.

    quantize_graph(model, base, inputs, file)

In: a graph in float32. Out: the file of one whose encoder layers' linear modules multiply int8 by int8, with
a scale for each output channel; front end, feature projection and head stay in float32, as in `model.int8`:
with mini's feature projection rounded, every word is lost. The activations' scales are fixed beforehand, from
the range that they have in real speech (static quantisation): so a row does not depend on its neighbours.
"""

import logging
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ia3_speech.data.audio import load_audio
from ia3_speech.model.base import Base
from ia3_speech.model.ia3 import layers_of

if TYPE_CHECKING:
    import onnx

SPEECH = Path(__file__).parent.parent / "out_of_domain/librispeech_dev/audio"  # thirty clips, six readers


def quantize_graph(model: "onnx.ModelProto", base: Base, inputs: Sequence[str], file: Path) -> None:
    """Write a graph, whose inputs of samples and perhaps lengths are called so, in int8."""
    import onnx
    import onnxruntime
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    initializers = {tensor.name for tensor in model.graph.initializer}
    layers = f"model.{layers_of(base.model)[0]}."
    linear = [
        node.name
        for node in model.graph.node
        if node.op_type == "MatMul"
        and node.input[1] in initializers
        and any(layers in entry.value for entry in node.metadata_props)
    ]
    onnxruntime.set_default_logger_severity(3)  # not a line for each vector that has a default
    logging.disable(logging.WARNING)  # nor its hint at pre-processing
    with tempfile.TemporaryDirectory() as temporary:
        source = Path(temporary) / "model.onnx"
        onnx.save(model, source)
        quantize_static(
            source,
            file,
            CalibrationClips(inputs),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            weight_type=QuantType.QInt8,
            op_types_to_quantize=["MatMul"],
            nodes_to_quantize=linear,
            extra_options={"OpTypesToExcludeOutputQuantization": ["MatMul"]},
        )
    logging.disable(logging.NOTSET)


class CalibrationClips:
    """The clips one by one, as `onnxruntime.quantization.CalibrationDataReader` hands them over."""

    def __init__(self, inputs: Sequence[str]):
        waves = map(load_audio, sorted(SPEECH.iterdir()))
        self.feeds = (dict(zip(inputs, (w[None], np.array([len(w)])), strict=False)) for w in waves)

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The next clip, by the inputs' names; None after the last."""
        return next(self.feeds, None)
