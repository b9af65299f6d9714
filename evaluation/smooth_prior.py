"""`python -m evaluation smooth-prior CHECKPOINT --pairs DIR`: FastHMR's motion prior on an engine's estimates, offline.

CHECKPOINT comes from training.motion.prior, DIR from training.motion.make_pairs. Whole windows that overlap by two
thirds are denoised and faded into each other. Compared are, with the mean body's skeleton for all (its 24 joints,
pelvis-aligned): the raw estimates, the live smoother with its offline lag, the diffusion decoder on the estimates and
on the live smoother's answers, and what the VAE makes of the truth itself.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bodycast.app.errors import BodycastError
from bodycast.app.smoothers.diffusion.live import LONGEST_LAG_S, PACKAGE, DiffusionSmoother
from bodycast.hmr.body.motion_vectors import motion_vectors
from bodycast.hmr.geometry.metrics import acceleration_error_mm, mpjpe_mm, pa_mpjpe_mm
from bodycast.hmr.networks import registry
from bodycast.hmr.networks.temporal.diffusion_decoder import DiffusionDecoder, resample_frames
from evaluation.smooth_scores import WARM_UP_S, run_smoother
from training.motion.pairs import PairedMotion

F32 = NDArray[np.float32]
JOINTS = 24


def load_decoder(path: Path) -> DiffusionDecoder:
    """A checkpoint of training.motion.prior. Raises ValueError where it is none."""
    if not path.is_file():
        raise ValueError(f"{path}: no such checkpoint; train one with python -m training.motion.prior")
    state = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(state, dict) or state.get("model") != "diffusion-decoder":
        raise ValueError(f"{path}: expected a checkpoint of training.motion.prior, which holds a diffusion-decoder")
    net = registry.build("diffusion-decoder", **state["arguments"])
    kept = state["arguments"].get("with_vae_encoder") and state["arguments"].get("motion_conditions")
    if not isinstance(net, DiffusionDecoder) or not kept:
        raise ValueError(f"{path}: expected a diffusion decoder on motion vectors, with its VAE's encoder")
    net.load_state_dict(state["state_dict"])
    return net.eval()


@torch.no_grad()
def over_windows(frames: int, motion: F32, answer: Callable[[Tensor], Tensor]) -> F32:
    """(T,133) through `answer`, which takes and gives windows (B, frames, 133). Shorter clips are stretched to one
    window, as FastHMR does; longer ones are cut into windows that overlap, and faded from one to the next."""
    count = len(motion)
    if count <= frames:
        window = resample_frames(torch.from_numpy(motion)[None], frames)
        return resample_frames(answer(window), count)[0].numpy()
    starts = np.unique(np.append(np.arange(0, count - frames, max(1, frames // 3)), count - frames))
    found = answer(torch.from_numpy(np.stack([motion[s : s + frames] for s in starts]))).numpy()
    hat = np.minimum(np.arange(1, frames + 1), np.arange(frames, 0, -1)).astype(np.float32)[:, None]
    total, mass = np.zeros_like(motion), np.zeros((count, 1), np.float32)
    for start, window in zip(starts, found, strict=True):
        total[start : start + frames] += hat * window
        mass[start : start + frames] += hat
    return total / mass


def answers(net: DiffusionDecoder, live: DiffusionSmoother, paired: PairedMotion) -> dict[str, F32]:
    """What each makes of a clip: motion vectors (T,133); `truth` among them."""
    mean, std = net.motion_mean, net.motion_std

    def decoded(motion: F32) -> F32:
        return over_windows(net.frames, motion, net)

    def rebuilt(window: Tensor) -> Tensor:
        return net.vae((window - mean) / std)[0] * std + mean

    truth, raw = motion_vectors(paired.pose), motion_vectors(paired.saw_pose)
    calm = motion_vectors(run_smoother(live, paired).pose)
    return {
        "truth": truth,
        "raw": raw,
        "live smoother, offline": calm,
        "diffusion decoder": decoded(raw),
        "diffusion decoder on the live smoother": decoded(calm),
        "VAE on the truth": over_windows(net.frames, truth, rebuilt),
    }


def figures(found: F32, truth: F32, fps: float) -> tuple[float, float, float]:
    """MPJPE, PA-MPJPE (mm) and acceleration error (mm per frame^2) of motion vectors (T,133), after the warm-up."""
    begin = int(np.ceil(WARM_UP_S * fps))
    own, true = (m[begin:, : 3 * JOINTS].reshape(-1, JOINTS, 3) for m in (found, truth))
    own, true = own - own[:, :1], true - true[:, :1]
    return (
        float(mpjpe_mm(own, true).mean()),
        float(pa_mpjpe_mm(own, true).mean()),
        float(acceleration_error_mm(own, true).mean()),
    )


def main(argv: Sequence[str]) -> int:
    """Command line. Exit code 2 for bad input."""
    parser = argparse.ArgumentParser(prog="python -m evaluation smooth-prior", description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--pairs", type=Path, required=True, help="folder of pairs (training.motion.make_pairs)")
    parser.add_argument("--smoother-package", default=PACKAGE, help="the live smoother to compare with")
    args = parser.parse_args(argv)
    files = sorted(args.pairs.glob("*.npz"))
    try:
        if not files:
            raise ValueError(f"no pairs in {args.pairs}")
        net = load_decoder(args.checkpoint)
        rows: dict[str, list[tuple[float, float, float]]] = {}
        with closing(DiffusionSmoother(args.smoother_package, LONGEST_LAG_S)) as live:
            for path in files:
                paired = PairedMotion.load(path)
                found = answers(net, live, paired)
                truth = found.pop("truth")
                for name, motion in found.items():
                    rows.setdefault(name, []).append(figures(motion, truth, float(paired.fps)))
    except (BodycastError, ValueError) as error:
        print(f"evaluation smooth-prior: {error}", file=sys.stderr)
        return 2
    decoder = sum(p.numel() for part in (net.vae.decoder, net.vae.final_layer, net.denoiser) for p in part.parameters())
    whole = sum(p.numel() for p in net.parameters())
    print(f"{len(files)} clips; {whole / 1e6:.2f} M parameters, {decoder / 1e6:.2f} M of them run when decoding")
    print(f"{'':<40} {'MPJPE mm':>9} {'PA mm':>7} {'accel mm/f2':>12}")
    for name, values in rows.items():
        mpjpe, pa, accel = np.mean(values, axis=0)
        print(f"{name:<40} {mpjpe:>9.1f} {pa:>7.1f} {accel:>12.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
