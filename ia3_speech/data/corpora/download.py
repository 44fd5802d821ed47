"""Download a corpus from its publisher and unpack it. An interrupted download is resumed.

    url=https://www.openslr.org/resources/101/speechocean762.tar.gz
    python -m ia3_speech.data.corpora.download $url FOLDER speechocean762

In: the URL of a tar file, and the folder that the tar file holds. Out: FOLDER/speechocean762, moved into its
place once it is complete. FOLDER/speechocean762.tar.gz.part holds what has been downloaded; it is deleted at
the end. After a broken connection the rest is requested (HTTP Range). If the publisher gives a checksum, pass
it as --md5; else only the length that the server states and the checksum inside the gzip file are checked.
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
PAUSE = 2.0  # seconds before the second attempt, doubled before each further one
TIMEOUT = 60.0  # seconds without a byte


def download(url: str, folder: Path, name: str, md5: str | None = None) -> None:
    """Download URL and unpack it into FOLDER, unless FOLDER/NAME exists.

    Args:
        url: URL of a .tar.gz or .tar file
        folder: where the corpus goes
        name: the folder in the tar file to unpack
        md5: checksum of the tar file, if the publisher gives one
    """
    target = folder / name
    if target.is_dir():
        print(f"{target}: exists already")
        return
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f"{url.rstrip('/').rpartition('/')[2]}.part"
    download_part(url, part)
    if md5 and (found := digest(part, "md5")) != md5:
        hint = "delete it and fetch it again"
        raise UserError(f"{part}: its md5 is {found}, the publisher's {md5} ({hint})")
    sha256 = digest(part, "sha256")
    unpack(part, name, target)
    part.unlink()
    print(f"{target}: unpacked (sha256 of {part.stem}: {sha256})")


def download_part(url: str, part: Path) -> None:
    """Append to the file `part` until it is complete; UserError where the last of several attempts fails."""
    reason = ""
    for attempt in range(ATTEMPTS):
        if attempt:
            print(f"{url}: {reason}; {part.stat().st_size / 1e6:.1f} MB are here")
            time.sleep(PAUSE * 2 ** (attempt - 1))
        try:
            if request_rest(url, part):
                return
            reason = "the connection ended early"
        except (OSError, http.client.HTTPException) as error:  # HTTPError, TimeoutError … are OSErrors
            reason, code = str(error), getattr(error, "code", 500)
            if code == 416:  # nothing was missing
                return
            if code < 500:
                raise UserError(f"{url}: {reason} (see the recipe's README)") from None
    raise UserError(f"{url}: {reason}, {ATTEMPTS} times (run it again later: the download is resumed)")


def request_rest(url: str, part: Path) -> bool:
    """Request what the file `part` lacks and append it. Returns whether the file is complete."""
    part.touch()
    have = part.stat().st_size
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    answer = urllib.request.urlopen(request, timeout=TIMEOUT)
    with answer, part.open("ab" if answer.status == 206 else "wb") as file:  # 200: the server sends all of it
        have = file.tell()
        length = answer.headers.get("Content-Length")
        shutil.copyfileobj(answer, file)
        return length is None or file.tell() == have + int(length)


def digest(path: Path, name: str) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, name).hexdigest()


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
