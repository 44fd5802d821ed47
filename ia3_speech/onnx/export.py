"""A base as an ONNX graph, with every vector as an input or an adapter merged into its weights, and the other
files of the folders that we, onnx-asr, sherpa-onnx and transformers.js read.

    with_vectors        samples (N, T), lengths (N,), and a vector (N, d) for each target module
                        → logits (N, frames, V), frames (N,)
    without             samples (N, T), perhaps lengths (N,) → log probabilities (N, frames, V)

Samples are 16 kHz, full scale ±1; the graph normalises them, if the base needs that. A row in a batch equals
the row alone: normalisations over time count only the row's samples and frames, attention is masked, and
convolutions that reach across a row's end find zeros there. The default of a vector is ones (an input that is
an initializer too), so ONNX Runtime's own adapters (`add_active_adapter`) work.

    onnx             model.onnx graph.json                      `ia3_speech.onnx.load`; every vector an input
    onnx-asr         model.onnx vocab.txt config.json           its type `wav2vec2-ctc` (after release 0.12)
    sherpa-onnx      model.onnx tokens.txt                      OfflineRecognizer.from_omnilingual_asr_ctc
    transformers.js  onnx/model.onnx config.json tokenizer.json tokenizer_config.json preprocessor_config.json

The last three have only audio inputs: onnx-asr passes samples and lengths; sherpa-onnx passes samples that it
has normalised; transformers.js passes samples that its feature extractor has normalised, which the graph's
normalisation leaves unchanged.
"""

import logging
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MethodType
from typing import TYPE_CHECKING

import torch
from torch import nn

from ia3_speech.adapters.card import base_name
from ia3_speech.adapters.record import Adapter
from ia3_speech.common.atomic import replacing, write_json
from ia3_speech.common.errors import BaseError
from ia3_speech.common.progress import Progress
from ia3_speech.data.audio import SAMPLE_RATE
from ia3_speech.data.text import WORD_START
from ia3_speech.model.architectures import IA3Config, Kernels
from ia3_speech.model.attach import insert_vectors
from ia3_speech.model.base import Base
from ia3_speech.model.ia3 import all_target_modules, path_in, using_rows, vectors
from ia3_speech.model.kinds.ctc import forward_within, modules_at
from ia3_speech.model.precision import is_long_depthwise
from ia3_speech.onnx.int8 import quantize_graph
from ia3_speech.onnx.session import OnnxBase, VectorInput

if TYPE_CHECKING:
    import onnx

OPSET = 20  # the first with Gelu
PADDING = -1e4  # log probability of every symbol except the blank, after a row's end
TRACED_SAMPLES = (16_000, 12_000)  # of the rows that trace the graph


class SpeechGraph(nn.Module):
    """The traced module: `Base.forward` of a padded batch, using only operations on tensors. It returns
    logits and the rows' frames; without vectors log probabilities, which are blank after a row's end."""

    def __init__(self, base: Base, with_vectors: bool):
        super().__init__()
        self.base, self.model, self.with_vectors = base, base.model, with_vectors
        self.normalizes = getattr(base.processor.feature_extractor, "do_normalize", False)

    def forward(self, waves: torch.Tensor, lengths: torch.Tensor | None = None, *rows: torch.Tensor):
        """waves (N, samples), lengths (N,) (None: all samples), rows (N or 1, d) for each vector."""
        if lengths is None:
            lengths = torch.full((waves.shape[0],), waves.shape[1])
        base, model = self.base, self.model
        inside = torch.arange(waves.shape[1]) < lengths[:, None]
        if self.normalizes:
            waves = standardized(waves, inside, lengths[:, None], base.input.epsilon)
        frames = frames_after(lengths, base.kernels)
        mask_convolutions(base, lengths, frames)
        arguments = {base.input.argument: waves[:, None] if base.input.mono else waves}
        arguments[base.input.mask] = inside.long()
        parameters = [vector.l for vector in vectors(model).values()]
        with using_rows({p: row[:, None] for p, row in zip(parameters, rows, strict=True)}):
            logits = model(**arguments).logits
        frames = frames_after(frames, base.downsampling)
        if self.with_vectors:
            return logits, frames
        padding = torch.full((logits.shape[-1],), PADDING)
        padding[base.vocabulary.blank] = 0.0
        inside = torch.arange(logits.shape[1]) < frames[:, None]
        return torch.where(inside[..., None], logits.log_softmax(-1), padding)


def frames_after(lengths: torch.Tensor, kernels: Kernels) -> torch.Tensor:
    """`architectures.output_length` of each row, (N,)."""
    for kernel, stride in kernels:
        lengths = torch.div(lengths - kernel, stride, rounding_mode="floor") + 1
    return lengths


def standardized(x: torch.Tensor, inside: torch.Tensor, count: torch.Tensor, epsilon: float) -> torch.Tensor:
    """x with mean 0 and variance 1 along its last axis over the `count` values `inside`; 0 elsewhere."""
    mean = (x * inside).sum(-1, keepdim=True) / count
    centred = (x - mean) * inside
    return centred / (centred.square().sum(-1, keepdim=True) / count + epsilon).sqrt()


