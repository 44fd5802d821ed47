"""A small random model and processor of every architecture, and of both variants where it has two; random
vectors in a model.

    from tiny_models import TINY, attach_random, tiny

What transformers starts at zero or one is random here (biases, norms, running statistics), and what it starts
small is large: a published model has such numbers, and a leak or a lost bias must show in the logits.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch

ENCODER = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48,
    "layerdrop": 0.1,
}  # fmt: skip
WAVES = ENCODER | {
    "conv_dim": (16, 16, 16), "conv_kernel": (10, 8, 4), "conv_stride": (5, 8, 8), "conv_bias": True,
    "num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 4, "vocab_size": 29, "pad_token_id": 0,
    "mask_time_length": 2, "ctc_zero_infinity": True,
}  # fmt: skip
GROUP, LAYER = {"feat_extract_norm": "group"}, {"feat_extract_norm": "layer", "do_stable_layer_norm": True}
WAVLM = {"num_buckets": 32, "max_bucket_distance": 40}
ADAPTER = {"add_adapter": True, "adapter_stride": 2, "num_adapter_layers": 2, "output_hidden_size": 24}
CONFORMER = WAVES | {"conv_depthwise_kernel_size": 5}
FBANK = {name: WAVES[name] for name in (*ENCODER, "vocab_size", "pad_token_id", "mask_time_length")}
FBANK |= {"feature_projection_input_dim": 16, "conv_depthwise_kernel_size": 5}
NEMO = ENCODER | {"num_mel_bins": 16, "conv_kernel_size": 5, "subsampling_conv_channels": 8}
OMNI = {n: v for n, v in WAVES.items() if n not in ("vocab_size", "pad_token_id", "mask_time_length")}
OMNI.pop("ctc_zero_infinity")

# Name in tests → config.model_type and its options.
TINY: dict[str, tuple[str, dict[str, Any]]] = {
    "wav2vec2": ("wav2vec2", WAVES | GROUP),
    "wav2vec2-stable": ("wav2vec2", WAVES | LAYER),
    "wav2vec2-adapter": ("wav2vec2", WAVES | GROUP | ADAPTER),
    "hubert": ("hubert", WAVES | GROUP),
    "hubert-stable": ("hubert", WAVES | LAYER | {"conv_pos_batch_norm": True}),
    "data2vec": ("data2vec-audio", WAVES | {"num_conv_pos_embeddings": 2, "conv_pos_kernel_size": 9}),
    "unispeech": ("unispeech", WAVES | GROUP),
    "unispeech-sat": ("unispeech-sat", WAVES | GROUP),
    "sew": ("sew", WAVES | GROUP),
    "wavlm": ("wavlm", WAVES | GROUP | WAVLM),
    "wavlm-stable": ("wavlm", WAVES | LAYER | WAVLM),
    "conformer": ("wav2vec2-conformer", CONFORMER | LAYER | {"position_embeddings_type": "relative"}),
    "conformer-rotary": ("wav2vec2-conformer", CONFORMER | GROUP | {"position_embeddings_type": "rotary"}),
    "bert": ("wav2vec2-bert", FBANK),
    "bert-adapter": ("wav2vec2-bert", FBANK | ADAPTER),
    "lasr": ("lasr_ctc", {"vocab_size": 29, "encoder_config": NEMO | {"conv_kernel_size": 8}}),
    "parakeet": ("parakeet_ctc", {"vocab_size": 29, "pad_token_id": 0, "encoder_config": NEMO}),
    "omniasr": ("omniasr_ctc", {"vocab_size": 29, "audio_config": OMNI}),
}


def tiny(name: str, seed: int = 0, **changes: Any) -> torch.nn.Module:
    """The model of a name in TINY, its configuration changed, in eval mode."""
    from transformers import AutoConfig, AutoModelForCTC

    model_type, options = TINY[name]
    torch.manual_seed(seed)
    model = AutoModelForCTC.from_config(AutoConfig.for_model(model_type, **options | changes)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.mul_(4)
            elif parameter.ndim == 1:
                parameter.add_(0.2 * torch.randn(parameter.shape))
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm1d):
                module.running_mean.normal_(0, 0.1)
                module.running_var.uniform_(0.5, 2)
    return model


def tiny_processor(name: str, tokenizer: Any) -> Any:
    """The processor of transformers for that architecture, around a tokenizer of characters."""
    import transformers as hf

    kinds = {
        "wav2vec2-bert": (hf.Wav2Vec2BertProcessor, hf.SeamlessM4TFeatureExtractor, {"num_mel_bins": 8}),
        "lasr_ctc": (hf.LasrProcessor, hf.LasrFeatureExtractor, {"feature_size": 16}),
        "parakeet_ctc": (hf.ParakeetProcessor, hf.ParakeetFeatureExtractor, {"feature_size": 16}),
        "omniasr_ctc": (hf.OmniASRCTCProcessor, hf.OmniASRFeatureExtractor, {}),
    }
    normal = (hf.Wav2Vec2Processor, hf.Wav2Vec2FeatureExtractor, {"do_normalize": True})
    processor, extractor, options = kinds.get(TINY[name][0], normal)
    return processor(extractor(**options), tokenizer)


def random_vectors(model: Any, seed: int = 0, low: float = 0.5, high: float = 1.5) -> dict[str, torch.Tensor]:
    """Draw the attached vectors, and return them by path."""
    from ia3_speech.model.ia3 import vectors

    generator = torch.Generator().manual_seed(seed)
    drawn = {}
    with torch.no_grad():
        for name, vector in vectors(model).items():
            vector.l.copy_((high - low) * torch.rand(vector.l.shape, generator=generator) + low)
            drawn[name] = vector.l.detach().clone()
    return drawn


def attach_random(
    model: Any, *placements: str, layers: str = "all", head: bool = False, seed: int = 2, **interval: float
) -> Any:
    """The model with random vectors in its layers (without placements: all that it has), and perhaps with a
    head that is not the base's."""
    from ia3_speech import IA3Config, attach
    from ia3_speech.model.ia3 import all_target_modules, architecture_of

    if not placements and not head:
        placements = tuple({target.placement for target in all_target_modules(model)})
    attach(model, IA3Config(placements, layers, head), check=False)
    random_vectors(model, seed, **interval)
    if head:
        with torch.no_grad():
            model.get_submodule(architecture_of(model).head).weight.mul_(1.5)
    return model


