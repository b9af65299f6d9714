"""Predictions drawn over their pictures: mesh, predicted and labelled skeleton; one file a picture and a sheet.

Left half the mesh, right half both skeletons: labels green, prediction orange.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from bodycast.app.errors import UsageError
from bodycast.app.renderers.factory import open_renderer
from bodycast.app.sources.video_file import open_video_file
from bodycast.hmr.body.body_model import BodyModel
from bodycast.hmr.geometry.camera import Intrinsics
from evaluation.body_errors import posed_rows
from evaluation.predictions import Predictions
from training.datasets.coco import CocoLabels, find_pictures
from training.datasets.pictures import Picture

SKELETON = (
    *((5, 7), (7, 9), (6, 8), (8, 10), (5, 6), (11, 12), (5, 11), (6, 12)),
    *((11, 13), (13, 15), (12, 14), (14, 16), (0, 1), (0, 2), (1, 3), (2, 4)),
)
PREDICTED, LABELLED = (60, 200, 255), (90, 255, 90)  # BGR: yellow-orange, green
SHEET_HEIGHT, SHEET_COLUMNS, SHEET_LIMIT = 360, 3, 24
FILM_FRAMES = 12

U8 = NDArray[np.uint8]


def draw_pictures(
    predictions: Predictions, labels: CocoLabels, images: Path, folder: Path, body: BodyModel
) -> list[Path]:
    """Draw all pictures that have a prediction; gives the files written, the sheet (`sheet.jpg`) last.

    Raises: UsageError where nothing can be drawn; DatasetError for a picture that cannot be read.
    """
    drawn = [int(i) for i in dict.fromkeys(predictions.image_id[predictions.valid])]
    pictures, missing = find_pictures(labels, images, set(drawn))
    if missing or not set(drawn) <= set(pictures):
        raise UsageError(
            f"{images}: pictures of the predictions are missing: {', '.join(missing[:3]) or 'not labelled'}"
        )
    keypoints = {a.id: a.keypoints for a in labels.annotations}
    known = {row: keypoints.get(int(i)) for row, i in enumerate(predictions.annotation_id)}
    sources = ((i, Picture(pictures[i], labelled_wh=labels.images[i].wh).read()) for i in drawn)
    return _draw(predictions, sources, known, folder, body)


def draw_film(
    predictions: Predictions, film: Path, reference: NDArray[np.float64], folder: Path, body: BodyModel
) -> list[Path]:
    """Draw FILM_FRAMES frames of a film, evenly spread; `reference` (R,17,3) from evaluation.film, by annotation id.

    Raises: UsageError, RunError where the film cannot be read.
    """
    frames = np.unique(predictions.image_id[predictions.valid])
    chosen = set(frames[np.linspace(0, len(frames) - 1, min(FILM_FRAMES, len(frames))).round().astype(int)].tolist())
    known = {row: reference[int(i)] for row, i in enumerate(predictions.annotation_id)}
    return _draw(predictions, _frames(film, chosen), known, folder, body)


def _frames(film: Path, chosen: set[int]) -> Iterator[tuple[int, U8]]:
    source = open_video_file(film)
    try:
        for frame in source:
            if frame.index in chosen:
                yield frame.index, frame.image
            if frame.index >= max(chosen, default=-1):
                break
    finally:
        source.close()


def _draw(
    predictions: Predictions,
    sources: Iterable[tuple[int, U8]],
    keypoints: Mapping[int, NDArray[np.float64] | None],
    folder: Path,
    body: BodyModel,
) -> list[Path]:
    """`sources`: image ids with their pictures; `keypoints`: row -> labelled (17,3) or None."""
    folder.mkdir(parents=True, exist_ok=True)
    renderer = open_renderer("auto", body.faces)
    written: list[Path] = []
    tiles: list[U8] = []
    try:
        for image_id, image in sources:
            rows = np.flatnonzero((predictions.image_id == image_id) & predictions.valid)
            camera = Intrinsics.from_focal(float(predictions.focal_px[rows[0]]), (image.shape[1], image.shape[0]))
            vertices, _ = posed_rows(predictions, rows, body)
            mesh = renderer.render(image, vertices, np.arange(1, len(rows) + 1, dtype=np.int32), camera)
            both = np.concatenate([mesh, _skeletons(image, predictions, keypoints, rows)], axis=1)
            path = folder / f"{image_id}.jpg"
            _write(path, both)
            written.append(path)
            if len(tiles) < SHEET_LIMIT:
                tiles.append(_tile(both))
    finally:
        renderer.close()
    if not tiles:
        raise UsageError("no row of the predictions is valid: nothing to draw")
    sheet = folder / "sheet.jpg"
    _write(sheet, _sheet(tiles))
    return [*written, sheet]


def _skeletons(
    image: U8, predictions: Predictions, keypoints: Mapping[int, NDArray[np.float64] | None], rows: NDArray[np.intp]
) -> U8:
    canvas = image.copy()
    for row in rows:
        truth = keypoints.get(int(row))
        if truth is not None:
            _draw_skeleton(canvas, truth[:, :2], truth[:, 2] > 0, LABELLED)
        found = predictions.coco_2d[row]
        _draw_skeleton(canvas, found, np.isfinite(found).all(-1), PREDICTED)
    return canvas


def _draw_skeleton(canvas: U8, points: NDArray[Any], known: NDArray[Any], colour: tuple[int, int, int]) -> None:
    thickness = max(1, round(max(canvas.shape) / 500))
    limit = 4 * max(canvas.shape)
    pixels = np.clip(np.nan_to_num(points), -limit, limit).round().astype(int).tolist()
    for a, b in SKELETON:
        if known[a] and known[b]:
            cv2.line(canvas, tuple(pixels[a]), tuple(pixels[b]), colour, thickness, cv2.LINE_AA)
    for index in np.flatnonzero(known):
        cv2.circle(canvas, tuple(pixels[index]), thickness + 1, colour, -1, cv2.LINE_AA)


def _tile(picture: U8) -> U8:
    size = (round(picture.shape[1] * SHEET_HEIGHT / picture.shape[0]), SHEET_HEIGHT)
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)


def _sheet(tiles: list[U8]) -> U8:
    """Tiles of one height in rows of SHEET_COLUMNS."""
    rows = [np.concatenate(tiles[i : i + SHEET_COLUMNS], axis=1) for i in range(0, len(tiles), SHEET_COLUMNS)]
    width = max(row.shape[1] for row in rows)
    padded = [np.pad(row, ((0, 0), (0, width - row.shape[1]), (0, 0))) for row in rows]
    return np.ascontiguousarray(np.concatenate(padded, axis=0))


def _write(path: Path, image: U8) -> None:
    # Not cv2.imwrite: it fails on paths outside ASCII under Windows.
    path.write_bytes(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes())
