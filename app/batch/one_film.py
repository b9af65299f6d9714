"""One film of a batch, the same for the local pool and for Ray: whatever goes wrong with it is told and not raised."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import replace

from bodycast.app.batch.film_run import recover_film
from bodycast.app.batch.films import FRAGMENTS, Film
from bodycast.app.batch.fragment_run import recover_fragment
from bodycast.app.batch.join import join_film
from bodycast.app.batch.kept_stages import KeptStages, StagesError
from bodycast.app.batch.marks import read_done, remove_marks, settings_hash
from bodycast.app.batch.messages import Fatal, Finished
from bodycast.app.batch.remote import ResultPath, fetched, local_folder, remove_tree
from bodycast.app.batch.split import fragments_of
from bodycast.app.config import RunConfig
from bodycast.app.errors import BodycastError, UsageError
from bodycast.app.memory import give_back
from bodycast.app.pipeline.summary import Progress
from bodycast.plain_text import shown_name


def do_film(
    film: Film,
    config: RunConfig,
    output: ResultPath,
    kept: KeptStages,
    on_progress: Callable[[Progress], None] | None = None,
) -> Finished | Fatal:
    """Do it, in `kept`'s process. config: of all films, without source and output folder. output: of the batch."""
    try:
        fragments = fragments_of(film, config.capture, config.max_frames) if not film.joins else ()
        if fragments:
            return Finished(then=fragments)
        _do(film, config, output, kept, on_progress)
    except StagesError as error:
        return Fatal(str(error))
    except UsageError as error:  # the film could not be opened: nothing was run
        return Finished(reason(error, film))
    except BodycastError as error:
        return Finished(reason(error, film), retires=True)
    except Exception as error:
        if config.debug:
            traceback.print_exc()
        return Finished(f"{type(error).__name__}: {reason(error, film)}", retires=True)
    finally:
        give_back()
    return Finished(retires=kept.worn)


def _do(
    film: Film,
    config: RunConfig,
    output: ResultPath,
    kept: KeptStages,
    on_progress: Callable[[Progress], None] | None,
) -> None:
    place, settings = output / film.folder, settings_hash(config, film.split_s)
    if film.fragment is not None:
        done = read_done(place)
        if done is not None and done.settings == settings and done.film_bytes == film.size_bytes:
            return  # by an earlier batch that did not come to the film's end
    remove_marks(place)
    with local_folder(place) as folder:
        results = replace(config.results, output=folder, overwrite=True, window=False)
        own = replace(config, source=str(film.path), results=results)
        if film.joins:
            with fetched(place / FRAGMENTS) as fragments:
                join_film(own, film, settings, fragments)
        elif film.fragment is not None:
            recover_fragment(own, film, settings, kept, on_progress)
        else:
            recover_film(own, film.size_bytes, kept, on_progress, settings)
    if film.joins:
        remove_tree(place / FRAGMENTS)


def reason(error: Exception, film: Film) -> str:
    """On one line, without the film's name at its front: reasons are rows of tables."""
    words = str(error).removeprefix(f"{shown_name(str(film.path))}: ")
    return " ".join(words.split()) or "no reason given"
