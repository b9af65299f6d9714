"""people.npz: crops of photographs with a margin, as JPEGs, and what teachers say of the person in them.

`jpeg` (bytes,) uint8: all crops, one after the other; `start` (N+1,) int64: where each begins; `points` (N,33,3) f4:
BlazePose's landmarks, x, y in crop heights from the crop's centre (`training.crop_camera.in_crop`) and weight 0..1;
`space` (N,33,3) float16: the same in space, m from the middle of the hips, camera axes; `centre_px` (N,2), `size_px`
(N,): HMR2.0's crop square of the box in the picture; `image_wh` (N,2) of the picture; `stretched` (N,) bool: its width
was restored by a rule, not known; `silhouette` (N,64,8) uint8: bits of the person on 64x64 cells of the stored crop;
`box_id` (N,), `picture` (N,) int32 into `pictures`: file names. A stored crop spans MARGIN_H x `size_px` in height and
MARGIN_W x `size_px` in width around `centre_px`.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from bodycast.engines.user_cache import write_whole
from bodycast.hmr.geometry.crop import hmr_square
from bodycast.npz import read_npz
from training.datasets.errors import DatasetError
from training.photos.agreement import LANDMARKS, Label
from training.photos.teachers import Square, warp_averaged

MARGIN_H, MARGIN_W = 1.3, 1.1
QUALITY = 88
CELLS = 64
COLUMNS = (
    "jpeg", "start", "points", "space", "centre_px", "size_px", "image_wh", "stretched", "silhouette", "box_id",
    "picture", "pictures",
)  # fmt: skip
U8 = NDArray[np.uint8]


class PeopleWriter:
    """Collects people, then writes them."""

    def __init__(self, height: int) -> None:
        """height: largest of a stored crop, px."""
        self.height = height
        self._jpegs: list[bytes] = []
        self._rows: list[dict[str, Any]] = []
        self._pictures: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def add(
        self, image: U8, xywh: NDArray[np.float64], label: Label, silhouette: tuple[NDArray[np.float32], Square],
        name: str, box_id: int, stretched: bool,
    ) -> None:  # fmt: skip
        """One person of `image` (H,W,3) RGB; silhouette: logits in BlazePose's square."""
        box = np.concatenate([xywh[:2], xywh[:2] + xywh[2:]])
        centres, sides = hmr_square(box[None])
        centre, size = centres[0], float(sides[0])
        height = min(self.height, max(32, round(MARGIN_H * size)))
        width = round(height * MARGIN_W / MARGIN_H)
        crop = warp_averaged(image, stored_from_picture(centre, size, height), (width, height))
        good, jpeg = cv2.imencode(".jpg", crop[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
        assert good
        points = np.concatenate([(label.points[:, :2] - centre) / size, label.points[:, 2:]], axis=1)
        logits, square = silhouette
        cells = stored_from_picture(centre, size, CELLS)
        cells[0] *= MARGIN_H / MARGIN_W  # square cells of a crop that is none
        to_cells = cells @ np.concatenate([square.to_picture, [[0, 0, 1]]])
        shown = cv2.warpAffine(logits, to_cells, (CELLS, CELLS), flags=cv2.INTER_LINEAR, borderValue=-9.0)
        self._jpegs.append(jpeg.tobytes())
        self._rows.append(
            {
                "points": points.astype(np.float32), "space": label.space.astype(np.float16),
                "centre_px": centre.astype(np.float32), "size_px": np.float32(size),
                "image_wh": np.array(image.shape[1::-1], np.float32), "stretched": np.bool_(stretched),
                "silhouette": np.packbits(shown > 0, axis=1), "box_id": np.int32(box_id),
                "picture": np.int32(self._pictures.setdefault(name, len(self._pictures))),
            }
        )  # fmt: skip

    def write(self, path: Path) -> None:
        """Write all or nothing. Raises OSError."""
        shapes = {"points": (LANDMARKS, 3), "space": (LANDMARKS, 3), "silhouette": (CELLS, CELLS // 8)}
        shapes |= {"centre_px": (2,), "image_wh": (2,)}
        columns: dict[str, NDArray[Any]] = {
            name: np.array([row[name] for row in self._rows]).reshape(-1, *shapes.get(name, ()))
            for name in COLUMNS
            if name not in ("jpeg", "start", "pictures")
        }
        columns["jpeg"] = np.frombuffer(b"".join(self._jpegs), np.uint8)
        columns["start"] = np.cumsum([0, *map(len, self._jpegs)]).astype(np.int64)
        columns["pictures"] = np.array(list(self._pictures), np.str_)
        content = io.BytesIO()
        np.savez(content, allow_pickle=False, **columns)
        write_whole(path, content.getvalue())


def stored_from_picture(centre: NDArray[Any], size: float, height: int) -> NDArray[np.float64]:
    """(2,3) from picture pixels to those of a stored crop of `height` px."""
    scale = height / (MARGIN_H * size)
    width = round(height * MARGIN_W / MARGIN_H)
    return np.array([[scale, 0, width / 2 - scale * centre[0]], [0, scale, height / 2 - scale * centre[1]]])


def read_people(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of a file. Raises: DatasetError."""
    way_out = "`python -m training.photos.label` makes one"
    if not path.is_file():
        raise DatasetError(f"{path}: no such file; {way_out}")
    try:
        arrays = read_npz(path, COLUMNS)
        missing = [name for name in COLUMNS if name not in arrays]
        if not missing:
            return arrays
    except ValueError as error:
        raise DatasetError(f"{path}: not a readable people file ({error}); {way_out}") from error
    raise DatasetError(f"{path}: not a people file, {', '.join(missing)} missing; {way_out}")


def decode(people: dict[str, NDArray[Any]], row: int) -> U8:
    """(h,w,3) uint8 RGB: the stored crop of a row."""
    start, end = people["start"][row : row + 2]
    return np.asarray(cv2.imdecode(people["jpeg"][start:end], cv2.IMREAD_COLOR)[:, :, ::-1], np.uint8)
