"""`python -m training.motion.prior --recipe motion-prior-small`: FastHMR's motion VAE, then its diffusion decoder.

The first part of the time trains the VAE on whole windows of motion (133 numbers a frame, normalised); then it is
frozen, and the denoiser learns the latents' velocity under the estimates of an engine, drawn from the error model, in
the same 133 numbers. Time reversal and warping augment as in the paper. Writes vae.pt and NAME.pt (a checkpoint that
`python -m export package` takes), and log.jsonl with the VAE's reconstruction error in mm.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hmr.networks.temporal.diffusion_decoder import Denoiser, DiffusionDecoder
from hmr.networks.temporal.motion_vae import JOINTS, MOTION_FEATURES, MotionVae, motion_vae_loss
from hmr.networks.temporal.noise_schedule import velocity_and_noise_loss
from training.motion.data import motion_vectors
from training.motion.error_model import ERROR_MODEL, ErrorModel
from training.motion.recipe import RECIPES, closed
from training.motion.windows import MotionWindows

RATE_HZ = 30.0
STRENGTH = (0.2, 1.3)
VAE_SHARE = 0.6
FIRST_LOG_VARIANCE = -5.0
CHECK_EVERY_S = 60.0


@dataclass(frozen=True)
class PriorRecipe:
    """frames: the window. vae, denoiser: arguments of `MotionVae` and `Denoiser`."""

    name: str
    frames: int
    batch: int = 16
    lr: float = 1e-4
    kl_weight: float = 1e-4
    seed: int = 0
    vae: dict[str, Any] = field(default_factory=dict)
    denoiser: dict[str, Any] = field(default_factory=dict)


def load_prior_recipe(name_or_path: str) -> PriorRecipe:
    """Read `training/motion/recipes/NAME.toml` or any TOML file. Raises ValueError naming what is wrong."""
    path = Path(name_or_path)
    path = path if path.suffix == ".toml" else RECIPES / f"{name_or_path}.toml"
    if not path.is_file():
        raise ValueError(f"no recipe {name_or_path!r} in {path.parent.name}")
    return PriorRecipe(**closed(PriorRecipe, tomllib.loads(path.read_text(encoding="utf-8")), path.name))


class PriorTraining:
    """Both phases of one recipe."""

    def __init__(self, recipe: PriorRecipe, windows: MotionWindows, device: str = "cpu") -> None:
        self.recipe, self.windows, self.device = recipe, windows, device
        torch.manual_seed(recipe.seed)
        vae = MotionVae(**recipe.vae)
        if vae.dist_layer is not None:
            # Latents that begin nearly without noise carry motion from the first steps on.
            nn.init.constant_(vae.dist_layer.bias[vae.dim :], FIRST_LOG_VARIANCE)
        sizes = {"latents": vae.latents, "dim": vae.dim, "condition_width": MOTION_FEATURES}
        self.net = DiffusionDecoder(vae, Denoiser(**sizes, **recipe.denoiser), recipe.frames).to(device)
        first, _ = self._draw(np.random.default_rng(recipe.seed), 64)
        self.net.motion_mean.copy_(first.mean((0, 1)))
        self.net.motion_std.copy_(first.std((0, 1)).clamp(min=0.02))
        self.steps = 0

    def _draw(self, rng: np.random.Generator, rows: int) -> tuple[Tensor, Tensor]:
        """Motion and estimates, each (rows, F, 133), not normalised."""
        time_s = np.tile(np.arange(self.recipe.frames) / RATE_HZ, (rows, 1))
        pose, saw = self.windows.motions(rng, time_s, STRENGTH)
        pair = (torch.from_numpy(motion_vectors(p)).to(self.device) for p in (pose, saw))
        return next(pair), next(pair)

    def _normalised(self, motion: Tensor) -> Tensor:
        return (motion - self.net.motion_mean) / self.net.motion_std

    def train(
        self,
        parameters: list[nn.Parameter],
        loss: Callable[[], Tensor],
        seconds: float,
        steps: int | None = None,
        check: Callable[[], None] | None = None,
    ) -> None:
        """Adam on `loss` for so many seconds of its own work, the learning rate falling to a twentieth; or for so many
        steps. `check` is called now and then, and at the end."""
        optimiser = torch.optim.AdamW(parameters, lr=self.recipe.lr)
        spent, next_check, done = 0.0, CHECK_EVERY_S, 0
        while spent < seconds if steps is None else done < steps:
            began, own = time.monotonic(), time.process_time()
            done += 1
            for group in optimiser.param_groups:
                group["lr"] = self.recipe.lr * (1 - 0.95 * spent / seconds) * min(1.0, done / 30)
            optimiser.zero_grad(set_to_none=True)
            value = loss()
            value.backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimiser.step()
            self.steps += 1
            # Not the time in which others had the processor.
            spent += min(time.monotonic() - began, time.process_time() - own)
            if check is not None and spent >= next_check:
                check()
                next_check = spent + CHECK_EVERY_S
        if check is not None:
            check()

    def vae_loss(self) -> Tensor:
        """Of a new batch."""
        motion, _ = self._draw(np.random.default_rng([self.recipe.seed, 1, self.steps]), self.recipe.batch)
        motion = self._normalised(motion)
        noise = torch.randn(len(motion), self.net.vae.latents, self.net.vae.dim, device=self.device)
        reconstruction, distribution = self.net.vae(motion, noise)
        return motion_vae_loss(reconstruction, motion, distribution, self.recipe.kl_weight)

    def denoiser_loss(self) -> Tensor:
        """Of a new batch, at a timestep drawn for each row."""
        motion, saw = self._draw(np.random.default_rng([self.recipe.seed, 2, self.steps]), self.recipe.batch)
        with torch.no_grad():
            z0 = self.net.vae.encode(self._normalised(motion)).mean
        noise = torch.randn_like(z0)
        # Inference takes one step from the last timestep: half of the rows learn exactly that.
        t = torch.randint(0, self.net.schedule.steps, (len(z0),), device=self.device)
        t = torch.where(torch.rand(len(z0), device=self.device) < 0.5, self.net.schedule.steps - 1, t)
        z_t = self.net.schedule.add_noise(z0, noise, t)
        found = self.net.denoiser(z_t, t, self._normalised(saw))
        return velocity_and_noise_loss(self.net.schedule, found, z0, noise, t)

    @torch.no_grad()
    def score(self, windows: MotionWindows, rows: int = 32) -> dict[str, float]:
        """Mean joint errors in mm on motion of `windows`: of the VAE, of the estimates, of the decoder."""
        own, self.windows = self.windows, windows
        motion, saw = self._draw(np.random.default_rng(99), rows)
        self.windows = own
        self.net.eval()
        rebuilt, _ = self.net.vae(self._normalised(motion))
        found = {
            "vae_mm": rebuilt * self.net.motion_std + self.net.motion_mean,
            "seen_mm": saw,
            "decoded_mm": self.net(self._normalised(saw)),
        }
        self.net.train()
        return {name: joint_error_mm(value, motion) for name, value in found.items()}

    def checkpoint(self) -> dict[str, Any]:
        """What the export reads: the decoder as it runs. Its conditions are normalised motion vectors."""
        vae, denoiser = self.recipe.vae, self.recipe.denoiser
        arguments = {
            "frames": self.recipe.frames, "latents": vae["latents"], "dim": vae["dim"], "heads": vae["heads"],
            "ff_width": vae["ff_width"], "condition_width": MOTION_FEATURES, "denoiser_layers": denoiser["layers"],
            "vae_encoder_layers": vae["encoder_layers"], "vae_decoder_layers": vae["decoder_layers"],
            "with_vae_encoder": True, "distribution_layer": self.net.vae.dist_layer is not None,
        }  # fmt: skip
        return {
            "model": "diffusion-decoder",
            "arguments": arguments,
            "state_dict": self.net.state_dict(),
            "training": f"recipe {self.recipe.name}, {self.steps} steps on {self.device}",
        }


def joint_error_mm(found: Tensor, truth: Tensor) -> float:
    """Mean distance of the 29 joints of motion vectors (..., 133), mm."""
    off = (found - truth)[..., : 3 * JOINTS].unflatten(-1, (JOINTS, 3))
    return 1000 * float(off.norm(dim=-1).mean())


def main(argv: list[str] | None = None) -> int:
    """Command line. Exit code 2 for bad input."""
    parser = argparse.ArgumentParser(prog="python -m training.motion.prior", description=__doc__)
    parser.add_argument("--recipe", default="motion-prior-small", help="name in training/motion/recipes, or a .toml")
    parser.add_argument("--mocap", type=Path, default=Path("../shared/data/mocap_cmu"))
    parser.add_argument("--errors", type=Path, default=ERROR_MODEL)
    parser.add_argument("--out", type=Path, default=None, help="default: work/NAME")
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=None)
    args = parser.parse_args(argv)
    if args.threads:
        torch.set_num_threads(args.threads)
    try:
        recipe, errors = load_prior_recipe(args.recipe), ErrorModel.load(args.errors)
        window_s = np.array([0.0, recipe.frames / RATE_HZ])
        train, test = (
            MotionWindows.load(args.mocap, split, errors, window_s, (RATE_HZ,)) for split in ("train", "test")
        )
        training = PriorTraining(recipe, train, args.device)
    except (ValueError, TypeError) as error:
        print(error, file=sys.stderr)
        return 2
    out = args.out or Path("work") / recipe.name
    out.mkdir(parents=True, exist_ok=True)
    phases = (
        ("vae", list(training.net.vae.parameters()), training.vae_loss, VAE_SHARE),
        ("denoiser", list(training.net.denoiser.parameters()), training.denoiser_loss, 1 - VAE_SHARE),
    )
    for name, parameters, loss, share in phases:

        def check(name: str = name) -> None:
            entry = {"phase": name, "steps": training.steps, **training.score(test)}
            with (out / "log.jsonl").open("a", encoding="utf-8") as log:
                log.write(json.dumps(entry) + "\n")
            print(entry, flush=True)
            torch.save(training.checkpoint(), out / f"{recipe.name}.pt")

        training.train(parameters, loss, args.minutes * 60 * share, check=check)
    return 0


if __name__ == "__main__":
    sys.exit(main())