def random_adapter(
    base: Any, folder: Path, seed: int, *placements: str, low: float = -20, high: float = 20, **record: Any
) -> Path:
    """Write a random adapter of a base, which changes texts; `record`: labels, training. Its folder."""
    from ia3_speech import load_base, save_adapter

    loaded = load_base(base)
    attach_random(loaded.model, *placements or ("key", "value", "ffn"), seed=seed, low=low, high=high)
    return save_adapter(loaded.model, folder, base=loaded, **record)


def noise_waves(*seconds: float) -> list[np.ndarray]:
    """Waveforms of noise, 16 kHz, of these lengths; always the same."""
    rng = np.random.default_rng(0)
    return [rng.standard_normal(int(16_000 * s)).astype(np.float32) * 0.1 for s in seconds]


@torch.no_grad()
def probe_logits(model: Any) -> torch.Tensor:
    """What the model makes of its architecture's probe: a second of noise."""
    from ia3_speech.model.attach import probe_input

    return model(**probe_input(model)).logits


WORDS = ["▁the", "▁chest", "▁is", "▁st", "able"]  # likelier than what else would spell them
PAIRS = [first + second for first in "bcdfgh" for second in "aeiou"]


def lasr_tokenizer() -> Any:
    """Word pieces of a unigram model, as MedASR has them: blank 0."""
    from transformers import LasrTokenizer

    scores = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *((word, -1.0) for word in WORDS), ("▁", -4.0)]
    scores += [(piece, -6.0) for piece in PAIRS] + [(letter, -5.0) for letter in "abcdehiklmnoprstuvwy'"]
    return LasrTokenizer(vocab=scores, extra_ids=0)


def parakeet_tokenizer() -> Any:
    """Word pieces merged from letters, as Parakeet has them: the blank is the last."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import ParakeetTokenizer

    merges = [("▁", "t"), ("▁t", "h"), ("▁th", "e"), ("▁", "c"), ("▁c", "h"), ("▁ch", "e"), ("▁che", "s")]
    merges += [("▁ches", "t"), ("▁", "i"), ("▁i", "s"), ("▁", "s"), ("▁s", "t"), ("a", "b"), ("ab", "l")]
    merges += [("abl", "e"), *((pair[0], pair[1]) for pair in PAIRS)]
    symbols = ["<unk>", "▁", *"abcdefghiklmnoprstuvwy'", *(a + b for a, b in merges), "<pad>"]
    tokenizer = Tokenizer(models.BPE({s: n for n, s in enumerate(symbols)}, merges, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    return ParakeetTokenizer(tokenizer_object=tokenizer, unk_token="<unk>", pad_token="<pad>")


PIECE_TOKENIZERS = {"lasr": lasr_tokenizer, "parakeet": parakeet_tokenizer}


def tiny_whisper(**sizes: int) -> tuple[torch.nn.Module, Any]:
    """A random Whisper of two layers, whose decoder writes up to 128 single bytes, and its processor."""
    import transformers as hf
    from tokenizers.pre_tokenizers import ByteLevel

    vocab = {letter: number for number, letter in enumerate(sorted(ByteLevel.alphabet()))}
    tokenizer = hf.WhisperTokenizer(vocab=vocab | {"<|endoftext|>": 256}, merges=[])
    names = ["startoftranscript", "en", "de", "translate", "transcribe", "startofprev", "notimestamps"]
    names = [f"<|{name}|>" for name in names]
    tokenizer.add_tokens(names, special_tokens=True)
    ids = dict(zip(names, tokenizer.convert_tokens_to_ids(names), strict=True))
    sizes = {f"{part}_{name}": n for part in ("encoder", "decoder") for name, n in
             (("layers", 2), ("attention_heads", 2), ("ffn_dim", 24))} | sizes  # fmt: skip
    special = {"pad_token_id": 256, "bos_token_id": 256, "eos_token_id": 256, "decoder_start_token_id": 257}
    config = hf.WhisperConfig(
        vocab_size=264, d_model=16, num_mel_bins=8, suppress_tokens=None, begin_suppress_tokens=None,
        max_target_positions=128, **sizes, **special,
    )  # fmt: skip
    torch.manual_seed(0)
    model = hf.WhisperForConditionalGeneration(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 2 and "embed_positions" not in name:
                parameter.mul_(8)
            elif parameter.ndim == 1:
                parameter.add_(0.2 * torch.randn(parameter.shape))
    model.generation_config = hf.GenerationConfig(
        is_multilingual=True, lang_to_id={"<|en|>": ids["<|en|>"], "<|de|>": ids["<|de|>"]},
        task_to_id={name: ids[f"<|{name}|>"] for name in ("translate", "transcribe")},
        no_timestamps_token_id=ids["<|notimestamps|>"], prev_sot_token_id=ids["<|startofprev|>"],
        return_timestamps=False, max_length=128, **special,
    )  # fmt: skip
    return model, hf.WhisperProcessor(hf.WhisperFeatureExtractor(feature_size=8), tokenizer)
