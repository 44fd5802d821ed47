"""The search of a Whisper base, which writes texts from its encoder's output (see `kinds.whisper`)."""

import logging
import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import accumulate
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn.utils.rnn import pad_sequence

from ia3_speech.common.errors import SearchError
from ia3_speech.common.formatting import plural
from ia3_speech.data.audio import SAMPLE_RATE
from ia3_speech.data.text import Vocabulary
from ia3_speech.model.hypotheses import NAN, Hypothesis, Logits, TimedWord
from ia3_speech.model.ia3 import using_rows
from ia3_speech.model.int8 import compute_int8
from ia3_speech.model.sharing import structural_copy

logger = logging.getLogger(__name__)

MIN_SILENCE = 0.6  # OpenAI's limit of the probability that nobody speaks, for a text beyond the other limits
MAX_COMPRESSION, MIN_LOG_PROBABILITY = 2.4, -1.0  # OpenAI's limits, beyond which a text is decoded again
TEMPERATURES = (0.2, 0.4, 0.6, 0.8, 1.0)  # at once; the first text within the limits is taken
MAX_TOKENS, TOKENS_PER_SECOND = 16, 10  # of a text: some twice as many as the fastest speech has
REPEATED_TOKENS, REPEATS = 12, 3  # a run of tokens that is repeated so often, up to the end, is repetition
ENDED = -1e9  # added to the score of a beam that has ended, which then goes on only if no other can
SPACE = "Ġ"  # the tokenizer's sign of a space, with which a word begins


class Text(NamedTuple):
    """A text, so far or whole."""

    ids: tuple[int, ...] = ()  # without the end
    scores: tuple[float, ...] = ()  # log-probabilities of the tokens, and of the end if the decoder wrote it
    total: float = 0.0  # their sum
    temperature: float = 0.0
    queries: torch.Tensor | None = None  # `Steps.queries` of a whole text, one for each of `scores`

    def then(self, token: int, score: float, is_end: bool) -> "Text":
        ids = self.ids if is_end else (*self.ids, token)
        return self._replace(ids=ids, scores=(*self.scores, score), total=self.total + score)

    @property
    def rank(self) -> tuple[float, float]:
        """The best text has the lowest."""
        return self.temperature, -self.total / len(self.scores)


