"""Adapters on the Hugging Face Hub: fetch one into the Hub's cache, publish one.

    ia3-speech adapters push speaker42 me/speaker42 --private
    ia3-speech adapters pull me/clinic --name clinic

In: a repository's id, USER/NAME, or an adapter's folder. Out: a folder in the cache, or a page on the Hub.
Only the files of `record.FILES` are transferred: a pickle is never downloaded, and what is published holds no
path of this machine. Where the Hub can't be reached, and always with HF_HUB_OFFLINE=1, the cached copy is
used. huggingface_hub finds the account and the endpoint (`hf auth login`, HF_TOKEN, HF_ENDPOINT).
"""

import json
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ia3_speech.adapters.card import (
    BIOMETRIC,
    GENERATED,
    LIBRARY,
    base_name,
    is_biometric,
    model_card,
    set_name,
)
from ia3_speech.adapters.record import (
    CARD,
    FILES,
    METADATA,
    OWN_WEIGHTS,
    PEFT_CONFIG,
    PEFT_WEIGHTS,
    read_peft_config,
    read_record,
    read_summary,
    write_record,
)
from ia3_speech.adapters.weights import count_by_placement, read_weights, weights_file
from ia3_speech.atomic import write_text
from ia3_speech.cli import UserError
from ia3_speech.model.architectures import AdapterError

if TYPE_CHECKING:
    from huggingface_hub import HfApi

FAILURES: dict[str, str] = {}  # repository → why the last attempt to fetch it failed
PICKLE_SUFFIXES = (".bin", ".pt", ".pth", ".pkl", ".ckpt")


class HubError(UserError):
    """A request to the Hub that failed. `reason` is the message without the repository."""

    def __init__(self, repo: str, reason: str):
        super().__init__(f"{repo}: {reason}")
        self.reason = reason


def is_repo_id(text: str) -> bool:
    """Whether a text can be a repository's id, USER/NAME. Where there is a folder USER/, it is a path."""
    if not re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", text, re.ASCII):
        return False
    return not Path(text.partition("/")[0]).exists()


def fetch(repo: str, revision: str | None = None) -> Path:
    """An adapter's folder in the Hub's cache, updated where the Hub can be reached.

    Args:
        repo: USER/NAME.
        revision: a branch, a tag or a commit; None: main.

    Raises:
        HubError: it is not found or private; the Hub can't be reached and the cache has no copy; or it is not
            an IA³ adapter.
    """
    from huggingface_hub import snapshot_download

    FAILURES.pop(repo, None)
    try:
        with hub_errors(repo):
            folder = Path(snapshot_download(repo, revision=revision, allow_patterns=list(FILES)))
            if fault := adapter_fault(folder):
                raise HubError(repo, explain_fault(repo, revision, fault))
    except HubError as error:
        FAILURES[repo] = error.reason
        raise
    return folder


def adapter_fault(folder: Path) -> str | None:
    """Why a folder is no IA³ adapter, as a phrase; None if it is one."""
    if not any((folder / name).is_file() for name in (OWN_WEIGHTS, PEFT_WEIGHTS)):
        return "holds no adapter"
    if (folder / METADATA).is_file():
        return None
    if not (folder / PEFT_CONFIG).is_file():
        return "holds no adapter"
    try:
        peft_type = read_peft_config(folder).get("peft_type")
    except AdapterError as error:
        return f"holds a damaged {PEFT_CONFIG} ({error})"
    if peft_type == "IA3":
        return None
    return f"holds an adapter of PEFT's type {peft_type}, and only IA3 is supported"


def explain_fault(repo: str, revision: str | None, fault: str) -> str:
    """The fault, with what the repository holds instead: a pickle, or none of an adapter's files."""
    if fault != "holds no adapter":
        return fault
    from huggingface_hub import HfApi

    files: list[str] = []
    with suppress(Exception):  # it only improves the message
        files = HfApi().list_repo_files(repo, revision=revision)
    if pickles := [name for name in files if name.endswith(PICKLE_SUFFIXES)]:
        return (
            f"holds its tensors in a pickle, {pickles[0]}, which can run code, so it is not downloaded (ask "
            f"its owner for {PEFT_WEIGHTS})"
        )
    return f"{fault} (expected {METADATA} or {PEFT_CONFIG}, and {PEFT_WEIGHTS} or {OWN_WEIGHTS})"


def push(
    folder: Path, repo: str, *, private: bool = False, base: str | None = None, consent: bool = False
) -> str:
    """Publish an adapter as one commit; returns the address of its page.

    The repository is created where it is missing. Files that only an older adapter had are deleted in
    the same commit. Of local paths in the records only the last parts are published.

    Args:
        repo: USER/NAME.
        private: only the account sees it. A repository that is public already is refused then.
        base: the base's id on the Hub, where the adapter records a local folder.
        consent: the person whose voice the adapter was fitted to agrees to its publication.

    Raises:
        HubError: the account may not write there, or the Hub can't be reached.
        UserError: it is a person's adapter and neither `private` nor `consent` is given; it is no IA³
            adapter, or a pickled one; its card is not ours and names a folder of this machine.
    """
    from huggingface_hub import HfApi

    weights_file(folder)
    if fault := adapter_fault(folder):
        raise UserError(f"{folder}: {fault}")
    if (folder / METADATA).exists():
        read_record(folder)  # a damaged record can't say whether it is a person's
    if not private and not consent and is_biometric(read_summary(folder)):
        raise UserError(
            f"{repo}: not pushed. {BIOMETRIC} (push it with --private, or with --consent if that person "
            f"agreed to its publication)"
        )
    api = HfApi()
    with tempfile.TemporaryDirectory() as temporary:
        files = publishable_files(folder, Path(temporary), repo, base)
        with hub_errors(repo):
            commit_files(api, repo, files, private)
    return f"{api.endpoint}/{repo}"


