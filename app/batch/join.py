"""The fragments of a film as one: ids joined over the overlaps, one motion file, one overlay, one report."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bodycast.app.batch.films import Film, Fragment
from bodycast.app.batch.marks import Done, read_done, write_done
from bodycast.app.config import RunConfig
from bodycast.app.errors import RunError, UsageError
from bodycast.app.files.motion_parts import PARTS_FOLDER, Parts, PartsWriter, read_parts
from bodycast.app.files.output_file import write_whole
from bodycast.app.files.output_folder import MOTION_FILE, OVERLAY_FILE, REPORT_FILE
from bodycast.app.pipeline.build import load_body
from bodycast.app.pipeline.run_options import world_options
from bodycast.app.records import F64
from bodycast.app.sinks.finish_film import finish_film
from bodycast.app.sinks.finish_motion import finish_motion
from bodycast.app.sources import open_source
from bodycast.app.viewer.pages import write_pages
from bodycast.app.world.offline import place_motion
from bodycast.hmr.geometry.boxes import iou_matrix
from bodycast.hmr.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle

LEAST_IOU = 0.5
"""Mean overlap of the boxes of two ids, in the frames that show both, from which they are one person."""
LEAST_FRAMES = 3


@dataclass(frozen=True, slots=True)
class Piece:
    """A fragment with what it left."""

    fragment: Fragment
    parts: Parts

    def rows_of(self, begin: int, end: int) -> NDArray[np.intp]:
        """Rows of frames [begin, end)."""
        frame = self.parts.rows["frame"]
        return np.flatnonzero((frame >= begin) & (frame < end))


def join_film(config: RunConfig, film: Film, settings: str, fragments: Path) -> Done:
    """Join `film.joins`, whose results are in `fragments`; `config` names film and output folder.

    Raises: BodycastError.
    """
    folder = config.results.output
    if folder is None:
        raise UsageError("a film of a batch needs an output folder")
    began_s = time.perf_counter()
    folder.mkdir(parents=True, exist_ok=True)
    places = [fragments / f"{fragment.number:04d}" for fragment in film.joins]
    marks = [read_done(place) for place in places]
    if any(mark is None for mark in marks):
        raise RunError("a fragment is no longer whole: --resume does it again")
    whole = [mark for mark in marks if mark is not None]
    pieces = [
        Piece(fragment, read_parts(place / PARTS_FOLDER)) for fragment, place in zip(film.joins, places, strict=True)
    ]
    people = join_parts(pieces, folder / PARTS_FOLDER)
    source = open_source(config.source, config.capture)
    source.close()
    body = load_body(config.network.body, pieces[0].parts.head.meta.body, config.network.pose_only)
    finish = partial(place_motion, body=body, options=world_options(config, source.info))
    world = finish_motion(folder / PARTS_FOLDER, folder / MOTION_FILE, finish)
    warnings = list(dict.fromkeys(line for mark in whole for line in mark.warnings))
    if config.results.renderer != "none":
        warnings += join_overlays(places, [_start_s(piece) for piece in pieces], folder / OVERLAY_FILE, film.path)
    report = _report(places, film, config, None if world is None else asdict(world), people, warnings)
    write_whole(folder / REPORT_FILE, lambda stream: stream.write(json.dumps(report, indent=2, default=str).encode()))
    warnings += write_pages(folder, body)
    seconds = sum(mark.seconds for mark in whole) + time.perf_counter() - began_s
    frames = sum(mark.frames for mark in whole)
    size = film.size_bytes
    done = Done(
        str(film.path), settings, size, frames, people, round(seconds, 3), whole[0].packages, warnings=tuple(warnings)
    )
    write_done(folder, done)
    return done


def join_parts(pieces: Sequence[Piece], target: Path) -> int:
    """Write the parts of the whole film into the folder `target`; gives how many ids there are. Raises: OSError."""
    writer = PartsWriter(target, pieces[0].parts.head)
    names = 0
    before: tuple[Piece, dict[int, int], F64] | None = None
    seen: set[int] = set()
    for piece in pieces:
        new_ids, turn = ({}, np.eye(3)) if before is None else _continued(before, piece)
        own = piece.rows_of(piece.fragment.begin, piece.fragment.end)
        for person in np.unique(piece.parts.rows["person_id"][own]).tolist():
            if person not in new_ids:
                names += 1
                new_ids[person] = names
        seen |= _append(writer, piece, new_ids, turn)
        before = piece, new_ids, turn
    writer.flush(sync=True)
    writer.close()
    return len(seen)


def _append(writer: PartsWriter, piece: Piece, new_ids: dict[int, int], turn: F64) -> set[int]:
    """The fragment's own frames, under the film's ids and in its first camera's axes; gives the ids."""
    parts, seen = piece.parts, set[int]()
    begin_row = 0
    for frame in parts.frames:
        end_row = int(frame["end_row"])
        if piece.fragment.begin <= int(frame["frame"]) < piece.fragment.end:
            rows = np.array(parts.rows[begin_row:end_row])
            smoothed = np.array(parts.smoothed[begin_row:end_row])
            rows["person_id"] = [new_ids[person] for person in rows["person_id"].tolist()]
            if not np.array_equal(turn, np.eye(3)):
                smoothed["turn"] = matrix_to_axis_angle(turn @ axis_angle_to_matrix(smoothed["turn"]))
            order = np.argsort(rows["person_id"])
            seen |= set(rows["person_id"].tolist())
            writer.append(np.array([frame], parts.frames.dtype), rows[order], smoothed[order])
        begin_row = end_row
    return seen


