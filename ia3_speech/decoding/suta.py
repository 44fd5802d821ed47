"""Test-time adaptation: IA³ vectors adapt to each piece of audio before its logits are taken.

    load("mini", test_time="suta").transcribe("audio.wav")
    ia3-speech transcribe --test-time suta --adapter mandarin audio.wav

Some steps of AdamW on the vectors of a request's adapter (else ones) lower, for each piece of audio (SUTA:
Lin et al. 2022, arXiv 2203.14222),

    α · mean H(p_t) + (1 − α) · C        p_t = softmax(logits_t / T)

H is the entropy, the mean over the frames whose likeliest symbol is not the blank; C, the minimum class
confusion, is the sum off the diagonal of Pᵀ P, each row scaled to a sum of 1, divided by the number of
symbols (Jin et al. 2020, arXiv 1912.03699; over all frames). α and T are as published. Five steps at 1e-2
were better for IA³ vectors than the published ten at 2e-5 for layer norms.

With a language model adaptation may hurt, since the logits become too sure to be corrected (SUTA-LM, arXiv
2506.11121). So a text is searched for after each step, and the text with the best score of the language model
is taken. Only the request's forward passes use its vectors (`ia3.using_rows`).
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from ia3_speech.adapters.record import Adapter
from ia3_speech.model.architectures import IA3Config
from ia3_speech.model.base import Base
from ia3_speech.model.hypotheses import Search
from ia3_speech.model.ia3 import ROWS, target_modules, using_rows, vector_size

if TYPE_CHECKING:
    from ia3_speech.adapters.cache import AdapterCache, Terms

STEPS = 5
TEMPERATURE = 2.5  # T
ENTROPY_WEIGHT = 0.3  # α
LEARNING_RATE = 1e-2  # of AdamW, for IA³ vectors
START = "ones"  # in the bank, the adapter from which a request without an adapter starts
ADAPTED = ("key", "value", "ffn", "ffn_output", "attention_output")  # its placements

# A vector's parameter in the model → the request's values for it, (1, 1, d).
Rows = dict[nn.Parameter, torch.Tensor]


class Suta:
    """Adapts the vectors of each piece of audio, from the request's start."""

    def __init__(self, cache: "AdapterCache"):
        self.cache = cache
        if START not in cache.bank:  # of requests without an adapter
            model, config = cache.bank.base.model, IA3Config(ADAPTED)
            ones = {t: torch.ones(vector_size(model, t)) for t in target_modules(model, config)}
            cache.bank.add(START, Adapter(START, config, ones))

    def logits(self, search: Search, wave: np.ndarray, terms: "Terms") -> torch.Tensor:
        """(frames, vocabulary), fp32 on the CPU, of `wave`, (samples,), which is not cut; from the adapter of
        `terms`. `search` chooses the number of steps."""
        candidates = self.candidates(wave, terms)
        return candidates[choose_step(search, candidates)]

    def candidates(self, wave: np.ndarray, terms: "Terms") -> list[torch.Tensor]:
        """The logits after 0, 1, … STEPS steps; fewer if all frames are blank."""
        bank, row, candidates = self.cache.bank, self.cache.row(terms) or START, []
        with torch.inference_mode(False), torch.enable_grad(), bank.rows([row]):
            start = ROWS.get() or {}
            adapted = [v.l for v in bank.vectors.values() if v.target.placement in ADAPTED]
            rows = {vector: start[vector].detach().clone().requires_grad_() for vector in adapted}
            optimizer = torch.optim.AdamW(rows.values(), lr=LEARNING_RATE, weight_decay=0.0)
            piece = AudioPiece(bank.base, wave)
            for _ in range(STEPS):
                logits = piece.logits(rows)
                candidates.append(logits.detach().cpu())
                loss = suta_loss(logits, bank.base.vocabulary.blank)
                if not loss.requires_grad:
                    return candidates
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            with torch.no_grad():
                return [*candidates, piece.logits(rows).cpu()]


class AudioPiece:
    """A piece of audio, (samples,) at 16 kHz, by its features below the lowest adapted vector."""

    def __init__(self, base: Base, wave: np.ndarray):
        base.require("test-time adaptation")
        self.base = base
        self.depth = 0 if base.architecture.skips_layers else None
        self.features = base.features(wave, self.depth)  # (frames, channels)

    def logits(self, rows: Rows) -> torch.Tensor:
        """(frames, vocabulary) with these vectors."""
        with using_rows(rows):
            logits, frames = self.base.forward([self.features], self.depth)
        return logits[0, : int(frames[0])].float()


def suta_loss(logits: torch.Tensor, blank: int) -> torch.Tensor:
    """α · entropy + (1 − α) · class confusion of (frames, vocabulary); 0 where all frames are blank."""
    probabilities = (logits / TEMPERATURE).softmax(-1)
    spoken = probabilities[logits.argmax(-1) != blank]
    if not len(spoken):
        return logits.new_zeros(())
    entropy = -torch.xlogy(spoken, spoken).sum(-1).mean()
    correlation = probabilities.T @ probabilities
    correlation = correlation / correlation.sum(1, keepdim=True)
    confusion = (correlation.sum() - correlation.trace()) / len(correlation)
    return ENTROPY_WEIGHT * entropy + (1 - ENTROPY_WEIGHT) * confusion


def choose_step(search: Search, candidates: Sequence[torch.Tensor]) -> int:
    """The number of steps whose logits, (frames, vocabulary), give the text with the best score of the
    search's language model; without a language model all steps."""
    scores = [search(logits).lm_score for logits in candidates]
    return len(scores) - 1 if None in scores else int(np.argmax(scores))
