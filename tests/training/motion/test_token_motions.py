"""FastHMR's decoder as published: stored tokens, a denoiser conditioned on them, a package, the smoother with it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx", reason="needs requirements/export.txt")

from bodycast.app.errors import RunError
from bodycast.app.smoothers.diffusion.decoder import DecodedSmoother, token_decoder
from bodycast.app.smoothers.factory import open_smoother
from bodycast.engines.package import load_package
from bodycast.export import __main__ as export_main
from bodycast.hmr.body.motion_vectors import motion_vectors
from bodycast.hmr.geometry.rotations import axis_angle_to_matrix
from tests.smoothers.test_diffusion import body
from tests.training.motion.test_motion_data import swinging
from training.core import save_checkpoint
from training.motion.data import MotionClip, motion_files
from training.motion.error_model import ErrorModel
from training.motion.prior import PriorTraining, load_prior_recipe
from training.motion.token_motions import TokenMotions, read_clips
from training.motion.windows import MotionWindows

WIDTH, FRAMES = 8, 27


def token_file(path: Path, frames: int = 90, package: str = "mine", people: int = 1) -> Path:
    """Tokens that say what time it is: the first number is the frame."""
    clip: MotionClip = swinging(frames=frames)
    token = np.random.default_rng(0).normal(0, 1, (people * frames, WIDTH)).astype(np.float32)
    token[:, 0] = np.tile(np.arange(frames), people)
    np.savez(
        path, token=token, pose=np.tile(clip.pose, (people, 1, 1, 1)), time_s=np.tile(np.arange(frames) / 30, people),
        person_id=np.repeat(np.arange(1, people + 1), frames), package=np.array(package),
    )  # fmt: skip
    return path


def test_tokens_and_motion_of_a_window_belong_together(tmp_path: Path) -> None:
    clip = swinging(frames=90)
    motions = TokenMotions.load([token_file(tmp_path / "a.npz")], FRAMES, 30.0)
    motion, token = motions.draw(np.random.default_rng(1), 6)
    assert motion.shape == (6, FRAMES, 133) and token.shape == (6, FRAMES, WIDTH) and motions.tokens_of == "mine"
    steps = np.diff(token[..., 0], axis=1)
    assert (np.abs(steps) > 0.8).all() and (np.abs(steps) < 1.2).all() and len(np.unique(np.sign(steps[:, 0]))) == 2
    nearest = np.round(token[..., 0]).astype(int)
    np.testing.assert_allclose(motion, motion_vectors(clip.pose)[nearest], atol=0.06)


def test_short_clips_are_stretched_and_gaps_cut(tmp_path: Path) -> None:
    path = token_file(tmp_path / "a.npz", frames=60)
    with np.load(path) as archive:
        content = dict(archive)
    content["time_s"][30:] += 1.0
    np.savez(path, **content)
    clips, package = read_clips(path)
    assert package == "mine" and clips == []  # two stretches of less than a second
    clips, _ = read_clips(token_file(tmp_path / "b.npz", frames=40))
    token = TokenMotions(clips, 243, 30.0, "mine").draw(np.random.default_rng(0), 1)[1][0, :, 0]
    assert len(token) == 243 and {round(float(token.min())), round(float(token.max()))} == {0, 39}


def test_other_files_and_mixed_networks_are_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", token=np.zeros(3))
    with pytest.raises(ValueError, match="not a token file; python -m evaluation predict --tokens makes one"):
        read_clips(tmp_path / "x.npz")
    files = [token_file(tmp_path / "a.npz"), token_file(tmp_path / "b.npz", package="other")]
    with pytest.raises(ValueError, match="tokens of different networks: mine, other"):
        TokenMotions.load(files, FRAMES, 30.0)
    with pytest.raises(ValueError, match="one stretch of motion"):
        TokenMotions.load(files[:1], FRAMES, 30.0).divided()


@pytest.fixture(scope="module")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A decoder that learned a few steps from tokens, exported into a models folder."""
    folder = tmp_path_factory.mktemp("tokens")
    tokens = TokenMotions.load([token_file(folder / "a.npz", people=2)], FRAMES, 30.0)
    windows = MotionWindows([swinging(frames=90)], ErrorModel.load(), np.array([0.0, 0.9]), (30.0,))
    small = load_prior_recipe("motion-prior-small")
    vae = small.vae | {"dim": 16, "latents": 3, "encoder_layers": 1, "decoder_layers": 1, "heads": 2, "ff_width": 16}
    denoiser = small.denoiser | {"layers": 1, "heads": 2, "ff_width": 16}
    recipe = replace(small, frames=FRAMES, batch=4, lr=3e-3, vae=vae, denoiser=denoiser)
    training = PriorTraining(recipe, windows, tokens=tokens)
    training.train(training.net.vae, training.vae_loss, 1e9, steps=5)
    before = float(training.denoiser_loss())
    training.train(training.net.denoiser, training.denoiser_loss, 1e9, steps=40)
    assert float(training.denoiser_loss()) < before
    assert set(training.score(windows, rows=4)) == {"vae_mm", "decoded_mm"}
    save_checkpoint(folder / "prior.pt", training.checkpoint())
    out = folder / "home" / "models" / "token-decoder"
    assert export_main.main(["package", str(folder / "prior.pt"), "--out", str(out)]) == 0
    return out