def _continued(before: tuple[Piece, dict[int, int], F64], piece: Piece) -> tuple[dict[int, int], F64]:
    """Ids of `piece` that go on with somebody of the piece before, in the film's ids, and how its first camera is
    turned against the film's."""
    earlier, names, turn = before
    begin, end = piece.fragment.first, earlier.fragment.last
    ours, theirs = piece.rows_of(begin, end), earlier.rows_of(begin, end)
    if not len(ours) or not len(theirs):
        # A cut, where every camera begins anew; or nobody is there, and nobody says how the camera turned.
        return {}, np.eye(3) if begin >= end else turn
    pairs = same_people(earlier.parts.rows[theirs], piece.parts.rows[ours])
    ids = {now: names[then] for then, now in pairs.items() if then in names}
    frame = int(np.intersect1d(earlier.parts.rows["frame"][theirs], piece.parts.rows["frame"][ours]).max(initial=-1))
    if frame < 0:
        return ids, turn
    then, now = (_turn_at(one, rows, frame) for one, rows in ((earlier, theirs), (piece, ours)))
    return ids, np.asarray(turn @ then @ now.T, np.float64)


def _turn_at(piece: Piece, rows: NDArray[np.intp], frame: int) -> F64:
    row = rows[piece.parts.rows["frame"][rows] == frame][0]
    return axis_angle_to_matrix(piece.parts.smoothed["turn"][row][None].astype(np.float64))[0].astype(np.float64)


def same_people(earlier: NDArray[np.void], later: NDArray[np.void]) -> dict[int, int]:
    """Earlier id -> later id of those who are one person: rows of dtype ROW of the frames that two fragments share. The
    best pairs by the mean overlap of their boxes come first; each id is in one pair."""
    overlaps: dict[tuple[int, int], list[float]] = {}
    for frame in np.intersect1d(earlier["frame"], later["frame"]).tolist():
        then, now = earlier[earlier["frame"] == frame], later[later["frame"] == frame]
        likeness = iou_matrix(then["bbox_xyxy"].astype(np.float64), now["bbox_xyxy"].astype(np.float64))
        for row, one in enumerate(then["person_id"].tolist()):
            for column, other in enumerate(now["person_id"].tolist()):
                overlaps.setdefault((one, other), []).append(float(likeness[row, column]))
    means = {pair: float(np.mean(values)) for pair, values in overlaps.items() if len(values) >= LEAST_FRAMES}
    found: dict[int, int] = {}
    for (one, other), mean in sorted(means.items(), key=lambda entry: -entry[1]):
        if mean >= LEAST_IOU and one not in found and other not in found.values():
            found[one] = other
    return found


def _start_s(piece: Piece) -> float:
    """Time of the fragment's own first frame."""
    frames = piece.parts.frames
    own = frames["time_s"][frames["frame"] >= piece.fragment.begin]
    return float(own[0]) if len(own) else 0.0


def join_overlays(places: Sequence[Path], starts_s: Sequence[float], target: Path, film: Path) -> list[str]:
    """One film from the fragments' overlays and the film's sound, nothing is encoded anew; gives what is not as it
    should be, one line each."""
    import av
    import av.error

    try:
        with av.open(str(target.absolute()), "w", format="mp4") as opened:
            out: Any = opened
            stream: Any = None
            head = b""
            for place, start_s in zip(places, starts_s, strict=True):
                with av.open(str((place / OVERLAY_FILE).absolute())) as part:
                    shown = part.streams.video[0]
                    if stream is None:
                        stream, head = out.add_stream_from_template(shown), shown.codec_context.extradata or b""
                    if (shown.codec_context.extradata or b"") != head:
                        raise ValueError("fragments of different sizes")
                    for packet in part.demux(shown):
                        if packet.pts is None or packet.dts is None:
                            continue
                        moved = round((start_s - starts_s[0]) / packet.time_base)
                        packet.pts, packet.dts, packet.stream = packet.pts + moved, packet.dts + moved, stream
                        out.mux(packet)
        left = finish_film(target, film)
    except (OSError, ValueError, av.error.FFmpegError) as error:
        target.unlink(missing_ok=True)
        return [f"{OVERLAY_FILE}: could not be joined ({error}); those of the fragments are kept"]
    return [left] if left else []


def _report(
    places: Sequence[Path],
    film: Film,
    config: RunConfig,
    world: dict[str, Any] | None,
    people: int,
    warnings: Sequence[str],
) -> dict[str, Any]:
    """run.json of the whole film: the first fragment's, with the sums; times of stages are the fragments' own."""
    runs: list[dict[str, Any]] = [json.loads((place / REPORT_FILE).read_text(encoding="utf-8")) for place in places]
    frames = sum(fragment.end - fragment.begin for fragment in film.joins)
    configuration = {**runs[0]["configuration"], "max_frames": config.max_frames}
    return {
        **runs[0],
        "configuration": configuration,
        "parts": {**runs[0]["parts"], "source_frame_count": frames},
        "frames": {"taken": frames, "given": frames, "dropped": {}},
        "people": people,
        "world": world or runs[0]["world"],
        "seconds": round(sum(run["seconds"] for run in runs), 3),
        "stage_ms": {},
        "warnings": list(warnings),
        "fragments": [
            {**asdict(fragment), "stage_ms": run["stage_ms"]} for fragment, run in zip(film.joins, runs, strict=True)
        ],
    }
