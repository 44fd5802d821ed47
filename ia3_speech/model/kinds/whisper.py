"""Whisper: an encoder of log-mel windows, and a decoder that writes tokens (Radford et al. 2022, arXiv
2212.04356); vectors may be in both.

In: waveforms, float32 (samples,), 16 kHz mono, of at most 30 s. Out: the encoder's output for each, (frames,
channels), a frame each 20 ms; and from it texts, losses, word times.

A window is the audio that the encoder gets:

    30s      the utterance, and silence up to 30 s, as in Whisper's training; the base alone
    short    the utterance and a second of silence, at least 2 s: four fifths less work for short utterances

The published models repeat words without end in short windows, until an adapter is trained in them. An
adapter records its window (`IA3Config.window`), so that rows of a batch may have different windows: the
padding of shorter rows is masked in self-attention and cross-attention, so a row equals that row alone.
"""

import dataclasses
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import nn
from torch.nn.utils.rnn import pad_sequence

from ia3_speech.common.errors import BaseError, UserError
from ia3_speech.data.audio import SAMPLE_RATE
from ia3_speech.data.text import Vocabulary
from ia3_speech.model.architectures import is_in_decoder
from ia3_speech.model.fingerprint import fingerprint
from ia3_speech.model.hypotheses import Hypothesis, TimedWord
from ia3_speech.model.ia3 import ROWS, WINDOWS, attachment, layers_of, using_rows, vectors
from ia3_speech.model.kinds import Base
from ia3_speech.model.kinds.ctc import divergence_from, likeliest_symbols
from ia3_speech.model.kinds.whisper_search import (
    TEMPERATURES,
    Generation,
    Steps,
    in_heads,
    padding_mask,
    word_spans,
)
from ia3_speech.model.precision import compute_fast
from ia3_speech.model.sharing import structural_copy

HOP, WINDOW = 160, 400  # samples: 10 ms from one log-mel frame to the next, each over 25 ms
FULL_FRAMES = 3000  # log-mel frames of 30 s
SILENCE_FRAMES, MIN_FRAMES = 100, 200  # of a short window: its silence, its shortest length
DYNAMIC_RANGE, SILENT = 2.0, -1.5  # of a log-mel window: 80 dB below its peak; the value of digital silence

NO_TIMESTAMPS = "<|notimestamps|>"


@dataclass(frozen=True)
class Tokens(Vocabulary):
    """Whisper's byte pairs, which write every text."""

    tokenizer: Any = field(default=None, compare=False, repr=False)
    writes_pieces: ClassVar[bool] = True

    def encode(self, text: str, drop_unknown: bool = False) -> list[int]:
        """The tokens of a text, in which `<|endoftext|>` is these characters and no control token."""
        pieces = re.split(r"(?<=<)(?=\|)", f" {text}") if text else []
        options = {"add_special_tokens": False, "verbose": False}  # without a warning of a long text
        return [id for piece in pieces for id in self.tokenizer(piece, **options).input_ids]

    def decode(self, ids: Sequence[int]) -> str:
        return self.tokenizer.decode(list(ids), skip_special_tokens=True).strip()

    def missing(self, texts: Sequence[str]) -> Any:
        return super().missing(())


