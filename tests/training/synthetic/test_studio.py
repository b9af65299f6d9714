"""Synthetic people: same seed, same pixels; labels that an independent projection confirms."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from bodycast.hmr.body.body_model import BodyModel
from bodycast.hmr.geometry.camera import cam_crop_to_full
from bodycast.hmr.geometry.crop_ray import crop_ray_rotation
from training.synthetic.atlas_renderer import CropScene, Drawn, Lighting
from training.synthetic.chunk import CHUNK, CHUNKS_PER_CAST, FIELDS
from training.synthetic.drawn import Mesh, skin_rows
from training.synthetic.framing import FRAMINGS, sample_framing
from training.synthetic.garments.wardrobe import SkinLook
from training.synthetic.pack import open_pack
from training.synthetic.studio import Studio
from training.synthetic.window import Window


@pytest.fixture(scope="module")
def chunk(studio_v2: Studio) -> dict[str, np.ndarray]:
    return {name: array.copy() for name, array in studio_v2.chunk(0).items()}


def test_fields_and_shapes(chunk: dict[str, np.ndarray]) -> None:
    assert set(chunk) == set(FIELDS)
    for name, (shape, dtype) in FIELDS.items():
        assert chunk[name].shape == (CHUNK, *shape)
        assert chunk[name].dtype == np.dtype(dtype), name
    assert chunk["parts"].max() <= 24
    assert 0.6 < chunk["score"].mean() <= 1.0
    assert chunk["pixels"].std(axis=(1, 2, 3)).max() > 40, "not one flat colour"


def test_same_number_same_pixels(studio_v2: Studio, chunk: dict[str, np.ndarray]) -> None:
    """Also after another cast has been on."""
    other = studio_v2.chunk(CHUNKS_PER_CAST)
    assert (other["pixels"] != chunk["pixels"]).mean() > 0.2
    again = studio_v2.chunk(0)
    for name, array in chunk.items():
        np.testing.assert_array_equal(again[name], array, err_msg=name)


def test_folds_change_cloth_and_no_label(pack_folder: Path, studio_v2: Studio, chunk: dict[str, np.ndarray]) -> None:
    pack = open_pack(pack_folder, "train")
    assert pack.variety.fold_m > 0
    smooth = Studio(replace(pack, variety=replace(pack.variety, fold_m=0.0)), seed=studio_v2.seed)
    try:
        without = smooth.chunk(0)
    finally:
        smooth.close()
    for name, array in chunk.items():
        if name != "pixels":
            np.testing.assert_array_equal(without[name], array, err_msg=name)
    off = np.abs(without["pixels"].astype(np.float32) - chunk["pixels"]).mean(-1)  # exposure and codecs see all of it
    small = cv2.resize(off.transpose(1, 2, 0), (48, 64), interpolation=cv2.INTER_AREA)
    nobody = chunk["parts"].transpose(1, 2, 0) == 0
    assert small[~nobody].mean() > 1
    assert small[~nobody].mean() > 3 * small[nobody].mean()


def test_label_recovers_the_person(chunk: dict[str, np.ndarray]) -> None:
    """The label alone, through body, crop camera and ray rotation, gives back the joints in the camera frame."""
    body = BodyModel.load()
    posed = body(chunk["pose"], chunk["betas"], np.zeros((CHUNK, 3), np.float32))
    wh = chunk["image_wh"]
    for k in range(CHUNK):
        turn = crop_ray_rotation(chunk["centre_px"][k], chunk["focal_px"][k], wh[k] / 2)
        transl = cam_crop_to_full(
            chunk["camera"][k][None], chunk["centre_px"][k][None], chunk["size_px"][k][None], wh[k],
            chunk["focal_px"][k],
        )[0]  # fmt: skip
        root = posed.joints[k, 0]
        joints = (posed.joints[k] - root) @ turn.T + root + transl
        np.testing.assert_allclose(joints, chunk["joints"][k], atol=1e-3 * max(1.0, np.linalg.norm(transl)))


def test_parts_lie_under_their_joints(studio_v2: Studio, chunk: dict[str, np.ndarray]) -> None:
    """Where the part map shows a part, its joint projects near: no mirror, no shift."""
    errors = []
    for k in np.flatnonzero(chunk["score"] > 0.5):
        joints = chunk["joints"][k]
        pixels = joints[:, :2] / joints[:, 2:] * chunk["focal_px"][k] + chunk["image_wh"][k] / 2
        crop = (pixels - chunk["centre_px"][k]) * 256 / chunk["size_px"][k] + [96, 128]
        for joint in (1, 2, 4, 5, 6, 9, 15, 16, 17, 18, 19):
            rows, columns = np.nonzero(chunk["parts"][k] == joint + 1)
            if len(rows) >= 20:
                middle = np.array([columns.mean(), rows.mean()]) * 4 + 1.5
                errors.append(np.linalg.norm(middle - crop[joint]) / np.sqrt(len(rows) * 16))
    assert len(errors) > 40
    assert np.median(errors) < 0.7


def test_shader_skins_like_numpy(studio_v2: Studio) -> None:
    """A bare body drawn by the GPU covers the box that the numpy body projects to, and is cut where it is hidden."""
    model = studio_v2.body.model
    vertices = studio_v2.body.vertices.copy()
    rng = np.random.default_rng(0)
    betas = rng.normal(0, 1, 10).astype(np.float32)
    vertices["position"] = model.rest_vertices(betas[None])[0]
    look = np.zeros((70, 4), np.float32)
    look[:7] = skin_rows(SkinLook(np.full(3, 0.6, np.float32), 0, 0.1))
    faces = np.asarray(model.faces, np.int32)
    mesh = studio_v2.renderer.upload(Mesh(vertices, faces, len(faces), faces, look))
    actor_pose = studio_v2.pack.poses.pose[4]
    from bodycast.hmr.body.body_model import forward_kinematics

    turns, places = forward_kinematics(actor_pose[None], model.joints(betas[None]))
    flip = np.diag([1.0, -1.0, -1.0]).astype(np.float32)
    transl = np.array([0.1, 0.2, 3.0], np.float32)
    shifts = places[0] - (turns[0] @ model.joints(betas[None])[0][..., None])[..., 0]
    motions = np.concatenate([flip @ turns[0], (shifts @ flip.T + transl)[..., None]], axis=-1)
    window = Window(300.0, 96.0, 128.0, 192, 256)
    light = Lighting(
        np.eye(9, 3, dtype=np.float32), np.array([0, -1, 0], np.float32), np.ones(3, np.float32), 2, 0, 0, 0
    )
    scene = CropScene([Drawn(mesh, motions, labelled=True)], window, light, transl, 1.4)
    colours, parts = studio_v2.renderer.render([scene])
    mesh.release()
    true = model(actor_pose[None], betas[None], np.zeros((1, 3), np.float32)).vertices[0] @ flip.T + transl
    pixels = true[:, :2] / true[:, 2:] * 300.0 + [96.0, 128.0]
    rows, columns = np.nonzero(colours[0, ..., 3] > 127)
    drawn = [columns.min(), rows.min(), columns.max(), rows.max()]
    np.testing.assert_allclose(drawn, [*pixels.min(0), *pixels.max(0)], atol=1.6)
    rows, columns = np.nonzero(parts[0])
    coarse = [columns.min() * 4 + 1.5, rows.min() * 4 + 1.5, columns.max() * 4 + 1.5, rows.max() * 4 + 1.5]
    np.testing.assert_allclose(coarse, [*pixels.min(0), *pixels.max(0)], atol=6)


def test_webcams_are_at_least_two_fifths() -> None:
    rng = np.random.default_rng(0)
    names = [sample_framing(rng) for _ in range(4000)]
    webcam = np.mean([FRAMINGS[name].webcam for name in names])
    assert webcam > 0.4
    assert 0.04 < np.mean([name == "face" for name in names]) < 0.12
    assert abs(sum(f.share for f in FRAMINGS.values()) - 1) < 1e-9


def test_framings_show_what_they_say(studio_v2: Studio) -> None:
    """Webcam shots cut the legs off, faces fill the picture's height, whole bodies are whole."""
    studio_v2.chunk(0)
    rng = np.random.default_rng(8)
    seen: dict[str, list[np.ndarray]] = {}
    for _ in range(4):
        for shot, _ in studio_v2._shots(rng):
            placed = shot.placed()
            pixels = placed.joints[:, :2] / placed.joints[:, 2:] * shot.camera.focal_px
            seen.setdefault(shot.framing, []).append(pixels / shot.camera.image_wh[1] + [0, 0.5])
    below = {name: np.mean([(p[[7, 8], 1] > 1).all() for p in places]) for name, places in seen.items()}
    assert below["upper"] > 0.7 and below["close"] > 0.8
    assert below["full"] < 0.2
    head = {name: np.median([np.linalg.norm(p[15] - p[12]) for p in places]) for name, places in seen.items()}
    assert head["face"] > 1.3 * head["upper"] > 2 * head["full"]
