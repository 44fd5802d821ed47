"""Methods other than IA³ for the same trainer: each adds parameters to a frozen base, or unfreezes some.

    ia3-speech train --config lora --train data/train --dev data/dev --out exp/lora
    ia3-speech train --method peft:boft.yaml …         any PEFT configuration of modules
    ia3-speech train --method gain.py:gain …           a function of the user

In: a base, and the method's entry in the adapter's record. Out: the base with the parameters in it, and their
folder: PEFT's files, if PEFT has the method; else `ia3_speech.safetensors`, the parameters by their names in
the model; and the record and the card.

To add a method, write a function (model, config, options) → the parameters that train, and a line of METHODS.
A user's function is FILE.py:NAME on the command line; an adapter's record never names its file. Methods for
comparison are in egs/compare_methods/local/methods.py. IA³ itself is `model.attach`; sums, banks and merging
work only with IA³, and refuse other methods by name.

The papers are named in ia3_speech/conf/METHOD.yaml.
"""

import importlib.util
import logging
import warnings
from collections.abc import Callable
from dataclasses import fields
from functools import partial
from pathlib import Path
from types import MethodType
from typing import Any, NamedTuple

import torch
from torch import nn

from ia3_speech.adapters.card import other_method
from ia3_speech.adapters.io import check_base, check_finite, save_adapter, to_fp32, write_folder
from ia3_speech.adapters.load import attach_adapter, read_sum
from ia3_speech.adapters.record import OWN_WEIGHTS, PEFT_CONFIG, is_ours, new_record, read_json
from ia3_speech.adapters.spec import AdapterSpec
from ia3_speech.adapters.weights import read_weights, weights_file
from ia3_speech.common.cli import pip_install
from ia3_speech.common.errors import AdapterError
from ia3_speech.model.architectures import IA3Config
from ia3_speech.model.attach import freeze, without_effect
from ia3_speech.model.base import Base
from ia3_speech.model.ia3 import architecture_of, attachment, layers_of, path_in, target_modules

logger = logging.getLogger(__name__)

Config = dict[str, Any]  # method, placements, layers, options: see `config.method_config`
Parameters = dict[str, nn.Parameter]  # by name in the model
NOISE = 0.1  # the largest change of a parameter by which its effect is proven
BELOW_LAYERS = ("{body}.feature_projection", "{body}.encoder.pos_conv_embed")
BELOW_LAYERS += tuple(f"{{body}}.encoder.{name}" for name in ("conv1", "conv2", "embed_positions"))  # Whisper
UNUSABLE = (ValueError, TypeError, KeyError, AttributeError, RuntimeError)  # raised by PEFT, or torch


class Inserted(NamedTuple):
    """A method's parts of a model, as `Attachment.inserted`."""

    config: Config  # for the record
    parameters: Parameters  # the trained ones
    peft: Any  # PEFT's wrapper of the model, which reads and writes its files; None for other methods


def insert(model: nn.Module, config: Config, seed: int = 0) -> Inserted:
    """Freeze a model and put a method's parameters into it; `seed` draws random ones. As with IA³, LayerDrop
    is off, batch norms keep their statistics, and short batches are not masked. Raises AdapterError if there
    is no such method, the model has no module for it, it trains nothing, or its parameters have no effect."""
    name, before = config["method"], {id(parameter) for parameter in model.parameters()}
    method, where = METHODS.get(name.partition(":")[0]), f"{name} on {type(model).__name__}"
    if method is None:
        hint = "of your own file, or of egs/compare_methods/local/methods.py, give `method=FILE.py:NAME`"
        raise AdapterError(f"no method {name} (there are ia3, {', '.join(METHODS)}:FILE; {hint})")
    freeze(model)
    for module in model.modules():
        for called, replacement in architecture_of(model).replaced_methods.items():
            if hasattr(module, called):  # attention that does not call its projections
                setattr(module, called, MethodType(replacement, module))
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            parameters = method(model, config, **config["options"])
        dead = without_effect(model, parameters, lambda p, random: p + NOISE * (2 * random - 1))
    except ImportError as error:
        raise AdapterError(f"{where}: {error} (in the clone: {pip_install('.[methods]')})") from error
    except UNUSABLE as error:
        raise AdapterError(f"{where}: {error}") from error
    # A parameter of the base may have no effect, since the base may never use it; added ones must have one.
    added = [n for n in dead if id(parameters[n]) not in before]
    if added or len(dead) == len(parameters):
        fault = f"no effect of {', '.join((added or dead)[:8])}" if parameters else "nothing trains"
        raise AdapterError(f"{where}: {fault} (choose other modules or layers)")
    state = attachment(model)
    state.inserted, state.peft = Inserted(config, parameters, state.peft), None
    return state.inserted


def insert_peft(model: nn.Module, config: Config, **options: Any) -> Parameters:
    """Any tuner of PEFT, on the modules in its options, else on the modules of placements and layers."""
    import peft

    if unknown := unknown_options(options):
        raise ValueError(f"{options['peft_type']} has no option {', '.join(unknown)}")
    if "target_modules" not in options:
        placed = target_modules(model, IA3Config(tuple(config["placements"]), config["layers"]))
        options["target_modules"] = list(dict.fromkeys(target.module for target in placed))
    with warnings.catch_warnings(action="ignore"):  # of layer norms, which it supports; of the base's name
        settings = peft.PeftConfig.from_peft_type(**{**options, "inference_mode": False})
        if settings.is_prompt_learning:
            raise ValueError("it needs a language model")
        wrapper = peft.get_peft_model(model, settings)
    attachment(model).peft = wrapper
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def unknown_options(options: Config) -> list[str]:
    """The options that PEFT would ignore with a warning."""
    from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

    settings = PEFT_TYPE_TO_CONFIG_MAPPING.get(options["peft_type"])
    return sorted(options.keys() - {field.name for field in fields(settings)}) if settings else []