def mask_convolutions(base: Base, lengths: torch.Tensor, frames: torch.Tensor) -> None:
    """Let the base's model compute each row, of `lengths` samples and `frames` of the front end, as if it
    were alone: as `kinds.ctc.zero_padding`, and group norms of the front end count only a row's frames."""
    model = base.model
    for path in base.architecture.padding_sensitive:
        for number, module in enumerate(modules_at(model, path_in(model, path))):
            inner = frames_after(frames, base.downsampling[:number]) if ".adapter." in path else frames
            plain = MethodType(type(module).forward, module)
            module.forward = partial(forward_within, plain, inner)
    for number, layer in enumerate(modules_at(model, path_in(model, base.architecture.convolutions))[0]):
        if isinstance(norm := getattr(layer, "layer_norm", None), nn.GroupNorm):
            norm.forward = partial(group_norm_within, norm, frames_after(lengths, base.kernels[: number + 1]))


def group_norm_within(norm: nn.GroupNorm, frames: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """A group norm with a group for each channel, of x (N, channels, time), over each row's frames, (N,)."""
    inside = (torch.arange(x.shape[2]) < frames[:, None])[:, None]
    return (
        standardized(x, inside, frames[:, None, None], norm.eps) * norm.weight[:, None] + norm.bias[:, None]
    )


def depthwise_convolution(conv: nn.Conv1d, x: torch.Tensor) -> torch.Tensor:
    """`conv` of x (N, channels, frames) in two dimensions, for which ONNX Runtime has a depthwise kernel."""
    weight, padding = conv.weight[:, :, None], (0, *conv.padding)
    y = nn.functional.conv2d(x[:, :, None], weight, conv.bias, padding=padding, groups=conv.groups)
    return y[:, :, 0]


def make_graph(
    base: Base, inputs: Sequence[str], outputs: Sequence[str], *, with_vectors: bool
) -> "onnx.ModelProto":
    """The base as a graph in float32, see the module. The base's model has no other use afterwards.

    Args:
        inputs: names of samples and lengths; without a name for lengths every row is as long as the batch.
        outputs: names of logits (or log probabilities) and frames.

    Raises:
        BaseError: the base's processor makes features of the samples, or needs another rate than 16 kHz; or
            the base is a SEW, which squeezes frames.
    """
    import onnx

    base.require("ONNX")
    rate = base.processor.feature_extractor.sampling_rate
    reasons = {
        "features that its processor makes": not base.input.front_end,
        f"samples at {rate} Hz": rate != SAMPLE_RATE,
        "samples for an even number of frames": base.frame_multiple > 1,
    }
    if needs := next((reason for reason, holds in reasons.items() if holds), ""):
        raise BaseError(
            f"{base.name}: a graph takes any number of samples at 16 kHz, and this base needs {needs}"
        )
    if with_vectors:
        insert_vectors(base.model, all_target_modules(base.model), IA3Config())
    for module in base.model.modules():
        if isinstance(module, nn.Conv1d) and is_long_depthwise(module):
            module.forward = partial(depthwise_convolution, module)
    attached = vectors(base.model)
    rows = [torch.ones(1, vector.l.numel()) for vector in attached.values()]
    waves, lengths = torch.randn(len(TRACED_SAMPLES), max(TRACED_SAMPLES)), torch.tensor(TRACED_SAMPLES)
    count, samples = torch.export.Dim("N"), torch.export.Dim("samples", min=base.samples(2))
    arguments = (waves, lengths)[: len(inputs)]
    shapes = ({0: count, 1: samples}, {0: count})[: len(inputs)] + (tuple({} for _ in rows),) * with_vectors
    for name in ("torch.onnx", "onnx_ir"):  # they log missing packages and guesses
        logging.getLogger(name).setLevel(logging.ERROR)
    with torch.no_grad(), warnings.catch_warnings(), Progress(None, "exporting the graph"):
        warnings.simplefilter("ignore")
        model = torch.onnx.export(
            SpeechGraph(base, with_vectors).eval(),
            (*arguments, *rows),
            input_names=[*inputs, *attached],
            output_names=list(outputs),
            dynamic_shapes=shapes,
            opset_version=OPSET,
            verbose=False,
        ).model_proto
    del model.graph.value_info[:]  # shapes within, for vectors of one row
    for value, row in zip(list(model.graph.input)[len(inputs) :], rows, strict=True):
        value.type.tensor_type.shape.dim[0].Clear()  # one row, or one for each of the batch
        model.graph.initializer.append(onnx.numpy_helper.from_array(row.numpy(), value.name))
    return model


def write_onnx_adapter(adapter: Adapter, file: Path) -> None:
    """Write an adapter's vectors, (1, d) each, as a file for ONNX Runtime: `RunOptions.add_active_adapter`.
    Raises BaseError if the adapter has a head, which is not an input of a graph."""
    import onnxruntime

    if adapter.head:
        raise BaseError(f"{adapter.name}: has a trained head, which is not an input of a graph (merge it)")
    make = onnxruntime.OrtValue.ortvalue_from_numpy
    values = {target.vector_path: make(vector[None].numpy()) for target, vector in adapter.vectors.items()}
    written = onnxruntime.AdapterFormat()
    written.set_parameters(values)
    with replacing(file) as new:
        written.export_adapter(str(new))


@dataclass(frozen=True)
class Layout:
    """A program's folder."""

    inputs: tuple[str, ...]  # names of samples and lengths
    outputs: tuple[str, ...]
    write: Callable[[Path, Base], None]  # writes the files beside the graph
    graph: str = "model.onnx"  # the graph's file in float32
    int8_graph: str = "model.onnx"


# All files of such folders
FILES = {"onnx", "model.onnx", "model.int8.onnx", "graph.json", "vocab.txt", "tokens.txt", "config.json"}
FILES |= {"tokenizer.json", "tokenizer_config.json", "preprocessor_config.json"}


def write_layout(base: Base, folder: Path, format: str, dtype: str) -> Path:
    """Write the folder of a format; returns the graph's file. Raises BaseError as `make_graph`."""
    import onnx

    layout = LAYOUTS[format]
    graph = folder / (layout.int8_graph if dtype == "int8" else layout.graph)
    graph.parent.mkdir(parents=True)
    model = make_graph(base, layout.inputs, layout.outputs, with_vectors=format == "onnx")
    if dtype == "int8":
        quantize_graph(model, base, layout.inputs, graph)
    else:
        onnx.save(model, graph)
    layout.write(folder, base)
    return graph


def write_description(folder: Path, base: Base) -> None:
    """graph.json, which `OnnxBase.load` and a page in a browser read."""
    attached = vectors(base.model).items()
    inputs = [VectorInput(name, v.target.module, v.target.side, v.l.numel()) for name, v in attached]
    OnnxBase(
        folder, base_name(base.name), base.fingerprint, inputs, base.vocabulary, base.stride,
        base.minimum_samples, base.maximum_seconds,
    ).save()  # fmt: skip


def token_lines(base: Base) -> str:
    """A line `symbol number` for each symbol, by number; the delimiter is SentencePiece's mark of a word."""
    tokens, delimiter = base.vocabulary.tokens, base.vocabulary.delimiter
    names = {base.vocabulary.blank: "<blk>", tokens.get(delimiter): WORD_START}
    symbols = sorted(tokens, key=tokens.get)
    return "".join(f"{names.get(tokens[token], token)} {tokens[token]}\n" for token in symbols)


def write_onnx_asr(folder: Path, base: Base) -> None:
    (folder / "vocab.txt").write_text(token_lines(base), "utf-8")
    write_json(folder / "config.json", {"model_type": "wav2vec2-ctc", "subsampling_factor": base.stride})


def write_sherpa_onnx(folder: Path, base: Base) -> None:
    """Raises BaseError for a base of unnormalised samples, since sherpa-onnx normalises them."""
    if not getattr(base.processor.feature_extractor, "do_normalize", False):
        raise BaseError(f"{base.name}: needs unnormalised samples, and sherpa-onnx normalises them")
    (folder / "tokens.txt").write_text(token_lines(base), "utf-8")


def write_transformers_js(folder: Path, base: Base) -> None:
    vocabulary, extractor = base.vocabulary, base.processor.feature_extractor
    blank = next(token for token, number in vocabulary.tokens.items() if number == vocabulary.blank)
    # Special tokens are dropped before repeats are merged, so the blank must not be special.
    special = {n: t for t, n in vocabulary.tokens.items() if t in vocabulary.special and t != blank}
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    symbols = {"pad_token": blank, "word_delimiter_token": vocabulary.delimiter}
    tokenizer = dict.fromkeys(("truncation", "padding", "normalizer", "pre_tokenizer", "post_processor")) | {
        "version": "1.0",
        "added_tokens": [{"id": n, "content": token, **flags} for n, token in sorted(special.items())],
        "decoder": {"type": "CTC", "cleanup": True, **symbols},
        "model": {"type": "WordLevel", "vocab": vocabulary.tokens, "unk_token": blank},
    }
    write_json(folder / "tokenizer.json", tokenizer)
    config = {"tokenizer_class": "Wav2Vec2CTCTokenizer", "unk_token": blank, **symbols}
    write_json(folder / "tokenizer_config.json", config | {"clean_up_tokenization_spaces": False})
    write_json(folder / "preprocessor_config.json", extractor.to_dict() | {"sampling_rate": SAMPLE_RATE})
    write_json(folder / "config.json", base.model.config.to_dict() | {"_name_or_path": ""})


LAYOUTS = {
    "onnx": Layout(("waves", "lengths"), ("logits", "frames"), write_description),
    "onnx-asr": Layout(
        ("input_values", "input_lengths"), ("logprobs",), write_onnx_asr, int8_graph="model.int8.onnx"
    ),
    "sherpa-onnx": Layout(("x",), ("logits",), write_sherpa_onnx, int8_graph="model.int8.onnx"),
    "transformers.js": Layout(
        ("input_values",), ("logits",), write_transformers_js, "onnx/model.onnx", "onnx/model_quantized.onnx"
    ),
}
