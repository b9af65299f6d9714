"""`bodycast get hmr2`: asks for the terms, takes the checkpoint alone, leaves nothing of what fails, names the page."""

from __future__ import annotations

import hashlib
import io
import tarfile
from pathlib import Path

import pytest

from bodycast.app.commands import main as program
from bodycast.app.commands.get_hmr2 import CHECKPOINT, PAGE

CONTENT = b"weights" * 1000


def archive(path: Path, names: tuple[str, ...]) -> str:
    with tarfile.open(path, "w:gz") as stream:
        for name in names:
            entry = tarfile.TarInfo(name)
            entry.size = len(CONTENT)
            stream.addfile(entry, io.BytesIO(CONTENT))
    return path.as_uri()


def get(*words: object) -> int:
    return program.main(["get", "hmr2", *map(str, words)])


def test_the_checkpoint_alone_is_taken(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    url = archive(tmp_path / "a.tar.gz", ("data/smpl_mean_params.npz", f"../../logs/hmr2/0/checkpoints/{CHECKPOINT}"))
    out, digest = tmp_path / "got" / "hmr2.ckpt", hashlib.sha256(CONTENT).hexdigest()
    assert get("--url", url, "--output", out, "--accept-terms", "--sha256", digest) == 0
    assert out.read_bytes() == CONTENT and [p.name for p in out.parent.iterdir()] == ["hmr2.ckpt"]
    assert f"bodycast import {out}" in capsys.readouterr().out
    assert get("--url", url, "--output", out, "--accept-terms") == 2 and "--overwrite" in capsys.readouterr().err
    assert get("--url", url, "--output", out, "--accept-terms", "--overwrite") == 0
    assert f"sha256 {digest} (not checked" in capsys.readouterr().out


def test_terms_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert get("--output", tmp_path / "x.ckpt") == 2
    error = capsys.readouterr().err
    assert "--accept-terms" in error and PAGE in error and CHECKPOINT in error


@pytest.mark.parametrize("fault", ["missing", "empty", "damaged", "hash"])
def test_what_fails_names_file_and_page_and_leaves_nothing(
    fault: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = archive(tmp_path / "a.tar.gz", ("x.txt",) if fault == "empty" else (CHECKPOINT,))
    if fault == "damaged":
        (tmp_path / "a.tar.gz").write_bytes(b"no archive")
    if fault == "missing":
        (tmp_path / "a.tar.gz").unlink()
    extra = ("--sha256", "0" * 64) if fault == "hash" else ()
    out = tmp_path / "got" / "hmr2.ckpt"
    assert get("--url", url, "--output", out, "--accept-terms", *extra) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and ("not what was asked for" in error if fault == "hash" else PAGE in error)
    assert list(out.parent.iterdir()) == []
