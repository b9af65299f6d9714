"""Predictions drawn over their pictures: mesh, predicted and labelled skeleton; one file a picture and a sheet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from app.errors import UsageError
from app.renderers.factory import open_renderer
from evaluation.body_errors import posed_rows
from evaluation.predictions import Predictions
from hmr.body.body_model import BodyModel
from hmr.body.surface_joints import COCO_FROM_POINTS
from hmr.geometry.camera import Intrinsics
from training.datasets.coco import CocoLabels, find_pictures
from training.datasets.pictures import Picture

SKELETON = (
    *((5, 7), (7, 9), (6, 8), (8, 10), (5, 6), (11, 12), (5, 11), (6, 12)),
    *((11, 13), (13, 15), (12, 14), (14, 16), (0, 1), (0, 2), (1, 3), (2, 4)),
)
PREDICTED, LABELLED = (60, 200, 255), (90, 255, 90)  # BGR: yellow-orange, green
SHEET_HEIGHT, SHEET_COLUMNS, SHEET_LIMIT = 360, 3, 24

U8 = NDArray[np.uint8]


def draw_pictures(
    predictions: Predictions, labels: CocoLabels, images: Path, folder: Path, body: BodyModel
) -> list[Path]:
    """Draw all pictures that have a prediction; gives the files written, the sheet (`sheet.jpg`) last.

    Left half the mesh, right half both skeletons (labels green, prediction orange). Raises: UsageError where nothing
    can be drawn; DatasetError for a picture that cannot be read.
    """
    drawn = [int(i) for i in dict.fromkeys(predictions.image_id[predictions.valid])]
    pictures, missing = find_pictures(labels, images, set(drawn))
    if missing or not set(drawn) <= set(pictures):
        raise UsageError(
            f"{images}: pictures of the predictions are missing: {', '.join(missing[:3]) or 'not labelled'}"
        )
    folder.mkdir(parents=True, exist_ok=True)
    renderer = open_renderer("auto", body.faces)
    written: list[Path] = []
    tiles: list[U8] = []
    try:
        for image_id in drawn:
            label = labels.images[image_id]
            image = Picture(pictures[image_id], labelled_wh=label.wh).read()
            rows = np.flatnonzero((predictions.image_id == image_id) & predictions.valid)
            camera = Intrinsics.from_focal(float(predictions.focal_px[rows[0]]), (image.shape[1], image.shape[0]))
            vertices, _ = posed_rows(predictions, rows, body)
            mesh = renderer.render(image, vertices, np.arange(1, len(rows) + 1, dtype=np.int32), camera)
            both = np.concatenate([mesh, _skeletons(image, predictions, labels, rows)], axis=1)
            path = folder / f"{image_id}.jpg"
            _write(path, both)
            written.append(path)
            if len(tiles) < SHEET_LIMIT:
                tiles.append(both)
    finally:
        renderer.close()
    sheet = folder / "sheet.jpg"
    _write(sheet, _sheet(tiles))
    return [*written, sheet]


def _skeletons(image: U8, predictions: Predictions, labels: CocoLabels, rows: NDArray[np.intp]) -> U8:
    canvas = image.copy()
    keypoints = {a.id: a.keypoints for a in labels.annotations}
    for row in rows:
        truth = keypoints.get(int(predictions.annotation_id[row]))
        if truth is not None:
            _draw_skeleton(canvas, truth[:, :2], truth[:, 2] > 0, LABELLED)
        found = predictions.points_2d[row][COCO_FROM_POINTS]
        _draw_skeleton(canvas, found, np.isfinite(found).all(-1), PREDICTED)
    return canvas


def _draw_skeleton(canvas: U8, points: NDArray[Any], known: NDArray[np.bool_], colour: tuple[int, int, int]) -> None:
    thickness = max(1, round(max(canvas.shape) / 500))
    limit = 4 * max(canvas.shape)
    pixels = np.clip(np.nan_to_num(points), -limit, limit).round().astype(int).tolist()
    for a, b in SKELETON:
        if known[a] and known[b]:
            cv2.line(canvas, tuple(pixels[a]), tuple(pixels[b]), colour, thickness, cv2.LINE_AA)
    for index in np.flatnonzero(known):
        cv2.circle(canvas, tuple(pixels[index]), thickness + 1, colour, -1, cv2.LINE_AA)


def _sheet(tiles: list[U8]) -> U8:
    """Tiles of one height in rows of SHEET_COLUMNS."""
    small = [cv2.resize(t, (round(t.shape[1] * SHEET_HEIGHT / t.shape[0]), SHEET_HEIGHT)) for t in tiles]
    rows = [np.concatenate(small[i : i + SHEET_COLUMNS], axis=1) for i in range(0, len(small), SHEET_COLUMNS)]
    width = max(row.shape[1] for row in rows)
    padded = [np.pad(row, ((0, 0), (0, width - row.shape[1]), (0, 0))) for row in rows]
    return np.ascontiguousarray(np.concatenate(padded, axis=0))


def _write(path: Path, image: U8) -> None:
    # Not cv2.imwrite: it fails on paths outside ASCII under Windows.
    path.write_bytes(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes())