class Steps:
    """The decoder, some tokens at a time, for the rows of a batch, each of which may have several beams.

    It computes what transformers' decoder does, by the same modules. The keys and values of cross-attention
    are computed once a row, those of self-attention are written into a tensor that is allocated once, and
    rows that have ended leave the batch.

    Attributes:
        queries: (batch, heads, tokens, d): those of the alignment heads' cross-attention, from the token
            before the text on.
    """

    @torch.no_grad()
    def __init__(self, base: Any, rows: Sequence[torch.Tensor], beams: int, length: int):
        model = base.model
        if base.precision == "int8":
            model = structural_copy(model)
            compute_int8([model.model.decoder, model.proj_out])
        decoder, self.head = model.model.decoder, model.proj_out
        for module in [m for layer in decoder.layers for m in (layer, layer.self_attn, layer.encoder_attn)]:
            if module._forward_hooks or module._forward_pre_hooks:
                name = type(module).__name__
                raise SearchError(
                    f"a {name} has a hook, which the search would not call (hook its linear modules)"
                )
        self.decoder, self.alignment_heads = decoder, base.alignment_heads
        encoded, attention = pad_sequence([*rows], batch_first=True), decoder.layers[0].self_attn
        self.mask = padding_mask([len(row) for row in rows], base.device, encoded.dtype)
        self.vectors, self.beams = base.vectors_of(rows), beams
        with using_rows(self.vectors):
            self.cross = [
                [in_heads(layer.encoder_attn, project(encoded)).contiguous() for project in projections]
                for layer in decoder.layers
                for projections in [(layer.encoder_attn.k_proj, layer.encoder_attn.v_proj)]
            ]
        shape = len(rows) * beams, attention.num_heads, length, attention.head_dim
        self.past = encoded.new_empty(len(decoder.layers), 2, *shape)
        self.queries = encoded.new_empty(shape[0], len(self.alignment_heads), *shape[2:])
        self.position, self.count = 0, -1

    @torch.no_grad()
    def __call__(self, tokens: torch.Tensor) -> torch.Tensor:
        """(batch, tokens) → (batch, vocabulary): the logits of the token after them, in fp32."""
        first, self.position = self.position, self.position + tokens.shape[1]
        self.count += 1
        positions = self.decoder.embed_positions.weight[first : self.position]
        x = self.decoder.embed_tokens(tokens) + positions
        vectors = {key: rows.repeat_interleave(self.beams, 0) for key, rows in self.vectors.items()}
        with using_rows(vectors):
            for number, layer in enumerate(self.decoder.layers):
                x = x + self.attend(number, layer.self_attn, layer.self_attn_layer_norm(x))
                x = x + self.attend_to_audio(number, layer.encoder_attn, layer.encoder_attn_layer_norm(x))
                x = x + layer.fc2(layer.activation_fn(layer.fc1(layer.final_layer_norm(x))))
            return self.head(self.decoder.layer_norm(x[:, -1])[:, None])[:, 0].float()

    def attend(self, number: int, attention: nn.Module, x: torch.Tensor) -> torch.Tensor:
        tokens, queries = x.shape[1], attention.q_proj(x) * attention.scaling
        keys, values = past = self.past[number, ..., : self.position, :]
        new = in_heads(attention, attention.k_proj(x)), in_heads(attention, attention.v_proj(x))
        past[..., -tokens:, :] = torch.stack(new)
        y = nn.functional.scaled_dot_product_attention(
            in_heads(attention, queries), keys, values, is_causal=tokens > 1, scale=1.0
        )
        return attention.out_proj(y.transpose(1, 2).reshape(x.shape))

    def attend_to_audio(self, number: int, attention: nn.Module, x: torch.Tensor) -> torch.Tensor:
        """The beams of a row are queries of the same keys."""
        keys, values = self.cross[number]
        queries = in_heads(attention, attention.q_proj(x) * attention.scaling)
        for place, (layer, head) in enumerate(self.alignment_heads):
            if layer == number:
                self.queries[:, place, self.count] = queries[:, head, -1]
        together = queries.unflatten(0, (len(keys), -1)).transpose(1, 2).flatten(2, 3)
        y = nn.functional.scaled_dot_product_attention(together, keys, values, attn_mask=self.mask, scale=1.0)
        y = y.unflatten(2, (self.beams, -1)).permute(0, 2, 3, 1, 4)
        return attention.out_proj(y.reshape(x.shape))

    def select(self, order: Sequence[int], rows: Sequence[int]) -> None:
        """Go on with these beams, numbers in the batch, of these rows."""
        if len(rows) < len(self.cross[0][0]):
            self.cross = [[part[rows] for part in parts] for parts in self.cross]
            self.vectors = {key: values[rows] for key, values in self.vectors.items()}
            self.mask = None if self.mask is None else self.mask[rows]
        self.beams, unchanged = len(order) // len(rows), list(range(self.past.shape[2]))
        if list(order) == unchanged:
            return
        kept, asked = self.past[:, :, order, :, : self.position], self.queries[order]
        if len(order) != len(unchanged):
            self.past = self.past.new_empty(*kept.shape[:4], *self.past.shape[4:])
        self.past[..., : self.position, :], self.queries = kept, asked


