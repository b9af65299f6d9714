"""Text of files and the network, made fit for one line of a message: short, and without control characters."""

from __future__ import annotations

import re

MOST_CHARACTERS = 120
LONGEST_NAME = 300
LONGEST_MESSAGE = 2000


def plain(text: object) -> str:
    """One line of printable characters: line breaks and tabs become blanks, what would steer a terminal is shown as
    an escape, and so is what is no text at all (bytes of a name that are not UTF-8)."""
    kept = (" " if one in "\t\r\n\v\f" else one if one.isprintable() else _escaped(one) for one in str(text))
    return "".join(kept).strip()


def shortened(text: object, most: int = MOST_CHARACTERS) -> str:
    """`plain`, with the middle left out where it is longer than `most` characters."""
    line = plain(str(text)[: 4 * most] + (str(text)[-most:] if len(str(text)) > 4 * most else ""))
    if len(line) <= most and len(str(text)) <= 4 * most:
        return line
    half = (most - 5) // 2
    return f"{line[:half]} ... {line[-half:]}"


def message_line(message: object) -> str:
    """A whole message: its words are shortened as names are, and all of it to LONGEST_MESSAGE."""
    text = str(message)[: 100 * LONGEST_MESSAGE]
    return shortened(re.sub(rf"\S{{{LONGEST_NAME + 1},}}", lambda word: shown_name(word[0]), text), LONGEST_MESSAGE)


def shown_name(name: object) -> str:
    """A file's or a package's name for a message."""
    return shortened(name, LONGEST_NAME)


def _escaped(one: str) -> str:
    code = ord(one)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that os.fsdecode could not read
        return f"\\x{code - 0xDC00:02x}"
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
