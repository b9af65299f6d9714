"""Which engines a batch runs on: `--engine auto` is measured once, by the first worker, and kept for `--resume`.

Another measurement, on a machine that the batch itself keeps busy, may choose another engine, and results of two
engines differ in their last digits.
"""

from __future__ import annotations

import json
from typing import Any

from bodycast.app.batch.remote import ResultPath, put
from bodycast.app.errors import cannot_write

ENGINES_FILE = "engines.json"


class BatchEngines:
    """`chosen`: by `bodycast.engines.choices.key`."""

    def __init__(self, output: ResultPath | None, settings: str = "", keep: bool = False) -> None:
        """output: of the batch; None: nothing is kept. settings: of the batch. keep: go on with what an earlier batch
        of the same settings has chosen there."""
        self._place = None if output is None else output / ENGINES_FILE
        self._settings = settings
        self.chosen: dict[str, str] = self._read() if keep else {}

    def choose(self, engines: dict[str, str]) -> None:
        """What a worker has opened, where nothing was chosen yet. Raises: RunError where the disk takes no more."""
        if self.chosen or not engines:
            return
        self.chosen = engines
        if self._place is not None:
            document = json.dumps({"settings": self._settings, "engines": engines}, indent=2)
            try:
                put(self._place, document.encode())
            except OSError as error:
                raise cannot_write(self._place, error) from error

    def _read(self) -> dict[str, str]:
        if self._place is None:
            return {}
        try:
            content: Any = json.loads(self._place.read_bytes())
            same = content["settings"] == self._settings
            return {str(key): str(name) for key, name in content["engines"].items()} if same else {}
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return {}
