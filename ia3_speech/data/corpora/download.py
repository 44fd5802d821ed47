"""Download a corpus from its publisher and unpack it. An interrupted download is resumed.

    url=https://www.openslr.org/resources/101/speechocean762.tar.gz
    python -m ia3_speech.data.corpora.download $url FOLDER speechocean762

In: the URL of a tar file, and the folder that the tar file holds. Out: FOLDER/speechocean762, moved into its
place once it is complete. FOLDER/speechocean762.tar.gz.part holds the bytes so far; it is deleted at the end.
After a broken connection the rest is requested (HTTP Range). If the publisher gives a checksum, pass it as
--md5; else only the length that the server states and the checksum inside the gzip file are checked.
"""

import hashlib
import http.client
import shutil
import tarfile
import tempfile
import time
import urllib.request
import zlib
from pathlib import Path

from ia3_speech.atomic import replacing
from ia3_speech.cli import command
from ia3_speech.errors import UserError

ATTEMPTS = 6
PAUSE = 2.0  # seconds before the second attempt, doubled before each further attempt
TIMEOUT = 60.0  # seconds without a byte


def download(url: str, folder: Path, name: str, md5: str | None = None) -> None:
    """Download URL and unpack it into FOLDER, unless FOLDER/NAME exists.

    Args:
        url: URL of a .tar.gz or .tar file
        folder: where the corpus goes
        name: the folder in the tar file to unpack
        md5: checksum of the tar file, if the publisher gives it
    """
    target = folder / name
    if target.is_dir():
        print(f"{target}: exists already")
        return
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f"{url.rstrip('/').rpartition('/')[2]}.part"
    part.touch()
    for attempt in range(1, ATTEMPTS + 1):
        fault = request_rest(url, part)
        if fault is None:
            break
        if attempt == ATTEMPTS:
            raise UserError(f"{url}: {fault}, {ATTEMPTS} times (run it again later: the download is resumed)")
        print(f"{url}: {fault}; {part.stat().st_size / 1e6:.1f} MB are here")
        time.sleep(PAUSE * 2 ** (attempt - 1))
    digests = {}
    for algorithm in ("md5", "sha256"):
        with part.open("rb") as file:
            digests[algorithm] = hashlib.file_digest(file, algorithm).hexdigest()
    if md5 not in (None, digests["md5"]):
        hint = "delete it and fetch it again"
        raise UserError(f"{part}: its md5 is {digests['md5']}, the publisher's {md5} ({hint})")
    unpack(part, name, target)
    part.unlink()
    print(f"{target}: unpacked (sha256 of {part.stem}: {digests['sha256']})")


def request_rest(url: str, part: Path) -> str | None:
    """Request the bytes that the file `part` lacks and append them. Returns None where the file is complete,
    else the reason to try again; raises UserError where another attempt cannot help."""
    size = part.stat().st_size
    request = urllib.request.Request(url, headers={"Range": f"bytes={size}-"} if size else {})
    try:
        answer = urllib.request.urlopen(request, timeout=TIMEOUT)
        # Status 200: the server sends the whole file.
        with answer, part.open("ab" if answer.status == 206 else "wb") as file:
            size = file.tell()
            length = answer.headers.get("Content-Length")
            shutil.copyfileobj(answer, file)
            is_complete = length is None or file.tell() == size + int(length)
            return None if is_complete else "the connection ended early"
    except (OSError, http.client.HTTPException) as error:  # HTTPError, TimeoutError … are OSErrors
        code = getattr(error, "code", 500)
        if code < 500 and code != 416:
            raise UserError(f"{url}: {error} (see the recipe's README)") from None
        return None if code == 416 else str(error)  # 416: no bytes are missing


def unpack(archive: Path, name: str, target: Path) -> None:
    """Unpack the folder `name` of a tar file as `target`; members with paths outside of it are refused."""
    with tempfile.TemporaryDirectory(prefix=".unpacking.", dir=archive.parent) as temporary:
        try:
            with tarfile.open(archive) as tar:
                tar.extractall(temporary, filter="data")
        except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
            if isinstance(error, OSError) and error.errno:  # the disk is full: the file is not at fault
                raise
            hint = "delete it and fetch it again"
            raise UserError(f"{archive}: cannot be unpacked: {error} ({hint})") from None
        if not (Path(temporary) / name).is_dir():
            raise UserError(f"{archive}: holds no folder {name} (is it the file that the README names?)")
        with replacing(target) as new:
            (Path(temporary) / name).rename(new)


if __name__ == "__main__":
    command(download)
