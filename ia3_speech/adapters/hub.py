"""Adapters on the Hugging Face Hub: fetch an adapter into the Hub's cache, publish an adapter.

    ia3-speech adapters push speaker42 me/speaker42 --private
    ia3-speech adapters pull me/clinic --name clinic

In: a repository's id, USER/NAME, or an adapter's folder. Out: a folder in the cache, or a page on the Hub.
Only the files of `record.FILES` are transferred: a pickle is never downloaded, and no path of this machine is
published. If the Hub can't be reached, and always with HF_HUB_OFFLINE=1, the cached copy is used. Account and
endpoint are huggingface_hub's (`hf auth login`, HF_TOKEN, HF_ENDPOINT).
"""

import json
import shlex
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ia3_speech.adapters import card
from ia3_speech.adapters.record import (
    CARD,
    FILES,
    GATE,
    METADATA,
    OWN_WEIGHTS,
    PEFT_CONFIG,
    PEFT_WEIGHTS,
    is_number,
    read_json,
    read_record,
    read_summary,
    write_record,
)
from ia3_speech.common.errors import HubError, UserError
from ia3_speech.common.formatting import in_columns

# Entries of a training's record that are published beside its numbers; paths and utterances stay private
PUBLIC = ("classes", "data_sha256", "dataset", "precision", "precision_reason", "note")


def is_repo_id(text: str) -> bool:
    """Whether a text can be a repository's id, USER/NAME. If a folder USER/ exists, it is a path."""
    return bool(card.HUB_ID.fullmatch(text)) and not Path(text.partition("/")[0]).exists()


def fetch(repo: str, revision: str | None = None) -> Path:
    """The folder of an adapter, USER/NAME, in the Hub's cache, updated if the Hub can be reached. `revision`
    is a branch, a tag or a commit; None: main. Raises HubError if the adapter does not exist or is private,
    is neither reachable nor in the cache, or is not an IA³ adapter."""
    from huggingface_hub import snapshot_download

    with hub_errors(repo):
        folder = Path(snapshot_download(repo, revision=revision, allow_patterns=list(FILES)))
    if fault := adapter_fault(folder):
        raise HubError(repo, fault)
    return folder


def adapter_fault(folder: Path) -> str | None:
    """The reason, as a phrase, why a folder holds no IA³ adapter; None if it holds one."""
    described = (folder / METADATA).is_file()
    has_weights = any((folder / name).is_file() for name in (OWN_WEIGHTS, PEFT_WEIGHTS))
    if not has_weights or not (described or (folder / PEFT_CONFIG).is_file()):
        return (
            f"holds no adapter (expected {METADATA} or {PEFT_CONFIG}, and {PEFT_WEIGHTS} or {OWN_WEIGHTS}; "
            f"pickles are refused, because they can run code)"
        )
    peft_type = "IA3" if described else read_json(folder / PEFT_CONFIG).get("peft_type")
    if peft_type == "IA3":
        return None
    name = "LoRA" if peft_type == "LORA" else peft_type
    return f"holds a {name} adapter of PEFT, not IA³ (fold it into its base by PEFT's merge_and_unload)"


def push(
    folder: Path,
    repo: str,
    *,
    private: bool = False,
    base: str | None = None,
    consent: bool = False,
    dry_run: bool = False,
) -> str:
    """Publish the files of `copy_publishable` as one commit; returns the address of the page. With `dry_run`
    nothing is sent, and the names and sizes of the files and the card are returned. The command `adapters
    push` explains the options.

    A missing repository is created; with `private`, a public repository is refused. Files of an older adapter
    are deleted. Raises HubError if the account may not write there, or the Hub can't be reached; UserError if
    it is a person's adapter and neither `private` nor `consent` is given, no IA³ adapter, or pickled.
    """
    from huggingface_hub import HfApi

    if not is_repo_id(repo):
        copy = shlex.join(["cp", "-r", str(folder), repo])
        raise UserError(f"{repo}: is not an id on the Hub, USER/NAME ({copy} copies the files)")
    if fault := adapter_fault(folder):
        raise UserError(f"{folder}: {fault}")
    if card.is_biometric(read_summary(folder)) and not (private or consent):
        raise UserError(
            f"{repo}: not pushed. {card.BIOMETRIC} (push it with `private`, or with `consent` if that person "
            f"agreed to its publication)"
        )
    api = HfApi()
    with tempfile.TemporaryDirectory() as copies:
        copy_publishable(folder, Path(copies), repo, base)
        if dry_run:
            files = sorted(Path(copies).iterdir())
            rows = in_columns([(file.name, f"{file.stat().st_size:,} bytes") for file in files], left=(0,))
            return "\n".join([*rows, "", Path(copies, CARD).read_text("utf-8").rstrip()])
        with hub_errors(repo, cached=False):
            api.create_repo(repo, private=private or None, exist_ok=True)
            if private and not api.repo_info(repo).private:
                raise HubError(repo, "is public, and `private` was asked for (see the repository's settings)")
            options = {"delete_patterns": list(FILES), "commit_message": f"Adapter by {card.LIBRARY}"}
            api.upload_folder(repo_id=repo, folder_path=copies, **options)
    return f"{api.endpoint}/{repo}"


