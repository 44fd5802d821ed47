"""Atomic writing: a file or folder is written beside its place and moved in, so that a kill at any moment
leaves no incomplete file under a final name.

    with replacing(folder) as new:
        new.mkdir()
        (new / "a.txt").write_text("…")
"""

import errno
import glob
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ia3_speech.common.errors import UserError


@contextmanager
def replacing(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success its content becomes `path`.

    The path may become a file, or a folder (by `mkdir`); neither replaces the other. After an exception the
    temporary path is removed, and an older `path` is unchanged. A file is replaced in one step; a folder in
    two renames, and the older folder is deleted last.
    """
    from filelock import FileLock

    path = Path(path).resolve()  # exp → /scratch/exp: the target is replaced, the link stays
    if os.path.ismount(path):
        raise OSError(errno.EBUSY, "is a mount point (give a path within it)", str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        temporary = Path(tempfile.mkdtemp(prefix=prefix_of(path), dir=path.parent))
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    new, old, lock = temporary / "new", temporary / "old", temporary / "lock"
    lock.touch()  # with the mode of any new file
    try:
        with FileLock(lock):  # the system releases it when the process ends, which marks leftovers
            yield new
            if path.exists() and path.is_dir() != new.is_dir():  # such as --out FOLDER of a file
                kind = errno.EISDIR if path.is_dir() else errno.ENOTDIR
                raise OSError(kind, os.strerror(kind), str(path))
            if path.exists() and not (path.is_dir() or path.is_file()):  # /dev/null
                raise OSError(errno.EINVAL, "no file that can be replaced", str(path))
            flush(new, lock.stat().st_mode)
            if path.is_dir():
                path.rename(old)
                try:
                    new.rename(path)
                except BaseException:
                    old.rename(path)
                    raise
            else:
                new.replace(path)
    except Exception as error:
        # A full disk: the error has no name, or a name that the user does not know. shutil.copytree and
        # safetensors tell its number in their messages only.
        code = re.search(r"(?:\[Errno |\(os error )(\d+)", str(error))
        name = str(getattr(error, "filename", None) or temporary)
        if code and name.startswith(str(temporary)) and not isinstance(error, UserError):
            raise OSError(int(code[1]), os.strerror(int(code[1])), str(path)) from error
        raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def remove_leftovers(path: Path | str) -> None:
    """Remove the temporary folders of processes that were killed while they replaced `path`.

    The folder of a living process stays, since the process holds its lock. If an older folder was moved
    away, and the new folder has not replaced it, the older folder is moved back.
    """
    from filelock import FileLock, Timeout

    path = Path(path).resolve()
    for temporary in path.parent.glob(f"{glob.escape(prefix_of(path))}????????"):
        with suppress(OSError, Timeout):  # another process removes it too, or another user owns it
            if {entry.name for entry in temporary.iterdir()} <= {"new", "old", "lock"}:
                with FileLock(temporary / "lock", timeout=0):
                    if (temporary / "old").is_dir() and not path.exists():
                        if temporary.name[:-8] != f".{path.name}.":
                            continue  # of a name beyond 60 characters, which may be another path's
                        (temporary / "old").rename(path)
                    shutil.rmtree(temporary, ignore_errors=True)


def prefix_of(path: Path) -> str:
    """The prefix of the temporary folders beside `path`: as much of its name as fits into 255 bytes."""
    return f".{path.name[:60]}."


def unexpected_file(folder: Path | str, is_expected: Callable[[Path], bool]) -> str | None:
    """The name of an unexpected file in `folder`, which a replacement of the folder would delete.

    Hidden files (.DS_Store, the Hub's .cache) are ignored, except for a clone's .git.
    """
    entries = sorted(Path(folder).iterdir()) if Path(folder).is_dir() else []
    visible = (entry for entry in entries if entry.name == ".git" or not entry.name.startswith("."))
    return next((entry.name for entry in visible if not is_expected(entry)), None)


def flush(path: Path, mode: int) -> None:
    """fsync a file, or every file of a folder: the rename must not reach the disk before the contents.

    Each file gets `mode`: safetensors makes files that only their owner can read.
    """
    files = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file() and not p.is_symlink()]
    for file in files:
        file.chmod(mode & 0o777)
        with file.open("rb") as opened:
            os.fsync(opened.fileno())


def write_text(path: Path | str, text: str) -> None:
    """Write UTF-8 text; line ends stay as they are."""
    with replacing(path) as new:
        new.write_text(text, encoding="utf-8", newline="")


def write_json(path: Path | str, value: Any) -> None:
    """Write indented JSON with the keys in their order, and a newline at the end."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")
