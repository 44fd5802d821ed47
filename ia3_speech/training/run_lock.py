"""One run at a time writes to an experiment folder: a lock that ends with its process, however that ends.

with run_lock(out):
    …
"""

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from ia3_speech.cli import UserError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None


class RunLockError(UserError):
    """Another run is writing to the same folder."""


@contextmanager
def run_lock(out: Path, part: str | None = None) -> Iterator[None]:
    """Hold the lock of `out` within the context. The folder is made; if it is empty afterwards, it is
    removed.

    Runs with different parts of one work, such as 1/2 and 2/2, may hold it together, and no other run then.
    Without effect on Windows, and in all processes but the first of a distributed run.

    Raises:
        RunLockError: another run holds it; the message names its process.
    """
    if fcntl is None or not is_first_process():
        yield
        return
    is_new = not out.exists()
    out.mkdir(parents=True, exist_ok=True)
    try:
        with ExitStack() as stack:
            stack.enter_context(file_lock(out / ".lock", shared=part is not None))
            if part is not None:
                stack.enter_context(file_lock(out / f".lock.{part.replace('/', '-')}"))
            yield
    finally:
        if is_new:
            with suppress(OSError):
                out.rmdir()


def is_first_process() -> bool:
    """Whether this is the process of a distributed run that writes its files; torchrun sets RANK."""
    return os.environ.get("RANK", "0") == "0"


@contextmanager
def file_lock(file: Path, *, shared: bool = False) -> Iterator[None]:
    """Hold a lock on a file, which is made, and removed at the end unless others may share it.

    Raises:
        RunLockError: another process holds it.
    """
    descriptor = open_locked(file, shared)
    try:
        yield
    finally:
        if not shared:
            file.unlink(missing_ok=True)
        os.close(descriptor)


def open_locked(file: Path, shared: bool) -> int:
    """A descriptor of the locked file. Raises RunLockError where another process holds the lock."""
    while True:
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 200, 0).decode("utf-8", "replace").strip()
            os.close(descriptor)
            raise RunLockError(
                f"{file.parent}: another run is writing to it{holder and f', {holder}'} (wait until it has "
                f"ended, or choose another --out)"
            ) from None
        except OSError:  # a file system without locks: as if it were Windows
            return descriptor
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), file.stat()):
                if not shared:
                    os.ftruncate(descriptor, 0)
                    os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)
                return descriptor
        os.close(descriptor)  # its holder removed it between the two calls