def copy_publishable(folder: Path, copies: Path, name: str, base: str | None = None) -> None:
    """Copy the files of an adapter that may leave this machine, or enter it: no language model, no hot words;
    from the record of its training only numbers and PUBLIC entries;
    with the card of an adapter `name`. A second copy changes nothing. Raises AdapterError if the adapter is
    damaged."""
    record = read_record(folder)
    local, training = record.get("base", ""), record.get("training", {})
    record |= {"base": base or (card.base_name(local) if local else "")}
    if "training" in record:
        numbers = {key for key, entry in training.items() if is_number(entry)}
        record["training"] = {key: training[key] for key in training if key in numbers or key in PUBLIC}
        if data := training.get("data"):
            record["training"]["dataset"] = card.set_name(data)
    is_voice_print = (record.get("gate") or {}).get("identify")  # of version 0.2: it stays on its machine
    if is_voice_print:
        del record["gate"]
    for file in FILES:
        if (folder / file).is_file() and not (file == GATE and is_voice_print):
            shutil.copyfile(folder / file, copies / file)
    if (copies / METADATA).exists():
        write_record(copies, record)
    if (copies / PEFT_CONFIG).exists():
        config = read_json(copies / PEFT_CONFIG) | {"base_model_name_or_path": record["base"]}
        (copies / PEFT_CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", "utf-8")
    text = (copies / CARD).read_text("utf-8", "replace") if (copies / CARD).exists() else card.GENERATED
    if card.GENERATED in text:
        text = card.card_of(copies, record, name)
    elif "/" in local or "\\" in local:
        text = text.replace(local, card.base_name(record["base"]))
    (copies / CARD).write_text(text, "utf-8")


@contextmanager
def hub_errors(repo: str, *, cached: bool = True) -> Iterator[None]:
    """Hide huggingface_hub's progress bars, and turn its errors into a HubError. `cached`: the Hub's cache
    was searched too."""
    from huggingface_hub import errors
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    silent = are_progress_bars_disabled()
    disable_progress_bars()
    try:
        yield
    except (errors.HTTPError, errors.EntryNotFoundError, errors.OfflineModeIsEnabled, ValueError) as error:
        raise HubError(repo, error_reason(error, cached)) from error
    finally:
        if not silent:
            enable_progress_bars()


def error_reason(error: BaseException, cached: bool) -> str:
    """The reason of an error of huggingface_hub: the Hub's answer, if it answered."""
    from huggingface_hub import constants, errors

    cause = error.__cause__
    no_copy = f", and its cache, {constants.HF_HUB_CACHE}, has no copy" if cached else ""
    if isinstance(error, errors.LocalEntryNotFoundError) and isinstance(cause, errors.HfHubHTTPError):
        error = cause
    if isinstance(error, errors.OfflineModeIsEnabled) or isinstance(cause, errors.OfflineModeIsEnabled):
        return f"HF_HUB_OFFLINE forbids to ask the Hub{no_copy}"
    response = getattr(error, "response", None)
    if response is None and not isinstance(error, ValueError):
        return f"the Hub, {constants.ENDPOINT}, can't be reached{no_copy}"
    status = getattr(response, "status_code", None)
    hint = " (hf auth login, or HF_TOKEN, says who you are)" if status in (401, 403, 404) else ""
    return f"{' '.join(str(error).split())}{hint}"