def test_the_package_says_whose_tokens_it_reads(decoder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = load_package(decoder).info
    assert info.tokens_of == "mine" and info.inputs[0].shape == ("N", FRAMES, WIDTH)
    monkeypatch.setenv("BODYCAST_HOME", str(decoder.parents[1]))
    assert token_decoder("mine", WIDTH) == decoder
    for other in (("mine", WIDTH + 1), ("other", WIDTH), ("none", 0)):
        assert token_decoder(*other) is None
    taken = open_smoother("diffusion", tokens=("mine", WIDTH))
    assert taken.name == "diffusion (token-decoder)"
    taken.close()
    shipped = open_smoother("diffusion", tokens=("other", WIDTH))
    assert shipped.name == "diffusion"
    shipped.close()


def test_the_smoother_reads_the_tokens_of_the_window(decoder: Path) -> None:
    smoother = DecodedSmoother(package=decoder)
    rng = np.random.default_rng(0)
    answers = []
    for shift in (0.0, 3.0):
        smoother.reset()
        for step in range(60):
            moved = body(step / 30)
            shaken = moved.pose @ axis_angle_to_matrix(rng.normal(0, 0.1, (1, 24, 3)))
            seen = replace(moved, pose=shaken.astype(np.float32), token=np.full((1, WIDTH), shift, np.float32))
            answer = smoother.update(seen, step / 30)
        answers.append(answer)
        rng = np.random.default_rng(0)
    assert np.abs(answers[0].pose - answers[1].pose).max() > 1e-5
    with pytest.raises(RunError, match="token-decoder: expected tokens of 8 numbers"):
        smoother.update(body(0.0), 3.0)
    smoother.close()


def test_motion_is_found_in_all_folders(tmp_path: Path) -> None:
    amass, cmu = tmp_path / "amass" / "BML" / "s1", tmp_path / "cmu"
    for folder in (amass, cmu):
        folder.mkdir(parents=True)
    for name in ("run_poses.npz", "shape.npz", "neutral_shape.npz", "walk_stageii.npz"):
        (amass / name).touch()
    for name in ("02_01.bvh.gz", "16_01.bvh", "notes.txt"):
        (cmu / name).touch()
    both = [tmp_path / "amass", cmu]
    assert [path.name for path in motion_files(both, "train")] == ["run_poses.npz", "walk_stageii.npz", "16_01.bvh"]
    assert [path.name for path in motion_files(both, "test")] == ["02_01.bvh.gz"]
    for number in range(20):
        (amass / f"clip{number:02d}_poses.npz").touch()
    held_out = motion_files(both[:1], "test")
    assert len(held_out) == 1 and not set(held_out) & set(motion_files(both[:1], "train"))
    with pytest.raises(ValueError, match=r"AMASS \.npz motion of the train split"):
        motion_files([tmp_path / "none"], "train")