@dataclass
class RowSearch:
    """The search of a row.

    Attributes:
        limit: tokens of its longest text.
        texts: that go on.
        beams: their number in a beam search; otherwise a text's last token is chosen for it alone.
        whole: the texts that have ended, the best first.
    """

    limit: int
    texts: list[Text]
    beams: int
    whole: list[Text] = field(default_factory=list)

    def advance(
        self,
        parents: Sequence[int],
        tokens: Sequence[int],
        scores: Sequence[float],
        queries: torch.Tensor,
        end: int,
    ) -> list[int]:
        """Add tokens, with their scores, to texts, whose numbers in the batch are `parents`; returns those of
        the texts that go on."""
        first, candidates = parents[0] // len(self.texts) * len(self.texts), []
        for parent, token, score in zip(parents, tokens, scores, strict=True):
            text = self.texts[parent - first].then(token, score, token == end)
            has_ended = token == end or len(text.ids) >= self.limit or repetition(text.ids) > 0
            candidates.append((text, parent, has_ended))
        for text, parent, has_ended in candidates[: self.beams or None]:
            if has_ended:
                own = queries[parent, :, : len(text.scores)].cpu()
                self.whole.append(text._replace(queries=own))
        self.whole = sorted(self.whole, key=lambda text: text.rank)[: self.beams or None]
        going = [each for each in candidates if not each[2]]
        if going and self.beams > 1:
            going += [
                (text._replace(total=text.total + ENDED), parent, True)
                for text, parent, ended in candidates
                if ended
            ]
            going = going[: self.beams]
            if len(self.whole) == self.beams and going[0][0].rank >= self.whole[-1].rank:
                going = []
        self.texts = [text for text, *_ in going]
        return [parent for _, parent, _ in going]