def insert_ln_tuning(model: nn.Module, config: Config, **options: Any) -> Parameters:
    norms = [n for n, m in model.named_modules() if isinstance(m, nn.LayerNorm) and m.elementwise_affine]
    chosen = [name for name in norms if is_chosen(model, config, name)]
    return insert_peft(model, config, **{"peft_type": "LN_TUNING", "target_modules": chosen, **options})


def is_chosen(model: nn.Module, config: Config, name: str) -> bool:
    """Whether a module or parameter of this name is in the chosen layers; if these are all layers, also
    whether it is above them. Modules below stay frozen: the convolutions, as in wav2vec 2.0, their projection
    and the positions, which contain the mini base's log-mel spectrogram and sinusoids."""
    path, layers = layers_of(model)
    numbers = IA3Config(layers=config["layers"]).layer_numbers(len(layers))
    if name.startswith(f"{path}."):
        return int(name.removeprefix(f"{path}.").partition(".")[0]) in numbers
    paths = (architecture_of(model).input.front_end or "-", *BELOW_LAYERS, "{body}.decoder")
    return config["layers"] == "all" and not name.startswith(tuple(f"{path_in(model, p)}." for p in paths))


METHODS: dict[str, Callable[..., Parameters]] = {
    "lora": partial(insert_peft, peft_type="LORA"),
    "dora": partial(insert_peft, peft_type="LORA", use_dora=True),
    "vera": partial(insert_peft, peft_type="VERA"),
    "ln_tuning": insert_ln_tuning,
    "peft": insert_peft,
}

SHIPPED = {"ia3", *METHODS}


def add_user_method(method: str | None) -> None:
    """Run the user's FILE.py of FILE.py:NAME, and add its function NAME to METHODS; another method is left
    alone. Raises AdapterError if the file has no such function, or a shipped method has the name."""
    file, _, name = (method or "").partition(":")
    if not file.endswith(".py"):
        return
    if name in SHIPPED:
        raise AdapterError(f"`method={method}`: there is a method {name} (give the function another name)")
    spec = importlib.util.spec_from_file_location(Path(file).stem, file)
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        METHODS[name] = getattr(module, name)
    except (OSError, SyntaxError, ImportError, AttributeError) as error:
        raise AdapterError(f"`method={method}`: {error} (FILE.py:NAME: docs/architecture.md)") from error


def save_method(base: Base, folder: Path, labels: dict[str, str], training: dict[str, Any]) -> int:
    """Write the adapter in a base's model, of any method, as a folder, in one step. Returns the size of the
    tensors' file in bytes. Raises AdapterError if a parameter is not finite, or the folder holds files that
    are not an adapter's."""
    from safetensors.torch import save_file

    inserted: Inserted | None = attachment(base.model).inserted

    def write_tensors(new: Path) -> None:
        if inserted.peft:
            settings = inserted.peft.peft_config["default"]
            settings.base_model_name_or_path = base.name
            inserted.peft.save_pretrained(new, save_embedding_layers=False)
        else:
            tensors = {name: to_fp32(p) for name, p in inserted.parameters.items()}
            save_file(tensors, new / OWN_WEIGHTS, {"format": "pt"})

    if inserted:
        check_finite(inserted.parameters, "not saved:")
        more = {"labels": dict(labels), "training": training}
        record = new_record(base.name, base.fingerprint, inserted.config, **more)
        write_folder(folder, record, write_tensors)
    else:
        save_adapter(base.model, folder, base=base, labels=labels, training=training)
    return weights_file(folder).stat().st_size


@torch.inference_mode(False)
def load_any(base: Base, spec: AdapterSpec) -> None:
    """Put an adapter of any method, or a sum of IA³ adapters, into a base's model, for recognition.

    Raises:
        AdapterError: it belongs to another base; a tensor is missing, left over, of the wrong shape or not
            finite; its method can't be used here; or a sum contains an adapter of another method.
    """
    term, model = spec.terms[0], base.model
    method = other_method(term.record)
    if method is None or not spec.is_single:
        attach_adapter(model, read_sum(model, spec))
        return
    folder, tensors = term.folder, read_weights(term.folder, "pt")
    check_base(folder, term.record, base.fingerprint)
    config = {"method": f"peft:{method}", "layers": "all", "options": {}}
    if is_ours(term.record):
        config |= term.record["config"]
    if (folder / PEFT_CONFIG).exists():
        options = read_json(folder / PEFT_CONFIG)
        if unknown := unknown_options(options):
            logger.warning("%s: PEFT here knows no %s", folder / PEFT_CONFIG, ", ".join(unknown))
        config["options"] = {name: value for name, value in options.items() if name not in unknown}
    inserted = insert(model, config)
    try:
        if inserted.peft:
            import peft

            expected = peft.get_peft_model_state_dict(inserted.peft, save_embedding_layers=False)
            put_in = partial(peft.set_peft_model_state_dict, inserted.peft)
        else:
            expected, put_in = inserted.parameters, partial(model.load_state_dict, strict=False)
        if differing := sorted(expected.keys() ^ tensors.keys()):
            raise ValueError(f"missing or left over: {', '.join(differing[:5])}")
        put_in(tensors)
    except UNUSABLE as error:
        raise AdapterError(f"{folder}: {error}") from error
    check_finite(inserted.parameters, f"{folder}:")
    model.requires_grad_(False).eval()
