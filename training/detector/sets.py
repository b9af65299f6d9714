"""Pictures that the person detector learns from, and how they are disturbed.

Boxes are (K,5) float32: xyxy px, and what is asked there: `PERSON`, `HIDDEN` (nothing around the middle), `REGION`
(nothing anywhere inside), or `NO_ROW` in sets of a fixed number of rows.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from bodycast.hmr.geometry.letterbox import GREY, Letterbox, letterbox_of
from bodycast.npz import map_npy, read_npy
from training.detector.pictures import PICTURE_HW
from training.photos.split import held_out

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
U8 = NDArray[np.uint8]
Rng = np.random.Generator
NO_ROW, HIDDEN, PERSON, REGION = -1, 0, 1, 2
NOBODY_ONE_IN = 5
"""Of a folder of photographs of nobody, in the order of their names, so many are held out."""
NOT_NOBODY = Path(__file__).with_name("not_nobody.txt")
"""Names of photographs in a folder of nobody that show somebody after all."""
MOSAIC_SHARE = 0.15
TURNED_SHARE = 0.15
"""Of the pictures, turned by any angle: people who fall or turn a somersault."""
CLOSER_SHARE = 0.35
"""Of the pictures, where a part fills the frame."""
LOW_RESOLUTION_SHARE = 0.15
LEAST_PX = 28
"""A person's longer side in the frame: smaller ones are not asked for."""
UNASKED_ORIGINS = {"doubted": HIDDEN, "unsure": HIDDEN, "group": REGION}
"""What `training.detector.complete` says of boxes, as what is asked there."""


class Source(Protocol):
    """Pictures with boxes."""

    def __len__(self) -> int:
        """How many."""
        ...

    def take(self, row: int) -> tuple[U8, F32, float]:
        """Picture (H,W,3) RGB, boxes (K,5), and how much wider it should be."""
        ...


@dataclass(frozen=True)
class Pictures:
    """Letterboxed pictures (N,H,W,3) with boxes (N,R,5), as `training.detector.pictures` writes them."""

    pixels: U8
    boxes: F32

    @staticmethod
    def open(folder: Path) -> Pictures:
        """Raises: ValueError where there is none, or one of another size."""
        if not (folder / "meta.json").is_file():
            raise ValueError(f"{folder} holds no finished set: python -m training.detector.pictures {folder}")
        return Pictures(map_npy(folder / "pixels.npy"), read_npy(folder / "boxes.npy"))

    def __len__(self) -> int:
        return len(self.boxes)

    def take(self, row: int) -> tuple[U8, F32, float]:
        """See `Source`."""
        boxes = self.boxes[row]
        return np.asarray(self.pixels[row]), boxes[boxes[:, 4] != NO_ROW], 1.0