@dataclass(frozen=True)
class Generation:
    """The search of a Whisper base, for a batch at once: greedy, or with beams as transformers' `generate`.

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
            languages = base.spoken(rows) if self.language == "auto" else [self.language] * len(rows)
            for language in dict.fromkeys(languages):
                search = replace(self, language=language)
                numbers = [number for number, each in enumerate(languages) if each == language]
                texts = search.texts([rows[number] for number in numbers])
                for number, text in zip(numbers, texts, strict=True):
                    words = tuple(TimedWord(word, 0, 0) for word, *_ in word_spans(base.vocabulary, text.ids))
                    hypotheses[number] = Hypothesis(
                        words,
                        tokens=text.ids,
                        prompt_tokens=search.prompt_tokens,
                        language=language,
                        scores=text.scores,
                        queries=text.queries,
                    )
        return hypotheses

    def prompted(self, terms: Sequence[str], language: str | None = None) -> "Generation":
        """This search with terms, which may occur in the audio, in its prompt, and in another language. The
        prompt takes at most half of the tokens that the decoder holds: a warning tells how many of the first
        terms are left out."""
        self.base.check_language(language := language or self.language)
        terms = tuple(dict.fromkeys([*self.terms, *terms]))
        most, encode = self.base.model.config.max_target_positions // 2 - 1, self.base.vocabulary.encode
        lengths = accumulate(len(encode(f"{term},")) for term in reversed(terms))
        if cut := len(terms) - sum(length <= most for length in lengths):
            why = f"Whisper's prompt holds {most} tokens"
            logger.warning("%s: the first %d are left out (%s)", plural(len(terms), "hot word"), cut, why)
        terms = terms[cut:]
        return replace(self, language=language, terms=terms, again=[])

    @property
    def prompt(self) -> str:
        """The text before the utterance."""
        return f"{', '.join(self.terms)}." if self.terms else ""

    @cached_property
    def prompt_tokens(self) -> tuple[int, ...]:
        """The tokens before a text: the prompt's and the prefix."""
        ids = self.base.vocabulary.encode(self.prompt)
        prompt = (self.base.model.generation_config.prev_sot_token_id, *ids) if ids else ()
        return prompt + self.base.prefix(self.language)

    def texts(self, rows: Sequence[torch.Tensor]) -> list[Text]:
        """The text of each row, within the guards."""
        texts = [best for best, *_ in self.generate(rows)]
        for number, (text, row) in enumerate(zip(texts, rows, strict=True)):
            if not self.is_bad(text, row):
                continue
            self.again.append(self.base.vocabulary.decode(text.ids))
            sampled = self.generate([row], self.temperatures)[0] if self.temperatures else []
            good = next((each for each in sampled if not self.is_bad(each, row)), None)
            if good is None:
                silent = self.base.silence(row) > MIN_SILENCE
                good = text._replace(ids=text.ids[: 0 if silent else len(text.ids) - repetition(text.ids)])
            texts[number] = good
        return texts

    def generate(self, rows: Sequence[torch.Tensor], temperatures: Sequence[float] = ()) -> list[list[Text]]:
        """The whole texts of each row, the best first: the greedy one, or as many as there are beams; of a
        single row, one sampled at each temperature."""
        base, prompt, settings = self.base, self.prompt_tokens, self.base.model.generation_config
        beams = 0 if temperatures else self.beam_size
        begun = [Text(temperature=each) for each in temperatures or [0.0]]
        searches = [RowSearch(self.longest(row), begun, beams) for row in rows]
        steps = Steps(base, rows, len(begun), len(prompt) + max(each.limit for each in searches))
        tokens = torch.tensor([prompt] * (len(rows) * len(begun)), device=base.device)
        suppressed = [*(settings.suppress_tokens or ()), *(settings.begin_suppress_tokens or ())]
        going = searches
        with torch.random.fork_rng(devices=[base.device] if base.device.type == "cuda" else []):
            torch.manual_seed(0)
            while True:
                scores = steps(tokens).log_softmax(-1)
                scores[:, suppressed] = -math.inf
                suppressed = settings.suppress_tokens or []
                parents, chosen = choose(scores, [each.texts for each in going], beams)
                values, queries = scores[parents, chosen].tolist(), steps.queries
                found = zip(parents.tolist(), chosen.tolist(), values, strict=True)
                order = [
                    search.advance(*new, queries, base.end) for search, new in zip(going, found, strict=True)
                ]
                kept = [place for place, each in enumerate(order) if each]
                going = [going[place] for place in kept]
                if not going:
                    break
                steps.select([number for each in order for number in each], kept)
                last = [(text.ids or [base.end])[-1] for search in going for text in search.texts]
                tokens = torch.tensor(last, device=base.device)[:, None]
        return [each.whole for each in searches]

    def longest(self, row: torch.Tensor) -> int:
        """The number of tokens after which a row's text is cut off."""
        most = self.base.model.config.max_target_positions - len(self.prompt_tokens) - 1
        return min(most, MAX_TOKENS + len(row) * self.base.stride * TOKENS_PER_SECOND // SAMPLE_RATE)

    def is_bad(self, found: Text, row: torch.Tensor) -> bool:
        """Whether a text trips Whisper's guards."""
        text = self.base.vocabulary.decode(found.ids).encode()
        ratio = len(text) / len(zlib.compress(text)) if text else 0.0
        return (
            ratio > MAX_COMPRESSION
            or repetition(found.ids) > 0
            or len(found.ids) >= self.longest(row)
            or found.total / len(found.scores) < MIN_LOG_PROBABILITY
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


def choose(
    scores: torch.Tensor, texts: Sequence[Sequence[Text]], beams: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """(batch, vocabulary) → the next tokens of each row's texts, and the numbers in the batch of the texts
    that they follow, (rows, candidates): of a beam search twice as many as beams, the best first."""
    numbers = torch.arange(len(scores), device=scores.device).view(len(texts), -1)
    if beams == 1:
        return numbers, scores.argmax(-1, keepdim=True)
    if not beams:
        divisors = torch.tensor([text.temperature for text in texts[0]], device=scores.device)
        return numbers, torch.multinomial((scores / divisors[:, None]).softmax(-1), 1).T
    totals = torch.tensor([[text.total for text in each] for each in texts], device=scores.device)
    best = (scores.view(*totals.shape, -1) + totals[..., None]).flatten(1).topk(2 * beams).indices
    return numbers[:, :1] + best // scores.shape[1], best % scores.shape[1]


def in_heads(attention: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """(batch, time, channels) → (batch, heads, time, d)."""
    return x.unflatten(-1, (attention.num_heads, attention.head_dim)).transpose(1, 2)


def padding_mask(frames: Sequence[int], device: Any, dtype: torch.dtype) -> torch.Tensor | None:
    """(batch, 1, 1, frames): 0 for a row's frames, the lowest number beyond; None where all are alike."""
    if len({*frames}) == 1:
        return None
    beyond = torch.arange(max(frames), device=device) >= torch.tensor(frames, device=device)[:, None]
    lowest = torch.finfo(dtype).min
    return torch.zeros(beyond.shape, device=device, dtype=dtype).masked_fill(beyond, lowest)[:, None, None]
