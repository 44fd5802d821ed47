"""A graph with its encoder in int8, by ONNX Runtime's quantiser, calibrated on real speech.

The linear modules of the encoder's layers multiply int8 by int8, with a scale for each output channel; the
rest stays in float32, as in `model.int8`. The activations' scales are fixed by their range in real speech
(static quantisation), so a row does not depend on its neighbours. A module whose input has outliers stays in
float32 too: if the range is more than 256 times the mean absolute value, a step of int8 is wider than most
values (LLM.int8, Dettmers et al. 2022, arXiv 2208.07339).
"""

import logging
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ia3_speech.common.errors import BaseError
from ia3_speech.common.progress import Progress
from ia3_speech.data.audio import load_audio
from ia3_speech.model.base import Base
from ia3_speech.model.ia3 import layers_of
from ia3_speech.model.location import HELD_OUT_SPEECH

if TYPE_CHECKING:
    import onnx

SPEECH = HELD_OUT_SPEECH / "audio"  # thirty clips
MAX_RANGE = 256  # in mean absolute values; three inputs of mini have over a thousand, the others up to 110


def quantize_graph(model: "onnx.ModelProto", base: Base, inputs: Sequence[str], file: Path) -> None:
    """Write a graph in int8; `inputs` are the names of its samples and perhaps lengths."""
    import onnx
    import onnxruntime
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    initializers = {tensor.name for tensor in model.graph.initializer}
    layers = f"model.{layers_of(base.model)[0]}."
    linear = [
        node
        for node in model.graph.node
        if node.op_type == "MatMul"
        and node.input[1] in initializers
        and any(layers in entry.value for entry in node.metadata_props)
    ]
    onnxruntime.set_default_logger_severity(3)  # no warning for each vector with a default
    with tempfile.TemporaryDirectory() as temporary, Progress(None, "rounding the graph to int8"):
        source = Path(temporary) / "model.onnx"
        onnx.save(model, source)
        ranges = measure_ranges(source, {node.input[0] for node in linear}, inputs)
        rounded = [node.name for node in linear if ranges[node.input[0]] <= MAX_RANGE]
        if not rounded:  # ONNX Runtime would then round all
            raise BaseError(f"{base.name}: no module of its layers can be rounded to int8 (export float32)")
        root, level = logging.getLogger(), logging.getLogger().level
        root.setLevel(logging.ERROR)  # no hint at pre-processing
        quantize_static(
            source,
            file,
            CalibrationClips(inputs),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            weight_type=QuantType.QInt8,
            op_types_to_quantize=["MatMul"],
            nodes_to_quantize=rounded,
            extra_options={"OpTypesToExcludeOutputQuantization": ["MatMul"], "DedicatedQDQPair": True},
        )
    onnx.save(with_separate_scales(onnx.load(file)), file)
    root.setLevel(level)


def with_separate_scales(model: "onnx.ModelProto") -> "onnx.ModelProto":
    """The graph, with scales that differ in the last bits for modules that round the same input."""
    # If two scales are equal, as for keys and values, ONNX Runtime rounds once for both, and then finds no
    # pair to fuse with the product: it multiplies in float32, by weights that it expands in each run.
    from onnx import numpy_helper

    scales = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    expanders = {node.input[0]: node for node in model.graph.node if node.op_type == "DequantizeLinear"}
    count: Counter[str] = Counter()
    for node in model.graph.node:
        if node.op_type != "QuantizeLinear":
            continue
        scale = node.input[1]
        if number := count[scale]:
            name, factor = f"{scale}_{number}", np.float32(1 + number * 2.0**-22)
            model.graph.initializer.append(numpy_helper.from_array(scales[scale] * factor, name))
            node.input[1] = expanders[node.output[0]].input[1] = name
        count[scale] += 1
    return model


def measure_ranges(graph: Path, tensors: set[str], inputs: Sequence[str]) -> dict[str, float]:
    """The range of each tensor in the clips, from lowest to highest, divided by its mean absolute value."""
    import onnx
    import onnxruntime

    model, names = onnx.load(graph), sorted(tensors)
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    session, clips = onnxruntime.InferenceSession(model.SerializeToString()), CalibrationClips(inputs)
    rows = []  # of each clip: (tensors, [lowest, highest, sum of absolute values, count])
    while feed := clips.get_next():
        values = session.run(names, feed)
        rows.append([(min(0, x.min()), x.max(), np.abs(x).sum(dtype=np.float64), x.size) for x in values])
    lowest, highest, sums, counts = np.moveaxis(np.array(rows), -1, 0)
    ranges = np.maximum(highest.max(0), 0) - lowest.min(0)
    return dict(zip(names, ranges / (sums.sum(0) / counts.sum(0)), strict=True))


class CalibrationClips:
    """The clips one by one, then None; the interface of `quantization.CalibrationDataReader`."""

    def __init__(self, inputs: Sequence[str]):
        waves = map(load_audio, sorted(SPEECH.iterdir()))
        self.feeds = (dict(zip(inputs, (w[None], np.array([len(w)])), strict=False)) for w in waves)

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self.feeds, None)
