"""Pictures for the detector: boxes around who can be seen, nobody in some; the same pixels from the same seed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from training.detector.pictures import MOST_PEOPLE, PICTURE_HW, PictureStudio, main
from training.synthetic.pack import open_pack
from training.synthetic.studio import Studio


@pytest.fixture(scope="module")
def studio(pack_folder: Path, studio_v2: Studio) -> Iterator[PictureStudio]:
    del studio_v2  # it skips where there is no OpenGL
    made = PictureStudio(open_pack(pack_folder, "train"), seed=4)
    yield made
    made.close()


def test_pictures_and_boxes(studio: PictureStudio) -> None:
    chunks = [studio.pictures(number) for number in range(2)]
    pixels, boxes = (np.concatenate(parts) for parts in zip(*chunks, strict=True))
    assert pixels.shape == (64, *PICTURE_HW, 3) and boxes.shape == (64, MOST_PEOPLE, 5)
    real = boxes[boxes[..., 4] >= 0]
    assert (real[:, 2:4] > real[:, :2]).all()
    assert (real[:, :4] >= 0).all() and (real[:, 2] <= PICTURE_HW[1]).all() and (real[:, 3] <= PICTURE_HW[0]).all()
    people = (boxes[..., 4] == 1).sum(1)
    assert (people == 0).any() and (people == 1).any() and (people > 1).any()
    again_pixels, again_boxes = studio.pictures(0)
    np.testing.assert_array_equal(again_pixels, chunks[0][0])
    np.testing.assert_array_equal(again_boxes, chunks[0][1])


def test_boxes_hold_what_was_drawn(studio: PictureStudio, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same pictures with and without people differ inside the boxes, and hardly anywhere else (shadows)."""
    monkeypatch.setattr("training.detector.pictures.spoil", lambda rng, colours, size, noise: colours.astype(np.uint8))
    monkeypatch.setattr("training.synthetic.studio.NEIGHBOUR_SHARE", 0.0)
    monkeypatch.setattr("training.detector.pictures.EMPTY_SHARE", -1.0)
    pixels, boxes = studio.pictures(3)
    monkeypatch.setattr("training.detector.pictures.EMPTY_SHARE", 2.0)
    empty, none = studio.pictures(3)
    assert (none[..., 4] == -1).all()
    differs = np.abs(pixels.astype(int) - empty).max(-1) > 40
    inside = np.zeros(differs.shape, bool)
    for k, rows in enumerate(boxes):
        for x0, y0, x1, y1, kind in rows:
            if kind >= 0:
                inside[k, int(y0) - 8 : int(np.ceil(y1)) + 8, max(int(x0) - 8, 0) : int(np.ceil(x1)) + 8] = True
    assert differs[inside].mean() > 0.3
    assert differs[~inside].mean() < 0.1


def test_a_set_on_disk(pack_folder: Path, studio: PictureStudio, tmp_path: Path, capfd) -> None:
    out = tmp_path / "set"
    assert main([str(out), "--pack", str(pack_folder), "--count", "200", "--seed", "4", "--workers", "1"]) == 0
    pixels, boxes = studio.pictures(2)
    np.testing.assert_array_equal(np.load(out / "pixels.npy")[64:96], pixels)
    np.testing.assert_array_equal(np.load(out / "boxes.npy")[64:96], boxes)
    assert main([str(out), "--pack", str(pack_folder)]) == 1 and "holds a set already" in capfd.readouterr().err
    assert main([str(tmp_path / "other"), "--pack", str(tmp_path)]) == 1 and "pack" in capfd.readouterr().err
