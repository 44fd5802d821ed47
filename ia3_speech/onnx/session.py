"""A graph of `export` in ONNX Runtime, for a recogniser; torch is not loaded.

    base = load(DIR).recognizer.base
    base.logits(waves, [None, base.vectors(parse_sum("speaker42"))])        [(frames, V)] for each wave

In: a folder with `model.onnx` and `graph.json`, which names the inputs. Out: the `Transcriber` that
`ia3_speech.load` gives, with greedy search, or beam search with a language model. Each row of a batch has its
vectors; missing vectors are ones.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from math import fsum
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ia3_speech.adapters.card import other_method
from ia3_speech.adapters.record import METADATA, describe_base, ia3_config, is_ours, read_json, same_base
from ia3_speech.adapters.spec import AdapterSpec, Term
from ia3_speech.adapters.weights import read_weights, vector_of, vectors_in
from ia3_speech.common.atomic import write_json
from ia3_speech.common.errors import AdapterError, UserError
from ia3_speech.common.formatting import shorten
from ia3_speech.data.text import Vocabulary
from ia3_speech.decoding.long_recordings import MAXIMUM_SECONDS
from ia3_speech.decoding.options import LoadOptions
from ia3_speech.decoding.recognizer import Recognizer
from ia3_speech.decoding.search import SearchOptions, make_search
from ia3_speech.decoding.segments import PostProcessor
from ia3_speech.decoding.transcription import Transcriber
from ia3_speech.model.architectures import IA3Config
from ia3_speech.model.hypotheses import GreedySearch, Search

MODEL, DESCRIPTION = "model.onnx", "graph.json"

# A vector's input → (d,), fp32.
Vectors = Mapping[str, np.ndarray]


def load(
    folder: Path | str | None,
    spec: AdapterSpec = AdapterSpec(),  # noqa: B008  (immutable)
    options: LoadOptions = LoadOptions(),  # noqa: B008
    search: SearchOptions = SearchOptions(),  # noqa: B008
    *,
    post_process: PostProcessor | None = None,
    split: bool = False,
) -> Transcriber:
    """A transcriber with a graph, and with an adapter or one for each request; see `ia3_speech.load`. Raises
    UserError if the folder holds no graph, or it or the language model is damaged."""
    if folder is None:
        hint = "ia3-speech export --format onnx --base mini --out graph"
        raise UserError(f"`engine=onnx` needs the folder of a graph as `base` ({hint})")
    base = replace(OnnxBase.load(Path(folder)), options=options, search_options=search)
    return Transcriber(base.recognizer(spec), post_process, split, session=base)


@dataclass(frozen=True)
class VectorInput:
    """An input of the graph, (N, size): a vector for each row."""

    name: str  # also the vector's name in our adapter files
    module: str
    side: str  # "in" or "out"
    size: int


@dataclass
class OnnxBase:
    """A base that ONNX Runtime runs; `model.kinds.Base` says what its members are."""

    folder: Path  # with MODEL in it
    name: str
    fingerprint: dict[str, Any]
    inputs: list[VectorInput]  # in the order of the graph
    vocabulary: Vocabulary
    stride: int
    minimum_samples: int
    maximum_seconds: float | None
    options: LoadOptions = LoadOptions()  # noqa: RUF009  (immutable)
    search_options: SearchOptions = SearchOptions()  # noqa: RUF009
    hallucinates_on_silence: ClassVar[bool] = False
    abilities: ClassVar[frozenset[str]] = frozenset({"alternatives"})
    task: ClassVar[str] = "transcribe"
    batch_seconds: ClassVar[float] = 40.0

    @classmethod
    def load(cls, folder: Path) -> "OnnxBase":
        """Read the description. Raises AdapterError if there is none, or it is damaged."""
        if not (folder / DESCRIPTION).is_file():
            raise AdapterError(f"{folder}: has no {DESCRIPTION} (ia3-speech export writes it)")
        record = read_json(folder / DESCRIPTION)
        try:
            inputs = [VectorInput(**each) for each in record.pop("inputs")]
            vocabulary = record.pop("vocabulary")
            vocabulary = Vocabulary(**(vocabulary | {"special": frozenset(vocabulary["special"])}))
            return cls(folder=folder, inputs=inputs, vocabulary=vocabulary, **record)
        except (KeyError, TypeError) as error:
            raise AdapterError(f"{folder / DESCRIPTION}: {error} (damaged: export it again)") from error

    def padded_seconds(self, seconds: float, window: str | None) -> float:
        return seconds

    def save(self) -> None:
        """Write the description into `folder`."""
        record = asdict(self)
        record["vocabulary"]["special"] = sorted(self.vocabulary.special)
        del record["folder"], record["options"], record["search_options"]
        write_json(self.folder / DESCRIPTION, record)

    def recognizer(self, spec: AdapterSpec) -> Recognizer:
        """The recogniser of a request. Raises UserError for a choice by audio, and as `read`."""
        if spec.choice or spec.channels or spec.guard:
            raise UserError(f"{spec}: a graph takes an adapter or a sum (load the base itself)")
        vectors, options = self.vectors(spec), self.options
        return Recognizer(
            self,
            spec,
            *self.search,
            options.scaling,
            compute=lambda waves, *_: self.logits(waves, [vectors] * len(waves)),
            batch_seconds=options.batch_seconds,
            max_seconds=options.max_seconds or self.maximum_seconds or MAXIMUM_SECONDS,
            vad=options.vad or "energy",
        )

    @cached_property
    def search(self) -> tuple[Search, dict[str, Any]]:
        return make_search(self.search_options, self)

    @cached_property
    def session(self) -> Any:
        """The graph in ONNX Runtime, without its warning for each vector that has a default."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        if hasattr(os, "sched_getaffinity"):  # taskset or a container may allow fewer cores than there are
            options.intra_op_num_threads = len(os.sched_getaffinity(0))
        return onnxruntime.InferenceSession(self.folder / MODEL, options)

    def own_search(self, *_: Any) -> None:
        """As `Base.own_search`: a search makes texts of the logits."""

    def timed(self, *_: Any) -> None:
        """As `Base.timed`: forced alignment finds the words."""

    @cached_property
    def greedy(self) -> GreedySearch:
        return GreedySearch(self.vocabulary)

    def logits(
        self, waves: Sequence[np.ndarray], vectors: Sequence[Vectors | None] | None = None
    ) -> list[np.ndarray]:
        """A (frames, vocabulary) array for each wave, fp32, equal to that wave alone.

        Args:
            waves: float32 (samples,), 16 kHz, full scale ±1.
            vectors: for each wave its adapter's arrays, (d,), for all or some inputs; None: the base.

        Raises:
            AdapterError: an array belongs to no input, or has another length.
            ValueError: the numbers of vectors and waves differ, or a wave is shorter than `minimum_samples`.
        """
        vectors = [each or {} for each in vectors or [{}] * len(waves)]
        if not waves:
            return []
        if len(vectors) != len(waves) or min(map(len, waves)) < self.minimum_samples:
            raise ValueError(
                f"{len(waves)} waves and {len(vectors)} vectors, the shortest wave of {min(map(len, waves))} "
                f"samples ({self.minimum_samples} are needed)"
            )
        for each in vectors:
            self.check_vectors("the arrays", each)
        lengths = np.array([len(wave) for wave in waves], np.int64)
        batch = np.zeros((len(waves), lengths.max()), np.float32)
        for row, wave in zip(batch, waves, strict=True):
            row[: len(wave)] = wave
        feeds = {"waves": batch, "lengths": lengths}
        for name, size in self.sizes.items():
            if any(name in row for row in vectors):
                feeds[name] = np.stack([row.get(name, np.ones(size, np.float32)) for row in vectors])
        logits, frames = self.session.run(None, feeds)
        return [row[:count] for row, count in zip(logits, frames, strict=True)]

    def vectors(self, spec: AdapterSpec) -> dict[str, np.ndarray]:
        """The arrays of an adapter, or of a weighted sum, 1 + Σ wᵢ·(lᵢ − 1), by their inputs. Raises
        AdapterError as `read`."""
        terms = spec.terms
        adapters = [self.read(term) for term in terms]
        if spec.is_single:
            return adapters[0]
        rest, total = fsum([1.0, *(-term.weight for term in terms)]), {}
        for name, size in self.sizes.items():
            if any(name in adapter for adapter in adapters):
                rows = [adapter.get(name, np.ones(size)).astype(float) for adapter in adapters]
                summed = sum(term.weight * row for term, row in zip(terms, rows, strict=True))
                total[name] = (summed + rest).astype(np.float32)
        return total

    def read(self, term: Term) -> dict[str, np.ndarray]:
        """An adapter's arrays from its folder, ours or PEFT's. Raises AdapterError if it is of another base
        or method, holds a head, lacks a vector of its record, or has a vector that fits no input."""
        term.refuse_damage()
        folder, record = term.folder, term.record
        if method := other_method(term.record):
            raise AdapterError(f"{folder}: its method is {method}, and a graph's inputs are IA³ vectors")
        if is_ours(record) and not same_base(recorded := record.get("fingerprint", {}), self.fingerprint):
            raise AdapterError(
                f"{folder} was trained on another base, {record.get('base') or 'unnamed'} "
                f"({describe_base(recorded)}); the graph {self.folder} is of {self.name}, "
                f"{describe_base(self.fingerprint)}"
            )
        tensors = read_weights(folder)
        if head := [name for name in tensors if ".ia3_" not in name]:
            raise AdapterError(
                f"{folder}: {head[0]} is of a trained head, which is not an input of a graph (merge it: "
                f"ia3-speech export --adapter {folder} --format onnx-asr, or another merged format)"
            )
        arrays = {f"{each.module}.ia3_{each.placement}": each.values for each in vectors_in(tensors)}
        self.check_vectors(folder, arrays)
        if is_ours(record) and (missing := self.inputs_of(ia3_config(record, folder)) - arrays.keys()):
            names = shorten(sorted(missing), most=5)
            raise AdapterError(f"{folder}: its {METADATA} records {names}, which its tensors lack")
        return arrays

    def inputs_of(self, config: IA3Config) -> set[str]:
        """The inputs of an adapter with these placements and layers."""
        numbers = config.layer_numbers(self.fingerprint["layers"])
        targets = [(name, vector_of(name, np.ones(0))) for name in self.sizes]
        targets = [(name, target) for name, target in targets if target.placement in config.placements]
        return {name for name, target in targets if target.placement == "conv" or target.layer in numbers}

    @property
    def sizes(self) -> dict[str, int]:
        return {each.name: each.size for each in self.inputs}

    def check_vectors(self, subject: Path | str, vectors: Vectors) -> None:
        """Raise AdapterError, whose message begins with `subject`, unless each array fits an input."""
        for name, array in vectors.items():
            fault, size = "", self.sizes.get(name)
            if size is None:
                fault = f"is not an input of the graph {self.folder}"
            elif array.shape != (size,):
                fault = f"has shape {array.shape}, and the graph {self.folder} has ({size},) there"
            elif not np.isfinite(array).all():
                fault = "holds NaN or infinite values"
            if fault:
                raise AdapterError(f"{subject}: {name} {fault}")
