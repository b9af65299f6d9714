"""What a run writes down: log.jsonl, curves.png, and TensorBoard's files where it is installed."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

from training.core import Entry, JsonLog


class Logbook(JsonLog):
    """Entries of a run, old ones included when it goes on."""

    def __init__(self, folder: Path, *, tensorboard: bool = True) -> None:
        super().__init__(folder / "log.jsonl")
        self.folder = folder
        self._board = None
        if tensorboard and importlib.util.find_spec("tensorboard") is None:
            print("no TensorBoard log: tensorboard is not installed (requirements/train.txt)", file=sys.stderr)
        elif tensorboard:
            from torch.utils.tensorboard import SummaryWriter

            self._board = SummaryWriter(str(folder / "tensorboard"))

    def add(self, entry: Entry) -> None:
        """Write one entry, with `recipe`, `minutes` and `step`, at once."""
        super().add(entry)
        if self._board is not None:
            for name, value in entry.items():
                if isinstance(value, float):
                    self._board.add_scalar(f"{entry['recipe']}/{name}", value, int(float(entry["step"])))
            self._board.flush()

    def write_scores(self, name: str, scores: dict[str, float]) -> None:
        """A network's final scores, as NAME.json."""
        (self.folder / f"{name}.json").write_text(json.dumps(scores, indent=1))

    def draw(self) -> None:
        """The curves so far, as curves.png."""
        from training.plots import plot_history

        if any("failed" not in entry for entry in self.entries):
            plot_history(self.entries, self.folder / "curves.png")

    def close(self) -> None:
        """Finish the files."""
        if self._board is not None:
            self._board.close()