@dataclass
class Whisper(Base):
    """A Whisper base. `kinds.Base` says what each method returns.

    Attributes:
        window: 30s or short, of rows whose adapter records none.
        language: a code such as en; auto; None: an adapter's, else en.
        task: transcribe, or translate into English.
    """

    window: str = "30s"
    language: str | None = None
    task: str = "transcribe"

    kind, auto_class, scoring = "a Whisper model", "AutoModelForSpeechSeq2Seq", "english"
    hallucinates_on_silence = True
    abilities = frozenset({"choice of windows", "choice of languages"})
    precisions = ("bf16", "int8")
    batch_seconds = 240.0  # a decoder step takes hardly longer for several rows
    stride, minimum_samples, maximum_seconds = 2 * HOP, WINDOW, FULL_FRAMES * HOP / SAMPLE_RATE

    @classmethod
    def wrap(cls, model: nn.Module, processor: Any, name: str) -> Self:
        """The base of a loaded model and its processor. Raises BaseError if generation settings or the
        tokenizer are missing, in whose place transformers takes its defaults and an empty vocabulary."""
        token = getattr(model.generation_config, "no_timestamps_token_id", None)
        missing = "generation settings" if token is None else "tokenizer"
        tokenizer = getattr(processor, "tokenizer", None)
        if not (token and tokenizer and tokenizer.convert_ids_to_tokens(token) == NO_TIMESTAMPS):
            raise BaseError(
                f"{name}: has no {missing} of Whisper (copy generation_config.json, tokenizer.json and "
                f"tokenizer_config.json of the published model into the folder)"
            )
        vocabulary = Tokens(dict(tokenizer.get_vocab()), -1, " ", "mixed", tokenizer=tokenizer)
        return cls(name, model.eval().requires_grad_(False), processor, vocabulary, fingerprint(model))

    @torch.no_grad()
    def features(self, wave: np.ndarray, depth: int | None = None) -> torch.Tensor:
        """(frames, mels) of the utterance alone: `forward` adds the window's silence."""
        frames = min((len(wave) + WINDOW // 2 - 1) // HOP + 1, FULL_FRAMES)
        extractor = self.processor.feature_extractor
        padded = np.pad(wave[: FULL_FRAMES * HOP], (0, 3 * WINDOW))
        options = {"sampling_rate": SAMPLE_RATE, "padding": False, "truncation": False}
        mel = extractor(padded, return_tensors="pt", **options).input_features[0]
        return mel.T[:frames].to(self.device, self.model.dtype)

    def forward(
        self, features: Sequence[torch.Tensor], depth: int | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The encoder's output, (batch, frames, channels), and the rows' frames."""
        state = attachment(self.model)
        settings = vars(state.config) if state.config else state.inserted.config if state.inserted else {}
        windows = WINDOWS.get() or [settings.get("window")] * len(features)
        rows = [in_window(row, each or self.window) for row, each in zip(features, windows, strict=True)]
        model, frames = structural_copy(self.model), [len(row) // 2 for row in rows]
        encoder = model.get_submodule(layers_of(model)[0].rpartition(".")[0])
        mask = padding_mask(frames, self.device, self.model.dtype)
        encoder.forward = partial(run_layers, encoder, mask=mask)
        compute_fast(model, self.precision)
        x = convolve(encoder, pad_sequence(rows, batch_first=True))
        encoded = encoder(x + encoder.embed_positions.weight[: x.shape[1]])
        return encoded, torch.tensor(frames, device=self.device)

    def rows_of(self, encoded: torch.Tensor, frames: torch.Tensor) -> list[torch.Tensor]:
        """Also stores the decoder's vectors of each row, if rows have their own, in its attribute `vectors`:
        path of the vector → (1, 1, d)."""
        rows, stacked = super().rows_of(encoded, frames), ROWS.get() or {}
        own = [
            v for v in vectors(self.model).values() if v.l in stacked and is_in_decoder(v.target.placement)
        ]
        for number, row in enumerate(rows):
            row.vectors = {v.target.vector_path: stacked[v.l][number : number + 1] for v in own}
        return rows

    def to_device(self, row: Any) -> torch.Tensor:
        """A row of `logits` on the base's device and in its type, with its vectors."""
        moved = torch.as_tensor(row).to(self.device, self.model.dtype)
        moved.vectors = getattr(row, "vectors", {})
        return moved

    def vectors_of(self, rows: Sequence[torch.Tensor]) -> dict[nn.Parameter, torch.Tensor]:
        """The decoder's vectors of the rows of a batch, for `using_rows`; none if no row has its own."""
        modules = vectors(self.model) if any(getattr(row, "vectors", {}) for row in rows) else {}
        return {
            module.l: torch.cat(
                [row.vectors.get(path, torch.ones_like(module.l[None, None])) for row in rows]
            )
            for path, module in modules.items()
            if is_in_decoder(module.target.placement)
        }

    @torch.no_grad()
    def front_end(self, features: torch.Tensor) -> torch.Tensor:
        """The convolutions' output: their channels separate kinds of speech better than the mel bands."""
        return convolve(self.model.get_encoder(), features[None])[0]

    @property
    def is_multilingual(self) -> bool:
        return getattr(self.model.generation_config, "is_multilingual", False)

    def prefix(self, language: str | None = None) -> tuple[int, ...]:
        """The tokens with which the decoder starts: start, language, task, no times."""
        language = language or self.language or "en"
        settings, chosen = self.model.generation_config, []
        if self.is_multilingual:
            chosen = [settings.lang_to_id[f"<|{language}|>"], settings.task_to_id[self.task]]
        return (settings.decoder_start_token_id, *chosen, settings.no_timestamps_token_id)

    def padded_seconds(self, seconds: float, window: str | None) -> float:
        return seconds if (window or self.window) == "short" else self.maximum_seconds

    def configure(self, **settings: str | None) -> None:
        """Also raises UserError for a language that the model does not know, or a task that it can't do."""
        super().configure(**settings)
        self.check_language(self.language or "en")

    @property
    def languages(self) -> Sequence[str]:
        """auto, and the codes that the model knows; of an English model en."""
        if not self.is_multilingual:
            return ["en"]
        return ["auto", *sorted(name.strip("<|>") for name in self.model.generation_config.lang_to_id)]

    def adapter_settings(self, window: str, language: str | None) -> dict[str, str | None]:
        self.configure(language=language)
        return {"window": window, "language": language}

    def check_language(self, language: str) -> None:
        """Raises UserError for a language that the model does not know, or the base's task if it can't do
        that."""
        if not self.is_multilingual:
            if (language, self.task) != ("en", "transcribe"):
                fault = f"`task={self.task}`" if language == "en" else f"`language={language}`"
                raise UserError(f"{fault}: {self.name} only writes English (take a multilingual Whisper)")
            return
        if language not in self.languages:
            raise UserError(f"`language={language}`: {self.name} knows {', '.join(self.languages)}")

    def spoken(self, rows: Sequence[torch.Tensor]) -> list[str]:
        """The likeliest language of each row of the encoder's output."""
        ids = torch.tensor([*self.model.generation_config.lang_to_id.values()], device=self.device)
        best = ids[self.first_logits(rows)[:, ids].argmax(-1)]
        return [name.strip("<|>") for name in self.processor.tokenizer.convert_ids_to_tokens(best.tolist())]

    def silence(self, row: torch.Tensor) -> float:
        """The decoder's probability that nobody speaks in a row."""
        token = self.model.generation_config.no_timestamps_token_id - 1  # <|nospeech|>, <|nocaptions|>
        return float(self.first_logits([row])[0].softmax(-1)[token])

    def first_logits(self, rows: Sequence[torch.Tensor]) -> torch.Tensor:
        """(batch, vocabulary), fp32: of the token after the start."""
        start = torch.tensor([[self.model.generation_config.decoder_start_token_id]] * len(rows))
        return Steps(self, rows, 1, 1)(start.to(self.device))

    @property
    def end(self) -> int:
        """The token that ends a text."""
        return self.processor.tokenizer.eos_token_id

    def token_logits(
        self,
        encoded: torch.Tensor,
        frames: torch.Tensor,
        texts: Sequence[Sequence[int]],
        prefix: tuple[int, ...] = (),
    ) -> torch.Tensor:
        """(batch, tokens + 1, vocabulary): of each text's tokens and its end, given the tokens before."""
        model, prefix = structural_copy(self.model), prefix or self.prefix()
        mask = padding_mask(frames.tolist(), self.device, self.model.dtype)
        for layer in model.model.decoder.layers:
            layer.encoder_attn.forward = partial(attend_within, layer.encoder_attn.forward, mask)
        rows = [torch.tensor([*prefix, *ids], device=self.device) for ids in texts]
        tokens = pad_sequence(rows, batch_first=True, padding_value=self.end)
        output = model.model.decoder(input_ids=tokens, encoder_hidden_states=encoded, use_cache=False)
        return model.proj_out(output.last_hidden_state[:, len(prefix) - 1 :])

    def losses(
        self, encoded: torch.Tensor, frames: torch.Tensor, targets: Sequence[Sequence[int]]
    ) -> torch.Tensor:
        """The mean cross-entropy of each text's tokens and its end."""
        logits = self.token_logits(encoded, frames, targets).float().transpose(1, 2)
        rows = [torch.tensor([*ids, self.end], device=self.device) for ids in targets]
        wanted = pad_sequence(rows, batch_first=True, padding_value=-100)
        losses = nn.functional.cross_entropy(logits, wanted, reduction="none", ignore_index=-100)
        return losses.sum(1) / (wanted != -100).sum(1)

    @torch.no_grad()
    def summary(self, row: torch.Tensor) -> dict[str, torch.Tensor]:
        """`tokens` of the greedy text and the `prompt_tokens` before it; `symbols` and `probabilities`, as
        for CTC, of the text's tokens and its end."""
        text = self.greedy(row)
        row = row[None].to(self.device, self.model.dtype)
        logits = self.token_logits(row, torch.tensor([row.shape[1]]), [text.tokens], text.prompt_tokens)[0]
        ids = {"tokens": text.tokens, "prompt_tokens": text.prompt_tokens}
        ids = {name: torch.tensor(tokens, dtype=torch.int) for name, tokens in ids.items()}
        return ids | likeliest_symbols(logits)

    def divergence(
        self, encoded: torch.Tensor, frames: torch.Tensor, summaries: Sequence[Mapping[str, torch.Tensor]]
    ) -> torch.Tensor:
        prompt = tuple(summaries[0]["prompt_tokens"].tolist())  # by the same search for all
        logits = self.token_logits(encoded, frames, [each["tokens"].tolist() for each in summaries], prompt)
        lengths = torch.tensor([len(each["symbols"]) for each in summaries], device=self.device)
        return divergence_from(logits, lengths, summaries)

    def misfit(self, ids: Sequence[int], samples: int, speed: float = 1.0) -> str | None:
        longest = self.model.config.max_target_positions - len(self.prefix("en")) - 1
        if len(ids) > longest:
            return f"its text has {len(ids)} tokens, and the decoder writes {longest}"
        if samples / speed > FULL_FRAMES * HOP:
            return (
                f"its {samples / speed / SAMPLE_RATE:.2f} s exceed the window of {self.maximum_seconds:g} s"
            )
        return None

    def target(self, text: str, mode: str, *, as_is: bool = False) -> str:
        """The text as Whisper writes: if it is in one case, with a capital and a full stop."""
        text = " ".join(text.split())
        return text if as_is else written(text)

    @property
    def greedy(self) -> Generation:
        return dataclasses.replace(self.quick, temperatures=TEMPERATURES)

    @property
    def quick(self) -> Generation:
        return Generation(self, self.language or "en")

    def own_search(self, beam_size: int, terms: Sequence[str]) -> tuple[Generation, dict[str, Any]]:
        """`terms` become the prompt."""
        search = dataclasses.replace(self.greedy, beam_size=beam_size).prompted(terms)
        record = {"search": "beam" if beam_size > 1 else "greedy", "task": self.task}
        return search, record | ({"prompt": search.prompt} if terms else {})

    def prompted(
        self, search: Generation, terms: Sequence[str], language: str | None, adapter_language: str | None
    ) -> Generation:
        return search.prompted(terms, language or self.language or adapter_language)

    @torch.no_grad()
    def timed(self, row: torch.Tensor, hypothesis: Hypothesis, seconds: float) -> list[TimedWord]:
        """Times by dynamic time warping of the alignment heads' cross-attention, as OpenAI's; a word's
        confidence is the product of its tokens' probabilities."""
        from transformers.models.whisper.generation_whisper import _dynamic_time_warping, _median_filter

        if not hypothesis.words:
            return []
        ids, row, queries = hypothesis.tokens, self.to_device(row), hypothesis.queries
        if queries.shape[1] == len(ids):  # a text that was cut off: its last token's stand for the end's
            queries = torch.cat([queries, queries[:, -1:]], 1)
        with self.lock.shared(), using_rows(self.vectors_of([row])):
            weights = self.alignment(row, queries[:, : len(ids) + 1])
        frames = max(1, min(len(row), round(seconds * SAMPLE_RATE / self.stride)))
        weights = weights[None, ..., :frames].softmax(-1)
        weights = (weights - weights.mean(-2, keepdim=True)) / weights.std(-2, keepdim=True, unbiased=False)
        matrix = _median_filter(weights, self.model.config.median_filter_width)[0].mean(0)
        tokens, times = _dynamic_time_warping(-matrix.cpu().double().numpy())
        starts = times[np.diff(tokens, prepend=-1) > 0].tolist()  # of each token, and of the end
        words = []
        for text, first, last in word_spans(self.vocabulary, ids):
            end = max(starts[first], starts[last + 1] - 1)
            words.append(
                TimedWord(text, starts[first], end, math.exp(sum(hypothesis.scores[first : last + 1])))
            )
        return words

    @property
    def alignment_heads(self) -> list[tuple[int, int]]:
        """(layer, head) of cross-attention, whose weights follow the audio; without such settings, all of
        the decoder's upper half."""
        layers = self.model.model.decoder.layers
        upper, heads = range(len(layers) // 2, len(layers)), range(layers[0].encoder_attn.num_heads)
        every = [(number, head) for number in upper for head in heads]
        return getattr(self.model.generation_config, "alignment_heads", None) or every

    def alignment(self, row: torch.Tensor, queries: torch.Tensor) -> torch.Tensor:
        """(heads, tokens, d) → (heads, tokens, frames): the scores of the alignment heads, before the
        softmax."""
        scores = []
        for (number, head), own in zip(self.alignment_heads, queries.to(row), strict=True):
            attention = self.model.model.decoder.layers[number].encoder_attn
            scores.append(own @ in_heads(attention, attention.k_proj(row[None]))[0, head].T)
        return torch.stack(scores).float()


def convolve(encoder: nn.Module, mel: torch.Tensor) -> torch.Tensor:
    """(batch, frames, mels) → (batch, ⌈frames / 2⌉, channels)."""
    x = nn.functional.gelu(encoder.conv1(mel.transpose(1, 2)))
    return nn.functional.gelu(encoder.conv2(x)).transpose(1, 2)


def in_window(mel: torch.Tensor, window: str) -> torch.Tensor:
    """(frames, mels) with the silence of a window; an even number of frames."""
    frames = FULL_FRAMES if window == "30s" else max(MIN_FRAMES, len(mel) + SILENCE_FRAMES)
    frames = min(frames + frames % 2, FULL_FRAMES)
    silence = (mel.max() - DYNAMIC_RANGE).clamp_min(SILENT)
    return torch.cat([mel, silence.expand(frames - len(mel), mel.shape[1])])


def attend_within(forward: Callable, mask: torch.Tensor | None, x: torch.Tensor, **kwargs: Any) -> Any:
    """Replaces the forward pass of a copy's cross-attention, whose layer gives it no mask."""
    return forward(x, **kwargs | {"attention_mask": mask})


def run_layers(encoder: nn.Module, x: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """Replaces the forward pass of a copy's encoder: (batch, frames, channels) in and out."""
    x = nn.functional.dropout(x, encoder.dropout, encoder.training)
    for layer in encoder.layers:
        x = layer(x, attention_mask=mask)
    return encoder.layer_norm(x)


def written(text: str) -> str:
    """A text in one case as Whisper writes: "TAKE HER HOME" → "Take her home."; other texts are unchanged."""
    if text not in (text.lower(), text.upper()) or not text:
        return text
    words = ["I" + word[1:] if word.partition("'")[0] == "i" else word for word in text.lower().split(" ")]
    text = " ".join(words)
    return text[0].upper() + text[1:] + "." * text[-1].isalnum()
