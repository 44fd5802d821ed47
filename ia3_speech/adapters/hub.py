"""Adapters on the Hugging Face Hub: fetch one into the Hub's cache, publish one.

    python -m ia3_speech.adapters push speaker42 me/speaker42 --private
    python -m ia3_speech.adapters pull me/clinic --name clinic

In: a repository's id, USER/NAME, or an adapter's folder. Out: a folder in the cache, or a page on the Hub.
Only the files of `folder.FILES` travel: a pickle is never downloaded, and what is published holds no path of
this machine. Where the Hub can't be reached, and with HF_HUB_OFFLINE=1 at once, the cached copy serves. The
account and the endpoint are huggingface_hub's affair (`hf auth login`, HF_TOKEN, HF_ENDPOINT).
"""

import json
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ia3_speech.adapters import card
from ia3_speech.adapters.record import (
    CARD,
    FILES,
    METADATA,
    OWN_WEIGHTS,
    PEFT_CONFIG,
    PEFT_WEIGHTS,
    about,
    read_record,
    read_tensors,
    sizes_of,
    tensors_file,
)
from ia3_speech.cli import UserError

if TYPE_CHECKING:
    from huggingface_hub import HfApi

REFUSED: dict[str, str] = {}  # repository → why it could not be had when it was last asked for
PICKLED = (".bin", ".pt", ".pth", ".pkl", ".ckpt")


class HubError(UserError):
    """What the Hub, or the way to it, does not give. `reason` is the message without the repository."""

    def __init__(self, repo: str, reason: str):
        super().__init__(f"{repo}: {reason}")
        self.reason = reason


def is_repo_id(text: str) -> bool:
    """Whether a text can be a repository's id, USER/NAME. Where there is a folder USER/, it is a path."""
    if not re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", text, re.ASCII):
        return False
    return not Path(text.partition("/")[0]).exists()


def fetch(repo: str, revision: str | None = None) -> Path:
    """An adapter's folder in the Hub's cache, brought up to date where the Hub can be reached.

    Args:
        repo: USER/NAME.
        revision: a branch, a tag or a commit; None: main.

    Raises:
        HubError: not found, private, not to be reached and not in the cache, or no adapter for us.
    """
    from huggingface_hub import snapshot_download

    REFUSED.pop(repo, None)
    try:
        with asking(repo):
            folder = Path(snapshot_download(repo, revision=revision, allow_patterns=list(FILES)))
            if fault := fault_of(folder):
                raise HubError(repo, explained(repo, revision, fault))
    except HubError as error:
        REFUSED[repo] = error.reason
        raise
    return folder


def fault_of(folder: Path) -> str | None:
    """Why a folder is no IA³ adapter; None if it is one."""
    if not any((folder / name).is_file() for name in (OWN_WEIGHTS, PEFT_WEIGHTS)):
        return "holds no adapter"
    if (folder / METADATA).is_file():
        return None
    try:
        kind = json.loads((folder / PEFT_CONFIG).read_text("utf-8")).get("peft_type")
    except FileNotFoundError:
        return "holds no adapter"
    except (OSError, ValueError, AttributeError) as error:
        return f"holds a damaged {PEFT_CONFIG} ({error})"
    return None if kind == "IA3" else f"holds an adapter of PEFT's kind {kind}, and only IA3 is supported"


def explained(repo: str, revision: str | None, fault: str) -> str:
    """The fault with what is there instead: a pickle, or nothing of ours."""
    if fault != "holds no adapter":
        return fault
    from huggingface_hub import HfApi

    there: list[str] = []
    with suppress(Exception):  # it only makes the message better
        there = HfApi().list_repo_files(repo, revision=revision)
    if pickles := [name for name in there if name.endswith(PICKLED)]:
        return (
            f"holds its tensors in a pickle, {pickles[0]}, which can run code, so it is not downloaded (ask "
            f"its owner for {PEFT_WEIGHTS})"
        )
    return f"{fault} (expected {METADATA} or {PEFT_CONFIG}, and {PEFT_WEIGHTS} or {OWN_WEIGHTS})"


