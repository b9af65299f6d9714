"""Clips of dressed people: the truth lies on the person, and the person moves without jumps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bodycast.hmr.geometry.rotations import geodesic_distance
from training.synthetic.clip import write_clip
from training.synthetic.dressed_clip import ClipStage, DressedActor, gesture_motion
from training.synthetic.pack import open_pack
from training.synthetic.scene import Camera
from training.synthetic.studio import Studio
from training.synthetic.test_set import webcam


def test_gestures_flow(pack_folder: Path) -> None:
    pack = open_pack(pack_folder, "test")
    pose, transl = gesture_motion(np.random.default_rng(0), pack, 60, 25.0)
    assert pose.shape == (60, 24, 3, 3) and transl.shape == (60, 3)
    step = geodesic_distance(pose[:-1].astype(np.float64), pose[1:].astype(np.float64))
    assert 0.02 < step.max() < 0.6, "moves, and does not jump"
    np.testing.assert_allclose(transl, transl[:1].repeat(60, 0))


@pytest.mark.usefixtures("studio_v2")  # skips where there is no OpenGL
def test_clip_and_truth(pack_folder: Path, tmp_path: Path) -> None:
    pack = open_pack(pack_folder, "test")
    rng = np.random.default_rng(3)
    full, origin = webcam(rng)
    camera = Camera(full.rotation, full.focal_px / 4, (160, 120))
    stage = ClipStage(pack, camera, origin, 3, people=1, desk=True)
    pose, transl = gesture_motion(rng, pack, 3, 25.0)
    actor = DressedActor(pose, transl, betas=stage.members[0].betas, member=stage.members[0])
    out = tmp_path / "clip.mp4"
    write_clip(out, [actor], stage, 3, 25)
    with np.load(out.with_suffix(".npz")) as truth:
        assert truth["frame"].tolist() == [0, 1, 2]
        neck = truth["joints_2d"][0, 12]
    assert out.stat().st_size > 1000
    assert 20 < neck[0] < 140 and 20 < neck[1] < 120
    posed = pack.body(pose[:1], actor.betas[None], transl[:1]).vertices[0]
    with_person = stage.frame([(actor, 0, posed)]).astype(float)
    without = stage.frame([]).astype(float)
    x, y = np.round(neck).astype(int)
    assert np.abs(with_person - without)[y - 2 : y + 3, x - 2 : x + 3].mean() > 8
    stage.renderer.close()
    again = ClipStage(pack, camera, origin, 3, people=1, desk=True)
    twin = DressedActor(pose, transl, betas=again.members[0].betas, member=again.members[0])
    write_clip(tmp_path / "again.mp4", [twin], again, 3, 25)
    again.renderer.close()
    assert (tmp_path / "again.mp4").read_bytes() == out.read_bytes(), "the same seed gives the same film"


def test_a_clip_stage_wants_its_own_cast(pack_folder: Path, studio_v2: Studio) -> None:
    from training.synthetic.clip import Actor

    pack = open_pack(pack_folder, "test")
    camera, origin = webcam(np.random.default_rng(0))
    stage = ClipStage(pack, Camera(camera.rotation, 100.0, (64, 48)), origin, 1, people=1, desk=False)
    nobody = Actor(np.eye(3)[None, None].repeat(24, 1), np.zeros((1, 3)), np.zeros(10))
    with pytest.raises(ValueError, match="DressedActors"):
        stage.frame([(nobody, 0, np.zeros((1, 3), np.float32))])
    stage.renderer.close()
