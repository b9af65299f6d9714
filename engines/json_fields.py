"""A JSON object that is read key by key, closed in the end: what nobody asked for is refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from bodycast.engines.errors import PackageError
from bodycast.plain_text import shortened

MOST_TEXT = 2000


class Fields:
    """One JSON object, read key by key; `close` refuses whatever was not asked for."""

    def __init__(self, document: object, where: str) -> None:
        if not isinstance(document, dict):
            raise PackageError(f"{where}: expected a JSON object, it is {type(document).__name__}")
        self.where = where
        self._left = dict(cast("Mapping[str, object]", document))

    def take(self, key: str, kind: type) -> Any:
        if key not in self._left:
            raise PackageError(f"{self.where}: {key!r} is missing")
        value = self._left.pop(key)
        if type(value) is not kind:
            raise PackageError(f"{self.where}: {key!r}: expected {kind.__name__}, it is {type(value).__name__}")
        return value

    def has(self, key: str) -> bool:
        return key in self._left

    def text(self, key: str) -> str:
        value = cast(str, self.take(key, str))
        if not value.strip():
            raise PackageError(f"{self.where}: {key!r} is empty; write 'none' where nothing applies")
        if not value.isprintable() or len(value) > MOST_TEXT:
            raise PackageError(
                f"{self.where}: {key!r} is no line of at most {MOST_TEXT} characters: {shortened(value)}"
            )
        return value

    def integer(self, key: str) -> int:
        return cast(int, self.take(key, int))

    def choice(self, key: str, allowed: tuple[str, ...]) -> str:
        value = self.text(key)
        if value not in allowed:
            raise PackageError(
                f"{self.where}: {key!r} is {shortened(repr(value))}, expected one of {', '.join(allowed)}"
            )
        return value

    def mapping(self, key: str) -> dict[str, Any]:
        return cast("dict[str, Any]", self.take(key, dict))

    def fields(self, key: str) -> Fields:
        return Fields(self.take(key, dict), f"{self.where}: {key}")

    def close(self) -> None:
        if self._left:
            raise PackageError(f"{self.where}: unknown keys {shortened(sorted(self._left))}")