def commit_files(api: "HfApi", repo: str, files: list[Path], private: bool) -> None:
    """Create the repository where it is missing, and let it hold these files of an adapter only."""
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    api.create_repo(repo, private=private or None, exist_ok=True)
    if private and not api.repo_info(repo).private:
        raise HubError(repo, "is public already, and --private was asked for (make it private on its page)")
    stale = set(FILES) & set(api.list_repo_files(repo)) - {file.name for file in files}
    operations = [CommitOperationAdd(file.name, file) for file in files]
    operations += [CommitOperationDelete(name) for name in sorted(stale)]
    api.create_commit(repo, operations, commit_message=f"Adapter by {LIBRARY}")


def publishable_files(folder: Path, copies: Path, repo: str, base: str | None) -> list[Path]:
    """Copies of an adapter's files as they may be published, with the card for its page on the Hub."""
    summary = read_summary(folder)
    record = publishable_record(summary, base)
    for name in FILES:
        if (folder / name).is_file():
            shutil.copyfile(folder / name, copies / name)
    if (copies / METADATA).exists():
        write_record(copies, record)
    if (copies / PEFT_CONFIG).exists():
        config = read_peft_config(copies) | {"base_model_name_or_path": record["base"]}
        write_text(copies / PEFT_CONFIG, json.dumps(config, indent=2, sort_keys=True) + "\n")
    text = (copies / CARD).read_text("utf-8") if (copies / CARD).exists() else GENERATED
    if GENERATED in text:
        counts, peft = count_by_placement(read_weights(folder)), (copies / PEFT_CONFIG).exists()
        write_text(copies / CARD, model_card(record, counts, name=repo, peft=peft))
    elif (local := summary.get("base")) and local != record["base"] and local in text:
        raise UserError(
            f"{folder / CARD}: names the folder {local} (take that out, or delete {CARD}: push makes one)"
        )
    return sorted(copies.iterdir())


def publishable_record(record: dict[str, Any], base: str | None) -> dict[str, Any]:
    """A record without paths of this machine; the base's fingerprint stays, and tells it from others."""
    published_name = base_name(record["base"]) if record.get("base") else ""
    return record | {"base": base or published_name, "training": without_paths(record.get("training") or {})}


def without_paths(value: Any) -> Any:
    """The same, with every text that is a path reduced to its name."""
    if isinstance(value, dict):
        return {without_paths(name): without_paths(entry) for name, entry in value.items()}
    if isinstance(value, list):
        return [without_paths(entry) for entry in value]
    is_path = isinstance(value, str) and re.search(r"[/\\]", value)
    return set_name(value) if is_path else value


@contextmanager
def hub_errors(repo: str) -> Iterator[None]:
    """Hide huggingface_hub's progress bars, and turn its errors into a HubError."""
    from huggingface_hub import errors
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    silent = are_progress_bars_disabled()
    disable_progress_bars()
    try:
        yield
    except (errors.HTTPError, errors.EntryNotFoundError, errors.OfflineModeIsEnabled, ValueError) as error:
        raise HubError(repo, error_reason(repo, error)) from error
    finally:
        if not silent:
            enable_progress_bars()


def error_reason(repo: str, error: BaseException) -> str:
    """What an error of huggingface_hub means, and a hint."""
    from huggingface_hub import constants, errors

    if isinstance(error, errors.LocalEntryNotFoundError) and isinstance(
        error.__cause__, errors.HfHubHTTPError
    ):
        error = error.__cause__  # the Hub did answer
    status = getattr(getattr(error, "response", None), "status_code", None)
    offline = isinstance(error, errors.OfflineModeIsEnabled) or isinstance(
        error.__cause__, errors.OfflineModeIsEnabled
    )
    first = str(error).strip().split("\n")[0]
    if isinstance(error, errors.HFValidationError):
        return f"is no repository's id, USER/NAME ({first})"
    if offline:
        return f"HF_HUB_OFFLINE forbids to ask the Hub, and its cache, {constants.HF_HUB_CACHE}, has no copy"
    if isinstance(error, errors.GatedRepoError):
        return f"its owner has to grant access (ask on {constants.ENDPOINT}/{repo}, then hf auth login)"
    if isinstance(error, errors.RevisionNotFoundError):
        return "the Hub has no such revision of it"
    if isinstance(error, errors.RepositoryNotFoundError) or status == 401:
        return (
            "the Hub has no such repository for this account (a private one needs hf auth login, or HF_TOKEN)"
        )
    if status == 403:
        return "this account may not do that there (hf auth login with a token that may)"
    if status is not None:
        return f"the Hub answers {status}: {first}"
    if isinstance(error, ValueError):
        return f"the Hub refuses it: {str(error).strip()}"
    where = f"the Hub, {constants.ENDPOINT}, can't be reached"
    return f"{where}, and its cache, {constants.HF_HUB_CACHE}, has no copy"
