#!/usr/bin/env python3
"""Fetch a corpus from its publisher and unpack it; what was interrupted goes on where it was.

    download.py https://www.openslr.org/resources/101/speechocean762.tar.gz FOLDER speechocean762

In: the address of a tar file, and the folder that it makes. Out: FOLDER/speechocean762, moved in when all of
it is there, so that a kill leaves no half corpus. FOLDER/NAME.part holds what has arrived; it is deleted at
the end. An answer that breaks off is asked for again from where it broke off (HTTP Range). If the publisher
gives a checksum, pass it with --md5; else the length that the server names and the checksum inside the gzip
file are all there is to check.
"""

import hashlib
import http.client
import tarfile
import tempfile
import time
import urllib.error
import urllib.request
import zlib
from pathlib import Path

from ia3_speech.atomic import replacing
from ia3_speech.cli import UserError, command

TRIES = 6
PAUSE = 2.0  # seconds before the second try; twice as many before each further one
TIMEOUT = 60.0  # seconds without a byte
BLOCK = 2**20  # bytes


def main(url: str, folder: Path, makes: str, md5: str | None = None) -> None:
    """Fetch URL and unpack it into FOLDER, unless FOLDER/MAKES is there.

    Args:
        url: address of a .tar.gz or .tar file
        folder: where the corpus goes
        makes: the folder that the tar file holds, and that is wanted of it
        md5: checksum of the tar file, if the publisher gives one
    """
    target = folder / makes
    if target.is_dir():
        print(f"{target}: is there already")
        return
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f"{url.rstrip('/').rpartition('/')[2]}.part"
    fetch(url, part)
    digests = {name: digest(part, name) for name in ("md5", "sha256")}
    if md5 and digests["md5"] != md5:
        raise UserError(
            f"{part}: its md5 is {digests['md5']}, the publisher's {md5} (delete it and fetch it again)"
        )
    unpack(part, makes, target)
    part.unlink()
    print(f"{target}: unpacked (sha256 of {part.stem}: {digests['sha256']})")


def fetch(url: str, part: Path) -> None:
    """Append to `part` until it is whole.

    Raises:
        UserError: the server says that there is no such thing, or the last of several tries broke off too.
    """
    for attempt in range(TRIES):
        if attempt:
            time.sleep(PAUSE * 2 ** (attempt - 1))
        try:
            if append(url, part):
                return
            reason = "the connection ended early"
        except urllib.error.HTTPError as error:
            if error.code < 500:
                raise UserError(f"{url}: {error.code} {error.reason} (see the recipe's README)") from None
            reason = f"{error.code} {error.reason}"
        except (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError) as error:
            reason = str(getattr(error, "reason", error))
        print(f"{url}: {reason}; {size_of(part) / 1e6:.1f} MB are here")
    raise UserError(f"{url}: {reason}, {TRIES} times (run it again later: it goes on where it was)")


def append(url: str, part: Path) -> bool:
    """One request for what `part` lacks; → whether it is whole now."""
    have = size_of(part)
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        answer = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        whole = (error.headers.get("Content-Range") or "").rpartition("/")[2]
        if error.code == 416 and whole == str(have):  # nothing is lacking
            return True
        if error.code == 416:
            part.unlink()
            return False
        raise
    with answer, part.open("ab" if answer.status == 206 else "wb") as file:
        have = have if answer.status == 206 else 0  # 200: the server starts anew
        length = answer.headers.get("Content-Length")
        whole = have + int(length) if length else None
        shown = time.monotonic()
        while block := answer.read(BLOCK):
            file.write(block)
            have += len(block)
            if time.monotonic() - shown > 10:
                shown = time.monotonic()
                print(f"{part.stem}: {have / 1e6:.0f} MB" + (f" of {whole / 1e6:.0f}" if whole else ""))
    return whole is None or have == whole


def size_of(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def digest(path: Path, name: str) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, name).hexdigest()


def unpack(archive: Path, makes: str, target: Path) -> None:
    """The folder `makes` of a tar file becomes `target`; members that would land elsewhere are refused.

    Raises:
        UserError: it is no whole tar file, or holds no such folder.
    """
    with tempfile.TemporaryDirectory(prefix=".unpacking.", dir=archive.parent) as room:
        try:
            with tarfile.open(archive) as tar:
                tar.extractall(room, filter="data")
        except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
            if isinstance(error, OSError) and error.errno:  # no room on the disk: not the file's fault
                raise
            raise UserError(f"{archive}: can't be unpacked: {error} (delete it and fetch it again)") from None
        if not (Path(room) / makes).is_dir():
            raise UserError(f"{archive}: holds no folder {makes} (is it the file that the README names?)")
        with replacing(target) as new:
            (Path(room) / makes).rename(new)


if __name__ == "__main__":
    command(main)
