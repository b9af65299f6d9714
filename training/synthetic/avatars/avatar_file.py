"""The file of a pack that holds its avatars, `avatars.npz`: small integers and JPEG pictures.

Per avatar NUMBER: `NUMBER/vertices` (V, 3) int16 of 0.05 mm; `NUMBER/uv` (V, 2) uint16 of 1/65535; `NUMBER/joint` and
`NUMBER/weight` (V, 4) uint8; `NUMBER/picture` (V,) uint8; `NUMBER/faces` (F, 3) uint16; `NUMBER/betas` (10,) float32;
`NUMBER/jpeg` the pictures one after the other, of `NUMBER/length` bytes each. `count`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from bodycast.npz import NpzError, read_npz

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]
AVATARS_FILE = "avatars.npz"
PICTURE_PX, JPEG_QUALITY = 1024, 85
_PLACE_M = 5e-5


class AvatarError(ValueError):
    """Avatars that cannot be read or written; one line."""


@dataclass(frozen=True)
class Avatar:
    """A person at the body's rest, pelvis at the origin, metres.

    vertices (V, 3); uv (V, 2) 0..1; joint and weight (V, 4) uint8; picture (V,) uint8: row of `jpegs`, square pictures
    of PICTURE_PX; faces (F, 3) int32; betas (10,): the body that lies in them.
    """

    vertices: F32
    uv: F32
    joint: U8
    weight: U8
    picture: U8
    faces: NDArray[np.int32]
    betas: F32
    jpegs: tuple[bytes, ...]

    def pictures(self) -> list[U8]:
        """(PICTURE_PX, PICTURE_PX, 3) RGB each."""
        decoded = (cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR) for jpeg in self.jpegs)
        return [np.ascontiguousarray(picture[..., ::-1]) for picture in decoded]


def as_jpeg(picture: U8) -> bytes:
    """A picture (h, w, 3) RGB as JPEG of PICTURE_PX."""
    small = cv2.resize(picture, (PICTURE_PX, PICTURE_PX), interpolation=cv2.INTER_AREA)
    bgr = np.ascontiguousarray(small[..., ::-1])
    return cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1].tobytes()


def write_avatars(path: Path, avatars: list[Avatar]) -> int:
    """Write the file; returns its size in bytes. Raises AvatarError for a mesh too large for it."""
    arrays: dict[str, NDArray[np.generic]] = {"count": np.int32(len(avatars))}  # type: ignore[dict-item]
    for number, avatar in enumerate(avatars):
        if len(avatar.vertices) > 65535 or np.abs(avatar.vertices).max() > 32767 * _PLACE_M:
            raise AvatarError(f"avatar {number}: more than 65,535 vertices, or larger than {32767 * _PLACE_M:.1f} m")
        arrays |= {
            f"{number}/vertices": np.round(avatar.vertices / _PLACE_M).astype(np.int16),
            f"{number}/uv": np.round(avatar.uv.clip(0, 1) * 65535).astype(np.uint16),
            f"{number}/joint": avatar.joint, f"{number}/weight": avatar.weight, f"{number}/picture": avatar.picture,
            f"{number}/faces": avatar.faces.astype(np.uint16), f"{number}/betas": avatar.betas,
            f"{number}/jpeg": np.frombuffer(b"".join(avatar.jpegs), np.uint8),
            f"{number}/length": np.array([len(jpeg) for jpeg in avatar.jpegs], np.int64),
        }  # fmt: skip
    np.savez_compressed(path, allow_pickle=False, **arrays)
    return path.stat().st_size


def read_avatars(path: Path) -> tuple[Avatar, ...]:
    """Read what `write_avatars` wrote. Raises AvatarError where it is not there or damaged."""
    if not path.is_file():
        raise AvatarError(f"{path} is missing: python -m training.synthetic.avatars {path.parent} --glb FOLDER")
    try:
        arrays = read_npz(path)
    except NpzError as error:
        raise AvatarError(f"{path}: {error}") from error
    return tuple(_avatar(arrays, number) for number in range(int(arrays["count"])))


def _avatar(arrays: dict[str, NDArray[np.generic]], number: int) -> Avatar:
    def get(name: str) -> NDArray[np.generic]:
        return arrays[f"{number}/{name}"]

    pieces = np.split(get("jpeg"), np.cumsum(get("length"))[:-1])
    return Avatar(
        get("vertices").astype(np.float32) * np.float32(_PLACE_M), get("uv").astype(np.float32) / np.float32(65535),
        get("joint"), get("weight"), get("picture"), get("faces").astype(np.int32), get("betas"),
        tuple(piece.tobytes() for piece in pieces),
    )  # type: ignore[arg-type]  # fmt: skip
