"""What comes from files is one short, printable line in messages."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bodycast.app.errors import UsageError
from bodycast.app.sources.threaded import SourceLog
from bodycast.engines.errors import PackageError
from bodycast.engines.package import read_metadata
from bodycast.plain_text import plain, shortened, shown_name


def test_control_characters_become_escapes_and_lines_blanks() -> None:
    assert plain("a\x1b[31mb\r\nc\x00 \u202e") == "a\\x1b[31mb  c\\x00 \\u202e"
    assert plain("caf\udce9") == "caf\\xe9"
    assert plain("日本 é") == "日本 é"


def test_long_text_keeps_its_ends() -> None:
    text = "start" + 100_000 * "x" + "end"
    short = shortened(text)
    assert len(short) <= 120 and short.startswith("start") and short.endswith("end")
    assert shortened("short") == "short"
    assert len(shown_name("n" * 5000)) <= 300


def test_every_message_for_users_is_plain_and_bounded() -> None:
    for kind in (UsageError, PackageError):
        message = str(kind("x\x1b]0;title\x07" * 5000))
        assert "\x1b" not in message and len(message) <= 2000
    log = SourceLog()
    log.warn("frame\x1b[2J")
    assert log.warnings == ["frame\\x1b[2J"]


@pytest.mark.parametrize(
    "change",
    [
        {"name": "evil\x1b[31m"},
        {"name": "n" * 100_000},
        {"files": {"f" * 5000: "0" * 64}},
        {"inputs": [{"name": "x", "dtype": "float32", "shape": [1] * 100_000, "unit": "1", "meaning": "m"}]},
        {"x" * 50_000: 1},
    ],
    ids=["escape", "long name", "long file", "axes", "long key"],
)
def test_a_package_that_shouts_is_one_short_line(tmp_path: Path, change: dict[str, object]) -> None:
    from bodycast.app.model_packages import REPOSITORY_MODELS

    first = next(iter(sorted(REPOSITORY_MODELS.glob("*/package.json"))))
    (tmp_path / "package.json").write_text(json.dumps({**json.loads(first.read_text()), **change}))
    with pytest.raises(PackageError) as caught:
        read_metadata(tmp_path)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 600
