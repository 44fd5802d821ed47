#!/usr/bin/env python3
"""Download a corpus from its publisher and unpack it. An interrupted download is resumed.

    url=https://www.openslr.org/resources/101/speechocean762.tar.gz
    download.py $url FOLDER speechocean762

In: the URL of a tar file, and the folder that the tar file holds. Out: FOLDER/speechocean762, moved into its
place once it is complete. FOLDER/speechocean762.tar.gz.part holds the bytes so far; it is deleted at the end.
If the publisher gives a checksum, pass it as --md5; else only the length that the server states and the
checksum inside the gzip file are checked.
"""

import hashlib
import tarfile
import tempfile
import zlib
from pathlib import Path

from huggingface_hub.file_download import http_get

from ia3_speech.common.atomic import replacing
from ia3_speech.common.cli import command
from ia3_speech.common.errors import UserError


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
    try:
        with part.open("ab") as file:
            http_get(url, file, resume_size=file.tell())
    except Exception as error:  # of the connection, or the server's answer
        status = getattr(getattr(error, "response", None), "status_code", None)
        if status != 416:  # else no bytes are missing
            reason = str(error).partition("\n")[0]
            hint = "run it again later: the download is resumed; or see the recipe's README"
            raise UserError(f"{url}: {reason} ({hint})") from None
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
