"""What stands beside a graph: in our own folder, and in those that onnx-asr, sherpa-onnx and transformers.js
read.

    onnx             model.onnx graph.json                      `ia3_speech.onnx.load`; every vector an input
    onnx-asr         model.onnx vocab.txt config.json           its type `wav2vec2-ctc` (after release 0.12)
    sherpa-onnx      model.onnx tokens.txt                      OfflineRecognizer.from_omnilingual_asr_ctc
    transformers.js  onnx/model.onnx config.json tokenizer.json tokenizer_config.json preprocessor_config.json

In: a base, perhaps with an adapter merged into it. Out: a folder. The last three have no inputs but audio:
onnx-asr hands over samples and lengths; sherpa-onnx samples that it has normalised; transformers.js those
that its feature extractor has normalised, which the graph's own normalisation leaves as they are.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ia3_speech.adapters.card import base_name
from ia3_speech.atomic import write_json
from ia3_speech.data.audio import SAMPLE_RATE
from ia3_speech.data.text import WORD_START
from ia3_speech.errors import BaseError
from ia3_speech.model.base import Base
from ia3_speech.model.ia3 import vectors
from ia3_speech.onnx.export import make_graph
from ia3_speech.onnx.graph_int8 import quantize_graph
from ia3_speech.onnx.graph_session import OnnxBase, VectorInput


@dataclass(frozen=True)
class Layout:
    """How a graph and its folder look to who reads it: the names of inputs (samples, lengths) and outputs,
    what writes the files beside the graph, and the graph's file in float32 and in int8."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    write: Callable[[Path, Base], None]
    graph: str = "model.onnx"
    int8_graph: str = "model.onnx"


# All that stands in such folders.
FILES = {"onnx", "model.onnx", "model.int8.onnx", "graph.json", "vocab.txt", "tokens.txt", "config.json"}
FILES |= {"tokenizer.json", "tokenizer_config.json", "preprocessor_config.json"}


def write_layout(base: Base, folder: Path, format: str, dtype: str) -> Path:
    """Make the folder of a format, graph included; returns the graph's place. Raises BaseError."""
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
    """A line `symbol number` for each symbol, by their numbers; the delimiter as SentencePiece marks the
    beginning of a word."""
    tokens, delimiter = base.vocabulary.tokens, base.vocabulary.delimiter
    names = {base.vocabulary.blank: "<blk>", tokens.get(delimiter): WORD_START}
    symbols = sorted(tokens, key=tokens.get)
    return "".join(f"{names.get(tokens[token], token)} {tokens[token]}\n" for token in symbols)


def write_onnx_asr(folder: Path, base: Base) -> None:
    (folder / "vocab.txt").write_text(token_lines(base), "utf-8")
    write_json(folder / "config.json", {"model_type": "wav2vec2-ctc", "subsampling_factor": base.stride})


def write_sherpa_onnx(folder: Path, base: Base) -> None:
    """Raises BaseError for a base that wants samples as they are: sherpa-onnx normalises them."""
    if not getattr(base.processor.feature_extractor, "do_normalize", False):
        raise BaseError(f"{base.name}: takes samples as they are, and sherpa-onnx normalises them")
    (folder / "tokens.txt").write_text(token_lines(base), "utf-8")


def write_transformers_js(folder: Path, base: Base) -> None:
    vocabulary, extractor = base.vocabulary, base.processor.feature_extractor
    blank = next(token for token, number in vocabulary.tokens.items() if number == vocabulary.blank)
    # Special tokens are dropped before repeats are merged, so the blank must be none.
    special = {n: t for t, n in vocabulary.tokens.items() if t in vocabulary.special and t != blank}
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    tokenizer = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": n, "content": token, **flags} for n, token in sorted(special.items())],
        "normalizer": None,
        "pre_tokenizer": None,
        "post_processor": None,
        "decoder": {
            "type": "CTC", "pad_token": blank, "word_delimiter_token": vocabulary.delimiter, "cleanup": True,
        },
        "model": {"type": "WordLevel", "vocab": vocabulary.tokens, "unk_token": blank},
    }  # fmt: skip
    write_json(folder / "tokenizer.json", tokenizer)
    write_json(
        folder / "tokenizer_config.json",
        {"tokenizer_class": "Wav2Vec2CTCTokenizer", "pad_token": blank, "unk_token": blank}
        | {"word_delimiter_token": vocabulary.delimiter, "clean_up_tokenization_spaces": False},
    )
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