def push(
    folder: Path, repo: str, *, private: bool = False, base: str | None = None, consent: bool = False
) -> str:
    """Publish an adapter as one commit; returns the address of its page.

    The repository is made where it is missing. Files of an older adapter that have no successor are deleted
    in the same commit. Of local paths in the records only the last parts are published.

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

    tensors_file(folder)
    if fault := fault_of(folder):
        raise UserError(f"{folder}: {fault}")
    if (folder / METADATA).exists():
        read_record(folder)  # of a damaged one nobody can tell whether it is a person's
    if not private and not consent and card.is_biometric(about(folder)):
        raise UserError(
            f"{repo}: not pushed. {card.BIOMETRIC} (push it with --private, or with --consent if that person "
            f"agreed to its publication)"
        )
    api = HfApi()
    with tempfile.TemporaryDirectory() as room:
        files = stage(folder, Path(room), repo, base)
        with asking(repo):
            commit(api, repo, files, private)
    return f"{api.endpoint}/{repo}"


def commit(api: "HfApi", repo: str, files: list[Path], private: bool) -> None:
    """Make the repository where it is missing, and these files all that it holds of an adapter."""
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    api.create_repo(repo, private=private or None, exist_ok=True)
    if private and not api.repo_info(repo).private:
        raise HubError(repo, "is public already, and --private was asked for (make it private on its page)")
    stale = set(FILES) & set(api.list_repo_files(repo)) - {file.name for file in files}
    operations = [CommitOperationAdd(file.name, file) for file in files]
    operations += [CommitOperationDelete(name) for name in sorted(stale)]
    api.create_commit(repo, operations, commit_message=f"Adapter by {card.LIBRARY}")


def stage(folder: Path, room: Path, repo: str, base: str | None) -> list[Path]:
    """Copies of an adapter's files as they may be published, the card made for its place on the Hub."""
    record = public(about(folder), base)
    for name in FILES:
        if (folder / name).is_file():
            shutil.copyfile(folder / name, room / name)
    if (room / METADATA).exists():
        (room / METADATA).write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", "utf-8")
    if (room / PEFT_CONFIG).exists():
        config = json.loads((room / PEFT_CONFIG).read_text("utf-8"))
        config["base_model_name_or_path"] = record["base"]
        (room / PEFT_CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", "utf-8")
    text = (room / CARD).read_text("utf-8") if (room / CARD).exists() else card.OURS
    if card.OURS in text:
        sizes, peft = sizes_of(read_tensors(folder)), (room / PEFT_CONFIG).exists()
        (room / CARD).write_text(card.text(record, sizes, name=repo, peft=peft), "utf-8")
    elif (given := about(folder).get("base")) and given != record["base"] and given in text:
        raise UserError(
            f"{folder / CARD}: names the folder {given} (take that out, or delete {CARD}: push makes one)"
        )
    return sorted(room.iterdir())


def public(record: dict[str, Any], base: str | None) -> dict[str, Any]:
    """A record without paths of this machine; the base's fingerprint stays, and tells it from others."""
    named = card.base_name(record["base"]) if record.get("base") else ""
    return record | {"base": base or named, "training": without_paths(record.get("training") or {})}


def without_paths(value: Any) -> Any:
    """The same, with every text that is a path reduced to its name."""
    if isinstance(value, dict):
        return {without_paths(name): without_paths(entry) for name, entry in value.items()}
    if isinstance(value, list):
        return [without_paths(entry) for entry in value]
    is_path = isinstance(value, str) and re.search(r"[/\\]", value)
    return card.set_name(value) if is_path else value


@contextmanager
def asking(repo: str) -> Iterator[None]:
    """Silence huggingface_hub's bars, and turn what goes wrong on the way into a HubError."""
    from huggingface_hub import errors
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    silent = are_progress_bars_disabled()
    disable_progress_bars()
    try:
        yield
    except (errors.HTTPError, errors.EntryNotFoundError, errors.OfflineModeIsEnabled, ValueError) as error:
        raise HubError(repo, reason(repo, error)) from error
    finally:
        if not silent:
            enable_progress_bars()


def reason(repo: str, error: BaseException) -> str:
    """What an error of huggingface_hub means, and the cure."""
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