@dataclass(frozen=True)
class Photographs:
    """Encoded photographs with their names, boxes (K,5) and how much wider each should be."""

    names: list[str]
    encoded: list[U8]
    boxes: list[F32]
    stretch: list[float]

    @staticmethod
    def of_people(folder: Path, labels: Path, *, test: bool) -> Photographs:
        """`folder/images`, by a label file of `training.detector.complete`: the held-out tenth, or the rest.

        Raises: ValueError where a file is missing or of another form.
        """
        try:
            content = json.loads(labels.read_text(encoding="utf-8"))
            rows: dict[int, list[list[float]]] = {image["id"]: [] for image in content["images"]}
            for annotation in content["annotations"]:
                x, y, w, h = annotation["bbox"]
                asked = UNASKED_ORIGINS.get(annotation["origin"], PERSON)
                rows[annotation["image_id"]].append([x, y, x + w, y + h, asked])
            chosen = [image for image in content["images"] if held_out(image["file_name"]) == test]
            return Photographs(
                [image["file_name"] for image in chosen],
                [np.fromfile(folder / "images" / image["file_name"], np.uint8) for image in chosen],
                [np.array(rows[image["id"]], np.float32).reshape(-1, 5) for image in chosen],
                [float(image.get("stretch_x", 1.0)) for image in chosen],
            )
        except (OSError, KeyError, UnicodeDecodeError, json.JSONDecodeError) as error:
            raise ValueError(f"{labels}: no labels of training.detector.complete for {folder} ({error!r})") from error

    @staticmethod
    def of_nobody(folder: Path, *, test: bool) -> Photographs:
        """A folder's photographs without people: every fifth in the order of names, or the rest. Raises: ValueError."""
        files = [file for file, out in nobody_files(folder) if out == test]
        count = len(files)
        encoded = [np.fromfile(file, np.uint8) for file in files]
        return Photographs([f.name for f in files], encoded, [np.zeros((0, 5), np.float32)] * count, [1.0] * count)

    def __len__(self) -> int:
        return len(self.encoded)

    def take(self, row: int) -> tuple[U8, F32, float]:
        """See `Source`. Raises: ValueError where the file is no picture."""
        picture = cv2.imdecode(self.encoded[row], cv2.IMREAD_COLOR)
        if picture is None:
            raise ValueError(f"{self.names[row]} is not a readable picture")
        return cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), self.boxes[row], self.stretch[row]

    def rows(self, chosen: NDArray[np.bool_]) -> Photographs:
        """Those where `chosen` (N,) is true."""
        at = [int(row) for row in np.flatnonzero(chosen)]
        names, encoded = [self.names[k] for k in at], [self.encoded[k] for k in at]
        return Photographs(names, encoded, [self.boxes[k] for k in at], [self.stretch[k] for k in at])

    def letterboxed(self, hw: tuple[int, int] = PICTURE_HW) -> Pictures:
        """All of them as a detector sees them in use."""
        most = max([len(rows) for rows in self.boxes] + [1])
        boxes = np.full((len(self), most, 5), NO_ROW, np.float32)
        pixels = np.empty((len(self), *hw, 3), np.uint8)
        for row in range(len(self)):
            picture, given, stretch = self.take(row)
            wide = cv2.resize(picture, None, fx=stretch, fy=1) if stretch != 1 else picture
            pixels[row], place = letterboxed(wide, hw)
            size = np.array([place.width / picture.shape[1], place.height / picture.shape[0]] * 2)
            boxes[row, : len(given), :4] = given[:, :4] * size + np.array([place.left, place.top] * 2)
            boxes[row, : len(given), 4] = given[:, 4]
        return Pictures(pixels, boxes)


def nobody_files(folder: Path) -> list[tuple[Path, bool]]:
    """Photographs of a folder in the order of their names, and whether each is held out; without those in
    `NOT_NOBODY`. Raises: ValueError."""
    kinds = (".jpg", ".jpeg", ".png")
    files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in kinds) if folder.is_dir() else []
    if not files:
        raise ValueError(f"{folder}: no .jpg or .png there")
    lines = NOT_NOBODY.read_text(encoding="utf-8").splitlines()
    somebody = {name for line in lines if not line.startswith("#") for name in line.split()}
    split = [(file, number % NOBODY_ONE_IN == 0) for number, file in enumerate(files)]
    return [(file, out) for file, out in split if file.stem not in somebody]


def letterboxed(picture: U8, hw: tuple[int, int]) -> tuple[U8, Letterbox]:
    """A picture (H,W,3) fitted into (h,w,3), grey around it, and where it lies there."""
    place = letterbox_of((picture.shape[1], picture.shape[0]), hw)
    whole = np.full((*hw, 3), GREY, np.uint8)
    whole[place.top : place.top + place.height, place.left : place.left + place.width] = cv2.resize(
        picture, (place.width, place.height), interpolation=cv2.INTER_AREA
    )
    return whole, place


