"""The search of a Whisper base, which writes texts from its encoder's output (see `kinds.whisper`)."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence

from ia3_speech.common.errors import SearchError
from ia3_speech.data.audio import SAMPLE_RATE
from ia3_speech.data.text import Vocabulary
from ia3_speech.model.hypotheses import NAN, Hypothesis, Logits, TimedWord

MIN_SILENCE = 0.6  # OpenAI's limit of the probability that nobody speaks, for a text beyond the other limits
MAX_COMPRESSION, MIN_LOG_PROBABILITY = 2.4, -1.0  # OpenAI's limits, beyond which a text is decoded again
TEMPERATURES = (0.2, 0.4, 0.6, 0.8, 1.0)  # at once; the first text within the limits is taken
MAX_TOKENS, TOKENS_PER_SECOND = 16, 10  # of a text: some twice as many as the fastest speech has
REPEATED_TOKENS, REPEATS = 12, 3  # a run of tokens that is repeated so often, up to the end, is repetition
SPACE = "Ġ"  # the tokenizer's sign of a space, with which a word begins


@dataclass(frozen=True)
class Generation:
    """The search of a Whisper base, by transformers' `generate`, for a batch at once.

    A text that repeats itself or compresses by more than 2.4, that is longer than speech can be, or whose
    tokens are improbable, is decoded again by sampling; of the texts without these faults, that of the lowest
    temperature is taken. If there is none, the repetition is cut off after its first occurrence; and there is
    no text if the decoder says that nobody speaks.

    Attributes:
        language: a code such as en, or auto, which finds it for each row.
        terms: words that may occur in the audio; they are the text before it.
        temperatures: of the sampling; none: nothing is sampled.
        again: the texts so far that were decoded again.
    """

    base: Any = field(repr=False, compare=False)  # a `whisper.Whisper`
    language: str = "en"
    beam_size: int = 1
    terms: tuple[str, ...] = ()
    temperatures: tuple[float, ...] = ()
    again: list[str] = field(default_factory=list, repr=False, compare=False)

    def __call__(self, row: Logits) -> Hypothesis:
        return self.many([row])[0]

    @torch.no_grad()
    def many(self, rows: Sequence[Logits]) -> list[Hypothesis]:
        """The hypothesis of each row of the encoder's output, (frames, channels)."""
        base = self.base
        rows = [base.to_device(row) for row in rows]
        if any(bool(row.isnan().any()) for row in rows):
            raise SearchError(NAN)
        hypotheses: list[Hypothesis | None] = [None] * len(rows)
        with base.lock.shared():
            languages = [base.spoken(row) if self.language == "auto" else self.language for row in rows]
            for language in dict.fromkeys(languages):
                search = replace(self, language=language)
                numbers = [number for number, each in enumerate(languages) if each == language]
                texts = search.texts([rows[number] for number in numbers])
                for number, ids in zip(numbers, texts, strict=True):
                    words = tuple(TimedWord(text, 0, 0) for text, *_ in word_spans(base.vocabulary, ids))
                    tokens = {"tokens": tuple(ids), "prompt_tokens": search.prompt_tokens}
                    hypotheses[number] = Hypothesis(words, **tokens, language=language)
        return hypotheses

    def prompted(self, terms: Sequence[str], language: str | None = None) -> "Generation":
        """This search with terms, which may occur in the audio, in its prompt, and in another language."""
        self.base.check_language(language := language or self.language)
        terms = tuple(dict.fromkeys([*self.terms, *terms]))
        return replace(self, language=language, terms=terms, again=[])

    @property
    def prompt(self) -> str:
        """The text before the utterance."""
        return f"{', '.join(self.terms)}." if self.terms else ""

    @cached_property
    def prompt_tokens(self) -> tuple[int, ...]:
        """The tokens before a text: the prompt's, at most half of what the decoder holds, and the prefix."""
        most = self.base.model.config.max_target_positions // 2 - 1
        ids = self.base.vocabulary.encode(self.prompt)[-most:]
        prompt = (self.base.model.generation_config.prev_sot_token_id, *ids) if ids else ()
        return prompt + self.base.prefix(self.language)

    def texts(self, rows: Sequence[torch.Tensor]) -> list[list[int]]:
        """The tokens of each row's text, within the guards."""
        texts = self.generate(rows)
        scores = self.base.log_probabilities(rows, texts, self.prompt_tokens)
        for number, row in enumerate(rows):
            if not self.is_bad(texts[number], scores[number], row):
                continue
            self.again.append(self.base.vocabulary.decode(texts[number]))
            good = self.sample(row) if self.temperatures else None
            if good is None:
                silent = self.base.silence(row) > MIN_SILENCE
                good = texts[number][: 0 if silent else len(texts[number]) - repetition(texts[number])]
            texts[number] = good
        return texts

    def sample(self, row: torch.Tensor) -> list[int] | None:
        """The tokens of the first text within the guards; None if there is none."""
        rows = [row] * len(self.temperatures)
        texts = self.generate(rows, self.temperatures)
        scored = zip(texts, self.base.log_probabilities(rows, texts, self.prompt_tokens), strict=True)
        return next((ids for ids, scores in scored if not self.is_bad(ids, scores, row)), None)

    def generate(self, rows: Sequence[torch.Tensor], temperatures: Sequence[float] = ()) -> list[list[int]]:
        """The tokens of each row's text, without the end; sampled if each row has a temperature."""
        from transformers import GenerationMixin
        from transformers.modeling_outputs import BaseModelOutput

        base, prompt = self.base, self.prompt_tokens
        model = base.copy_within([len(row) for row in rows]).eval()
        divisors = torch.tensor(temperatures or (1.0,), device=base.device)[:, None]
        encoded, lengths = pad_sequence(rows, batch_first=True), [self.longest(row) for row in rows]
        devices = [base.device] if base.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices), base.vectors_of(rows):
            torch.manual_seed(0)
            output = GenerationMixin.generate(
                model,
                encoder_outputs=BaseModelOutput(encoded),
                attention_mask=encoded.new_ones(encoded.shape[:2]),  # or `generate` warns; no layer gets it
                decoder_input_ids=torch.tensor([prompt] * len(rows), device=base.device),
                max_length=len(prompt) + max(lengths),
                do_sample=bool(temperatures),
                num_beams=1 if temperatures else self.beam_size,
                logits_processor=[lambda _ids, scores: scores / divisors],
                stopping_criteria=[ends_in_repetition],
            )
        texts = [ids[len(prompt) :] for ids in output.tolist()]
        texts = [ids[: ids.index(base.end)] if base.end in ids else ids for ids in texts]
        return [ids[:length] for ids, length in zip(texts, lengths, strict=True)]

    def longest(self, row: torch.Tensor) -> int:
        """The number of tokens after which a row's text is cut off."""
        most = self.base.model.config.max_target_positions - len(self.prompt_tokens) - 1
        return min(most, MAX_TOKENS + len(row) * self.base.stride * TOKENS_PER_SECOND // SAMPLE_RATE)

    def is_bad(self, ids: Sequence[int], scores: torch.Tensor, row: torch.Tensor) -> bool:
        """Whether a text trips Whisper's guards."""
        text = self.base.vocabulary.decode(ids).encode()
        ratio = len(text) / len(zlib.compress(text)) if text else 0.0
        return (
            ratio > MAX_COMPRESSION
            or repetition(ids) > 0
            or len(ids) >= self.longest(row)
            or float(scores.mean()) < MIN_LOG_PROBABILITY
        )


def word_spans(vocabulary: Vocabulary, ids: Sequence[int]) -> list[tuple[str, int, int]]:
    """The words of a text, each with the numbers of its first and its last token."""
    groups: list[list[int]] = []
    for number, token in enumerate(vocabulary.tokenizer.convert_ids_to_tokens(list(ids))):
        if not groups or token.startswith(SPACE):
            groups.append([])
        groups[-1].append(number)
    texts = [(vocabulary.decode(ids[group[0] : group[-1] + 1]), group[0], group[-1]) for group in groups]
    return [word for word in texts if word[0]]


def repetition(ids: Sequence[int]) -> int:
    """How many tokens at the end of a text repeat the run of tokens before them."""
    for length in range(1, len(ids) // REPEATS + 1):
        count = 1
        while ids[-(count + 1) * length : len(ids) - count * length] == ids[-length:]:
            count += 1
        if count >= REPEATS and count * length >= REPEATED_TOKENS:
            return (count - 1) * length
    return 0


def ends_in_repetition(ids: torch.Tensor, _scores: Any, **_options: Any) -> torch.Tensor:
    """(batch,): whether the text of a row repeats itself, which ends it (a `StoppingCriteria`)."""
    return torch.tensor([repetition(row) > 0 for row in ids.tolist()], device=ids.device)
