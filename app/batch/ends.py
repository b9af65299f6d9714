"""What is to be done when a film, or a fragment of one, has ended: the same for the local pool and for Ray."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from bodycast.app.batch.films import Film
from bodycast.app.batch.marks import Failed, write_failed
from bodycast.app.batch.messages import Finished
from bodycast.app.batch.progress import BatchProgress
from bodycast.app.batch.remote import ResultPath


@dataclass(slots=True)
class _Split:
    film: Film
    fragments: Sequence[Film]
    open: set[str]
    error: str = ""


class Ends:
    """Fails films, and joins those that were split once all fragments are done."""

    def __init__(self, output: ResultPath, settings: str, progress: BatchProgress) -> None:
        """settings: of the batch, for the marks of films that fail."""
        self._output, self._settings, self._progress = output, settings, progress
        self._splits: dict[str, _Split] = {}

    def __call__(self, film: Film, finished: Finished) -> Sequence[Film]:
        """Take what has ended; gives films that are to be done now. Raises: RunError where the disk takes no more."""
        if finished.then:
            split = _Split(film, finished.then, {fragment.folder for fragment in finished.then})
            self._splits.update((fragment.folder, split) for fragment in finished.then)
            return finished.then
        split = self._splits.pop(film.folder, None)
        if split is None:
            self._end(film, finished.error)
            return ()
        split.open.remove(film.folder)
        split.error = split.error or finished.error
        if split.open:
            self._progress.part_ended(split.film, 1 - len(split.open) / len(split.fragments))
            return ()
        if split.error:
            self._end(split.film, split.error)
            return ()
        joins = tuple(one.fragment for one in split.fragments if one.fragment is not None)
        return (replace(split.film, joins=joins),)

    def _end(self, film: Film, error: str) -> None:
        if error:
            write_failed(self._output / film.folder, Failed(str(film.path), self._settings, error))
        self._progress.ended(film, error)