def drawn(rng: Rng, sources: list[Source], shares: F64, hw: tuple[int, int] = PICTURE_HW) -> tuple[U8, F32]:
    """A disturbed picture (h,w,3) and its boxes (K,5); sometimes four smaller ones together.

    shares (S,): how often each source is taken; they sum to 1.
    """
    if rng.random() >= MOSAIC_SHARE:
        return moved(rng, *_one(rng, sources, shares), hw)
    out, boxes = np.empty((*hw, 3), np.uint8), []
    half = hw[0] // 2, hw[1] // 2
    for k in range(4):
        pixels, rows = moved(rng, *_one(rng, sources, shares), half)
        y, x = (k // 2) * half[0], (k % 2) * half[1]
        out[y : y + half[0], x : x + half[1]] = pixels
        rows[:, :4] += np.array([x, y, x, y], np.float32)
        boxes.append(rows)
    return out, np.concatenate(boxes)


def _one(rng: Rng, sources: list[Source], shares: F64) -> tuple[U8, F32, float]:
    source = sources[int(rng.choice(len(sources), p=shares))]
    return source.take(int(rng.integers(len(source))))


def moved(rng: Rng, pixels: U8, boxes: F32, stretch: float, hw: tuple[int, int]) -> tuple[U8, F32]:
    """The picture in a frame of h x w px: fitted, zoomed, mirrored, turned, its aspect changed; and its boxes."""
    turn, squeeze, least = _view(rng, pixels, stretch, hw)
    middle = np.array([pixels.shape[1], pixels.shape[0]]) / 2
    frame = np.array([hw[1], hw[0]], np.float64)
    a = turn @ squeeze
    # The part of the picture that the frame shows: anywhere where the picture is larger, else near the middle.
    room = np.abs(a) @ (2 * middle) - frame
    shift = np.where(room > 0, rng.uniform(-0.5, 0.5, 2) * room, rng.normal(0, 0.06, 2) * frame)
    matrix = np.column_stack([a, frame / 2 + shift - a @ middle])
    seen, inner = pixels, matrix.copy()
    if least < 0.7:  # averaging, as in use: single pixels would tear thin limbs to pieces
        seen = cv2.resize(pixels, None, fx=least, fy=least, interpolation=cv2.INTER_AREA)
        inner[:, :2] *= [[pixels.shape[1] / seen.shape[1], pixels.shape[0] / seen.shape[0]]]
    inner[:, 2] += inner[:, :2] @ [0.5, 0.5] - 0.5  # OpenCV counts from the middle of the first pixel
    out = cv2.warpAffine(seen, inner, hw[::-1], flags=cv2.INTER_LINEAR, borderValue=(GREY,) * 3)
    if rng.random() < LOW_RESOLUTION_SHARE:
        part = rng.uniform(0.4, 0.9)
        small = cv2.resize(out, None, fx=part, fy=part, interpolation=cv2.INTER_AREA)
        out = cv2.resize(small, hw[::-1], interpolation=cv2.INTER_LINEAR)
    return out.astype(np.uint8), _moved_boxes(boxes, turn, squeeze, matrix, frame)


def _view(rng: Rng, pixels: U8, stretch: float, hw: tuple[int, int]) -> tuple[F64, F64, float]:
    """Rotation (2,2), scale and mirror (2,2), and the smaller of the two scales."""
    fit = letterbox_of((round(pixels.shape[1] * stretch), pixels.shape[0]), hw).scale
    zoom = float(np.exp(rng.uniform(0, 0.9) if rng.random() < CLOSER_SHARE else rng.normal(-0.08, 0.2)))
    angle = rng.uniform(-math.pi, math.pi) if rng.random() < TURNED_SHARE else rng.normal(0, math.radians(4))
    aspect = float(np.exp(rng.normal(0, 0.08)))
    x, y = fit * zoom * stretch * aspect, fit * zoom / aspect
    cosine, sine = math.cos(angle), math.sin(angle)
    mirror = -1.0 if rng.random() < 0.5 else 1.0
    return np.array([[cosine, -sine], [sine, cosine]]), np.diag([x * mirror, y]), min(x, y)


def _moved_boxes(boxes: F32, turn: F64, squeeze: F64, matrix: F64, frame: F64) -> F32:
    middle = (boxes[:, :2] + boxes[:, 2:4]) / 2 @ matrix[:, :2].T + matrix[:, 2]
    # A turned person fills about the ellipse in their box, not its corners; exact at quarter turns.
    size = (boxes[:, 2:4] - boxes[:, :2]) @ np.abs(squeeze).T
    half = np.sqrt((size / 2) ** 2 @ (turn**2).T)
    whole = np.maximum(np.prod(2 * half, axis=1), 1e-3)
    low, high = np.clip(middle - half, 0, frame), np.clip(middle + half, 0, frame)
    left = np.prod(high - low, axis=1) / whole
    rows = np.column_stack([low, high, boxes[:, 4]]).astype(np.float32)
    # Nearly out of the frame, or too small to tell: nothing is asked.
    rows[((left < 0.25) | ((high - low).max(1) < LEAST_PX)) & (rows[:, 4] == PERSON), 4] = HIDDEN
    return rows[((high - low).min(1) > 4) & (left > 0.05)]
