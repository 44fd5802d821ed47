"""Write beside the place and move in, so that a kill at any moment leaves no half file under a final name."""

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def replacing(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success what was written there becomes `path`.

    Works for a file and for a folder (make it with `mkdir`). After an exception nothing is left behind and
    an older `path` stands as it was. A file is replaced in one step; a folder in two renames, the older one
    is deleted last.
    """
    path = Path(path)
    if path.is_symlink():  # exp → /scratch/exp: what it points to is replaced, the link stays
        path = path.resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    room = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    new, old = room / "new", room / "old"
    try:
        yield new
        (room / "mode").touch()
        flush(new, (room / "mode").stat().st_mode)
        if path.is_dir():
            path.rename(old)
            try:
                new.rename(path)
            except BaseException:
                old.rename(path)
                raise
        else:
            new.replace(path)
    finally:
        shutil.rmtree(room, ignore_errors=True)


def unexpected_file(folder: Path | str, ours: Callable[[Path], bool]) -> str | None:
    """The name of something in `folder` that isn't ours and that replacing the folder would delete.

    What is hidden doesn't count (.DS_Store, the Hub's .cache), but for a clone's history.
    """
    found = sorted(Path(folder).iterdir()) if Path(folder).is_dir() else []
    counting = (entry for entry in found if entry.name == ".git" or not entry.name.startswith("."))
    return next((entry.name for entry in counting if not ours(entry)), None)


def flush(path: Path, mode: int) -> None:
    """fsync a file, or every file of a folder: the rename must not reach the disk before the contents.

    Each gets the mode of any new file: safetensors' are for their owner alone, and adapters are to be shared.
    """
    files = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file() and not p.is_symlink()]
    for file in files:
        file.chmod(mode & 0o777)
        descriptor = os.open(file, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def write_text(path: Path | str, text: str) -> None:
    """Write UTF-8 text with the line ends as given."""
    with replacing(path) as new:
        new.write_text(text, encoding="utf-8", newline="")


def write_json(path: Path | str, value: Any) -> None:
    """Write JSON, indented, keys in the order given, a newline at the end."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")
