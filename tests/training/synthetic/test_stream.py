"""Packs and streams: what goes in comes out, in the same order, whichever process draws it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from training.synthetic.chunk import CHUNK, FIELDS, chunk_bytes, chunk_views
from training.synthetic.pack import PackError, Variety, open_pack, save_pack
from training.synthetic.pose_pool import PosePool
from training.synthetic.stream import RenderedStream, RenderError
from training.synthetic.studio import Studio


def test_pack_round_trip(pack_folder: Path, pools: dict[str, PosePool]) -> None:
    for split in ("train", "test"):
        pack = open_pack(pack_folder, split)
        np.testing.assert_allclose(pack.poses.pose, pools[split].pose, atol=3e-3)
        assert [p.shape for p in pack.photographs] == [(256, 340, 3)] * 3
        assert pack.body.vertex_count > 6000 and pack.variety.cast == 3
    assert not np.array_equal(open_pack(pack_folder, "train").photographs[0], pack.photographs[0])


def test_what_packs_vary_is_for_training_alone(tmp_path: Path, pools: dict[str, PosePool]) -> None:
    save_pack(tmp_path, pools, {"train": [], "test": []}, Variety(own_limbs=0.4, fold_m=0.01))
    train, test = (open_pack(tmp_path, split) for split in ("train", "test"))
    assert (train.poses.own_limbs, train.variety.fold_m) == (0.4, 0.01)
    assert (test.poses.own_limbs, test.variety.fold_m) == (0.2, 0.0)
    about = json.loads((tmp_path / "pack.json").read_text())
    del about["variety"]["own_limbs"], about["variety"]["fold_m"]
    (tmp_path / "pack.json").write_text(json.dumps(about))
    assert open_pack(tmp_path, "train").variety.fold_m == 0.0, "an older pack draws what it drew"


def test_missing_and_old_packs_are_refused(tmp_path: Path, pack_folder: Path) -> None:
    with pytest.raises(PackError, match=r"python -m training\.synthetic\.pack"):
        open_pack(tmp_path, "train")
    (tmp_path / "pack.json").write_text(json.dumps({"version": 0}))
    with pytest.raises(PackError, match="make it again"):
        open_pack(tmp_path, "train")
    with pytest.raises(PackError, match="train or test"):
        open_pack(pack_folder, "dev")


def test_chunk_memory_holds_all_fields() -> None:
    memory = bytearray(chunk_bytes())
    views = chunk_views(memory)
    for number, view in enumerate(views.values()):
        view[...] = number
    for number, (name, view) in enumerate(chunk_views(memory).items()):
        assert (view == number).all() and view.shape == (CHUNK, *FIELDS[name][0])


def test_stream_gives_what_the_studio_draws(pack_folder: Path, studio_v2: Studio) -> None:
    drawn = studio_v2.chunk(0)
    with RenderedStream(pack_folder, split="train", seed=4, workers=1) as stream:
        batch = next(stream.batches(8, (128, 96), seed=0, flip=0.0))
        for name, array in drawn.items():
            np.testing.assert_array_equal(stream._workers[0].views[0][name], array, err_msg=name)
    assert batch.images.shape == (8, 3, 128, 96)
    for name in ("parts", "pose", "joints", "score"):
        np.testing.assert_array_equal(getattr(batch, name).numpy(), drawn[name][:8], err_msg=name)


def test_a_worker_that_fails_says_why(tmp_path: Path) -> None:
    with (
        pytest.raises(RenderError, match="holds no pack"),
        RenderedStream(tmp_path, split="train", seed=0, workers=1) as stream,
    ):
        next(stream.chunks())
    with pytest.raises(ValueError, match="1 or more"):
        RenderedStream(tmp_path, workers=0)


def test_workers_never_load_torch() -> None:
    code = (
        "import sys, training.synthetic.worker, training.synthetic.studio; "
        "print([m for m in ('torch', 'rich', 'av', 'anny', 'trimesh') if m in sys.modules])"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "[]"
