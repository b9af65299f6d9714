"""`bodycast get hmr2`: fetch HMR2.0's published checkpoint once, for `bodycast import`.

4D-Humans (Goel et al. 2023, arXiv 2305.20091) publishes an archive with the checkpoint; only the checkpoint is taken
out of it. Its code is under MIT; the weights were learned from data sets for non-commercial research, so they are
fetched only for who says that they may use them.
"""

from __future__ import annotations

import hashlib
import tarfile
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Annotated, BinaryIO

import tyro

from bodycast.app.command_line import LEFT_OUT, parse
from bodycast.app.errors import RunError, UsageError
from bodycast.app.files.output_file import write_whole
from bodycast.app.model_packages import bodycast_home

PAGE = "https://github.com/shubham-goel/4D-Humans"
ARCHIVE = "https://www.cs.utexas.edu/~pavlakos/4dhumans/hmr2_data.tar.gz"
CHECKPOINT = "epoch=35-step=1000000.ckpt"
BY_HAND = f"by hand: {CHECKPOINT} is in hmr2_data.tar.gz, from {PAGE}; then: bodycast import {CHECKPOINT}"
BLOCK = 1 << 20
TIMEOUT_S = 30


@dataclass(frozen=True)
class GetHmr2:
    """Fetch HMR2.0's checkpoint, once (gigabytes). Its code is MIT, its training data for non-commercial research."""

    accept_terms: tyro.conf.FlagCreatePairsOff[bool] = False
    """You have read the terms on the page of 4D-Humans, and may use the weights."""

    output: Annotated[Path | None, LEFT_OUT] = None
    """File to write; where left out, in the user's downloads folder."""

    url: str = ARCHIVE
    """Where the archive (a tar) is; a file:// address will do."""

    sha256: Annotated[str | None, LEFT_OUT] = None
    """What the checkpoint's SHA-256 must be, where you know it; 4D-Humans publishes none."""

    overwrite: tyro.conf.FlagCreatePairsOff[bool] = False
    """Replace the file if it is there."""


def main(args: Sequence[str], prog: str) -> int:
    """Run the command; gives the exit code. Raises: UsageError, RunError."""
    given = parse(GetHmr2, args, prog)
    target = given.output or bodycast_home() / "downloads" / CHECKPOINT
    if target.exists() and not given.overwrite:
        raise UsageError(f"{target} is there; pass --overwrite to replace it, or: bodycast import {target}")
    if not given.accept_terms:
        raise UsageError(
            f"HMR2.0's weights were learned from data for non-commercial research: read {PAGE}, and pass "
            f"--accept-terms if you may use them; {BY_HAND}"
        )
    digest = fetch(given.url, target, given.sha256)
    print(f"{target}\nsha256 {digest}" + ("" if given.sha256 else " (not checked: no published hash is known)"))
    print(f"bodycast import {target} --eclm 28 --tokens fasthmr --precision fp16")
    return 0


def fetch(url: str, target: Path, sha256: str | None = None) -> str:
    """Take the checkpoint out of the archive at `url` while it comes in; gives its SHA-256. A failure leaves nothing.

    Raises: RunError, one line, that names file and page.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    print(f"fetching {url}")
    digests: list[str] = []

    def take(stream: BinaryIO) -> None:
        digests.append(_taken(url, stream))
        if sha256 is not None and digests[0] != sha256.lower():
            raise RunError(
                f"{url}: the checkpoint's sha256 is {digests[0]}, not {sha256}: it is not what was asked for"
            )

    try:
        write_whole(target, take)
        return digests[0]
    except (OSError, ValueError, EOFError, tarfile.TarError) as error:
        reason = " ".join(str(getattr(error, "reason", error)).split())
        raise RunError(f"{url} could not be fetched ({reason}); {BY_HAND}") from error


def _taken(url: str, target: BinaryIO) -> str:
    """Write the archive's checkpoint, whatever folder it is in there, to `target`; gives its SHA-256."""
    answered = urllib.request.urlopen(url, timeout=TIMEOUT_S)
    with answered as answer, tarfile.open(fileobj=answer, mode="r|*") as archive:
        for member in archive:
            if member.isfile() and Path(member.name).name == CHECKPOINT:
                source = archive.extractfile(member)
                assert source is not None
                return _copy(source, target)
    raise RunError(f"{url} holds no {CHECKPOINT}; {BY_HAND}")


def _copy(source: IO[bytes], target: BinaryIO) -> str:
    digest = hashlib.sha256()
    while block := source.read(BLOCK):
        digest.update(block)
        target.write(block)
    return digest.hexdigest()
