"""Where a sample's picture is, and how it is read: files, videos, members of tars; one decoder for all of them."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from training.datasets.errors import DatasetError

U8 = NDArray[np.uint8]


def decode_picture(content: bytes | NDArray[np.uint8], oriented: bool = True) -> U8 | None:
    """(H,W,3) uint8 BGR of an encoded picture of any depth and colour space; None where it is no picture.

    Grey becomes three equal channels, CMYK becomes BGR, 16 bits become 8, transparency is dropped: as the live program
    reads pictures. oriented: turn the picture as its EXIF tag says; False leaves the pixels as they are stored.
    """
    raw = np.frombuffer(content, np.uint8)
    if raw.size == 0:
        return None
    flags = cv2.IMREAD_COLOR if oriented else cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    image = cv2.imdecode(raw, flags)
    return None if image is None else np.asarray(image, np.uint8)


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture: a file; frame `frame` of the video `path`; or `content`, the bytes of `member` in the tar `path`.

    labelled_wh: size in px of the picture that the labels were made on, None where nobody says. lying: a picture with
    swapped sides is to be turned clockwise (BEDLAM stores its upright pictures so).
    """

    path: Path
    frame: int | None = None
    member: str | None = None
    content: bytes | None = field(default=None, repr=False)
    labelled_wh: tuple[int, int] | None = None
    lying: bool = False

    def __str__(self) -> str:
        if self.frame is not None:
            return f"{self.path} frame {self.frame}"
        return f"{self.path}:{self.member}" if self.member else str(self.path)

    def read(self) -> U8:
        """(H,W,3) uint8 BGR, turned as its EXIF tag says unless the labels were made on the unturned pixels.

        Raises DatasetError where it is missing, cannot be read, or has another size than the labels.
        """
        if self.frame is not None:
            return self._read_frame(self.frame)
        content = self.content
        if content is None:
            try:
                # Not cv2.imread: it fails on paths outside ASCII under Windows.
                content = self.path.read_bytes()
            except OSError as error:
                raise DatasetError(f"{self.path}: cannot be read ({error.strerror or error})") from error
        image = decode_picture(content)
        if image is None:
            raise DatasetError(f"{self}: not a readable picture ({len(content)} bytes)")
        return self._as_labelled(image, content)

    def _as_labelled(self, image: U8, content: bytes) -> U8:
        wh = image.shape[1::-1]
        if self.labelled_wh is None or wh == self.labelled_wh:
            return image
        if self.lying and wh == self.labelled_wh[::-1]:
            return np.asarray(cv2.rotate(image, cv2.ROTATE_90_CLOCKWISE), np.uint8)
        stored = decode_picture(content, oriented=False) if wh == self.labelled_wh[::-1] else None
        if stored is None or stored.shape[1::-1] != self.labelled_wh:
            raise DatasetError(
                f"{self}: the picture is {wh[0]}x{wh[1]}, its labels are for {self.labelled_wh[0]}x"
                f"{self.labelled_wh[1]}: another picture, or a resized one"
            )
        return stored

    def _read_frame(self, frame: int) -> U8:
        capture = cv2.VideoCapture(str(self.path))
        try:
            capture.set(cv2.CAP_PROP_POS_FRAMES, frame)
            found, image = capture.read()
        finally:
            capture.release()
        if not found:
            raise DatasetError(f"{self.path}: no frame {frame}; is it a video, and is it complete?")
        return np.asarray(image, np.uint8)


class PictureFolder:
    """Finds the pictures that a label file names, below one folder."""

    def __init__(self, root: Path) -> None:
        """Raises DatasetError where there is no such folder."""
        if not root.is_dir():
            raise DatasetError(f"{root}: no such folder of pictures")
        self.root = root
        self._by_name: dict[str, list[Path]] | None = None

    def find(self, name: str) -> Path | None:
        """The file: `name` below the folder, else the only file of that name in any sub-folder; None where there is
        none or the choice is not clear. Accents may be stored composed or apart (macOS), it is the same name."""
        exact = self.root / name.replace("\\", "/").lstrip("/")
        if exact.is_file():
            return exact
        found = self._index().get(_normal(Path(name.replace("\\", "/")).name), [])
        wanted = _normal(exact.relative_to(self.root).as_posix())
        same_path = [path for path in found if _normal(path.relative_to(self.root).as_posix()) == wanted]
        candidates = same_path or found
        return candidates[0] if len(candidates) == 1 else None

    def _index(self) -> dict[str, list[Path]]:
        if self._by_name is None:
            self._by_name = {}
            for path in sorted(self.root.rglob("*")):
                if path.is_file():
                    self._by_name.setdefault(_normal(path.name), []).append(path)
        return self._by_name


def _normal(name: str) -> str:
    return unicodedata.normalize("NFC", name)
