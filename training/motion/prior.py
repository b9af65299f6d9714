"""`python -m training.motion.prior --recipe motion-prior-small`: FastHMR's motion VAE, then its diffusion decoder.

The first part of the time trains the VAE on whole windows of motion (133 numbers a frame, normalised); then it is
frozen, and the denoiser learns the latents' velocity under the estimates of an engine, drawn from the error model, in
the same 133 numbers; or, with --tokens, under an HMR network's tokens, as FastHMR's does. Time reversal and warping
augment as in the paper. In the end, where a recipe has a share for it, all that runs learns the motion itself, through
the one step that is taken: not FastHMR's, which knows latents alone.
Writes NAME.pt (a checkpoint that `bodycast export package` takes), and log.jsonl with errors in mm.
"""

from __future__ import annotations

import argparse
import math
import sys
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bodycast.hmr.body.motion_vectors import motion_vectors
from bodycast.hmr.networks.temporal.diffusion_decoder import Denoiser, DiffusionDecoder
from bodycast.hmr.networks.temporal.motion_vae import JOINTS, MOTION_FEATURES, MotionVae, motion_vae_loss
from bodycast.hmr.networks.temporal.noise_schedule import velocity_and_noise_loss
from bodycast.hmr.networks.temporal.skip_transformer import LearnedPosition, SkipTransformer
from training.core import Clock, Entry, JsonLog, Timer, load_checkpoint, save_checkpoint, train, warmed
from training.motion.error_model import ERROR_MODEL, ErrorModel
from training.motion.pair_motions import PairMotions
from training.motion.recipe import RECIPES, closed
from training.motion.token_motions import TokenMotions
from training.motion.windows import MotionWindows
from training.optimiser import GroupedMuon

RATE_HZ = 30.0
STRENGTH = (0.2, 1.3)
FIRST_LOG_VARIANCE = -5.0
CHECK_EVERY_S = 60.0
WARM_UP = 30
TOKEN_SCALE = 0.3
PACE_WEIGHT = 0.3
REST_RATE = 0.4
OUTER = ("skel_embedding", "final_layer", "emb_proj")


@dataclass(frozen=True)
class PriorRecipe:
    """frames: the window. vae, denoiser: arguments of `MotionVae` and `Denoiser`. optimiser: "adamw", or "muon" for the
    matrices of the blocks and AdamW for the rest. time_codes: positions start as waves instead of as noise. pair_share:
    of the denoiser's windows that are real pairs, where the run has pairs. vae_share, answer_share: of the time; the
    rest is the denoiser's."""

    name: str
    frames: int
    batch: int = 16
    lr: float = 1e-4
    kl_weight: float = 1e-4
    seed: int = 0
    optimiser: str = "adamw"
    time_codes: bool = False
    pair_share: float = 0.6
    vae_share: float = 0.6
    answer_share: float = 0.0
    vae: dict[str, Any] = field(default_factory=dict)
    denoiser: dict[str, Any] = field(default_factory=dict)


def load_prior_recipe(name_or_path: str) -> PriorRecipe:
    """Read `training/motion/recipes/NAME.toml` or any TOML file. Raises ValueError naming what is wrong."""
    path = Path(name_or_path)
    path = path if path.suffix == ".toml" else RECIPES / f"{name_or_path}.toml"
    if not path.is_file():
        raise ValueError(f"no recipe {name_or_path!r} in {path.parent.name}")
    recipe = PriorRecipe(**closed(PriorRecipe, tomllib.loads(path.read_text(encoding="utf-8")), path.name))
    if recipe.optimiser not in ("adamw", "muon"):
        raise ValueError(f"{path.name}: optimiser must be adamw or muon, got {recipe.optimiser!r}")
    if min(recipe.vae_share, recipe.answer_share, 1 - recipe.vae_share - recipe.answer_share) < 0:
        raise ValueError(f"{path.name}: vae_share and answer_share must be shares that add to 1 at most")
    return recipe


def begin_with_time_codes(net: DiffusionDecoder) -> None:
    """Positions as waves of many lengths, each latent's at the middle of its share of the window, in place. MLD's begin
    as noise around one half: queries that all look alike take thousands of steps to come apart."""
    vae, denoiser, frames = net.vae, net.denoiser, net.frames
    middles = (torch.arange(vae.latents) + 0.5) / vae.latents * frames
    every = torch.arange(frames)

    def write(position: LearnedPosition, *places: Tensor) -> None:
        codes = torch.cat([waves(place, position.pe.shape[-1], frames) for place in places])
        with torch.no_grad():
            position.pe[: len(codes), 0] = codes

    tokens = len(vae.global_motion_token) // vae.latents  # mean alone, or mean and log-variance
    write(vae.query_pos_encoder, *[middles] * tokens, every)
    write(vae.query_pos_decoder, *([middles] if vae.variant == "all_encoder" else []), every)
    write(denoiser.query_pos, middles, torch.zeros(1), every)
    with torch.no_grad():
        vae.global_motion_token.mul_(TOKEN_SCALE)


def waves(frame: Tensor, channels: int, frames: int) -> Tensor:
    """Places (N,) in frames -> (N, channels): sines, then cosines, of waves from 4 frames to four windows long."""
    rate = torch.logspace(math.log10(math.pi / 2), math.log10(math.pi / 2 / frames), channels // 2)
    angle = frame[:, None].float() * rate
    return nn.functional.pad(torch.cat([angle.sin(), angle.cos()], dim=-1), (0, channels % 2))


class PriorOptimiser:
    """AdamW on all of a network; or Muon on the matrices of its blocks and around them, and AdamW at a lower rate
    on the rest."""

    def __init__(self, net: nn.Module, muon: bool) -> None:
        parts = [part for part in net.modules() if isinstance(part, SkipTransformer)] if muon else []
        parts += [getattr(net, name) for name in OUTER if muon and hasattr(net, name)]
        matrices = [p for part in parts for p in part.parameters() if p.dim() == 2]
        known = {id(p) for p in matrices}
        rest = [p for p in net.parameters() if id(p) not in known]
        self.parts: list[tuple[torch.optim.Optimizer, float]] = [
            (torch.optim.AdamW(rest, lr=1e-3, betas=(0.9, 0.95)), REST_RATE) if muon else (torch.optim.AdamW(rest), 1.0)
        ]
        if matrices:
            fast = GroupedMuon(
                [{"params": matrices}], lr=1e-3, momentum=0.95, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"
            )
            self.parts.append((fast, 1.0))

    def step(self, loss: Tensor, rate: float, parameters: list[nn.Parameter]) -> None:
        """One update at a learning rate."""
        for part, share in self.parts:
            part.zero_grad(set_to_none=True)
            for group in part.param_groups:
                group["lr"] = rate * share
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        for part, _ in self.parts:
            part.step()


class PriorTraining:
    """Both phases of one recipe."""

    def __init__(
        self,
        recipe: PriorRecipe,
        windows: MotionWindows,
        device: str = "cpu",
        pairs: PairMotions | None = None,
        tokens: TokenMotions | None = None,
    ) -> None:
        """tokens: the conditions are a network's tokens, as FastHMR's, in place of estimates of the motion."""
        self.recipe, self.windows, self.device, self.pairs, self.tokens = recipe, windows, device, pairs, tokens
        torch.manual_seed(recipe.seed)
        vae = MotionVae(**recipe.vae)
        if vae.dist_layer is not None:
            # Latents that begin nearly without noise carry motion from the first steps on.
            nn.init.constant_(vae.dist_layer.bias[vae.dim :], FIRST_LOG_VARIANCE)
        self.condition_width = MOTION_FEATURES if tokens is None else tokens.width
        sizes = {"latents": vae.latents, "dim": vae.dim, "condition_width": self.condition_width}
        denoiser = Denoiser(**sizes, **recipe.denoiser)
        self.net = DiffusionDecoder(vae, denoiser, recipe.frames, motion_conditions=tokens is None)
        if recipe.time_codes:
            begin_with_time_codes(self.net)
        self.net.to(device)
        first = self._draw_true(np.random.default_rng(recipe.seed), 64)
        self.net.motion_mean.copy_(first.mean((0, 1)))
        self.net.motion_std.copy_(first.std((0, 1)).clamp(min=0.02))
        self.steps = 0

    def start_from(self, path: Path) -> None:
        """Take the weights and the normalisation of a checkpoint. Raises ValueError where they are of other sizes."""
        state = load_checkpoint(path, self.device)
        if state.get("arguments") != self.checkpoint()["arguments"]:
            raise ValueError(f"{path}: expected a checkpoint of this recipe's sizes")
        self.net.load_state_dict(state["state_dict"])

    def _draw(self, rng: np.random.Generator, rows: int) -> tuple[Tensor, Tensor]:
        """Motion (rows, F, 133) and its conditions, estimates (rows, F, 133) or tokens; not normalised."""
        if self.tokens is not None:
            motion, token = self.tokens.draw(rng, rows)
            return torch.from_numpy(motion).to(self.device), torch.from_numpy(token).to(self.device)
        real = 0 if self.pairs is None else round(self.recipe.pair_share * rows)
        both = [self.pairs.draw(rng, real)] if self.pairs is not None and real else []
        if real < rows:
            pose, saw = self.windows.motions(rng, self._times_s(rows - real), STRENGTH)
            both.append((motion_vectors(pose), motion_vectors(saw)))
        pair = (torch.from_numpy(np.concatenate(parts)).to(self.device) for parts in zip(*both, strict=True))
        return next(pair), next(pair)

    def _draw_true(self, rng: np.random.Generator, rows: int) -> Tensor:
        """Motion alone."""
        return torch.from_numpy(motion_vectors(self.windows.true_motions(rng, self._times_s(rows)))).to(self.device)

    def _times_s(self, rows: int) -> NDArray[np.float64]:
        return np.tile(np.arange(self.recipe.frames) / RATE_HZ, (rows, 1))

    def _normalised(self, motion: Tensor) -> Tensor:
        return (motion - self.net.motion_mean) / self.net.motion_std

    def train(
        self,
        part: nn.Module,
        loss: Callable[[], Tensor],
        seconds: float,
        steps: int | None = None,
        check: Callable[[], None] | None = None,
    ) -> None:
        """Change `part` to lower `loss` for so many seconds of its own work, the learning rate falling to a fiftieth;
        or for so many steps. `check` is called now and then, and at the end."""
        optimiser = PriorOptimiser(part, self.recipe.optimiser == "muon")
        parameters, first = list(part.parameters()), self.steps

        def step(fraction: float) -> None:
            self.steps += 1
            rate = warmed(self.recipe.lr * (1 - 0.98 * fraction), self.steps - first, WARM_UP)
            optimiser.step(loss(), rate, parameters)

        # Not the time in which others had the processor.
        clock = Clock(seconds / 60 if steps is None else None, steps=steps, own_work=True)
        timers = () if check is None else (Timer(check, CHECK_EVERY_S, CHECK_EVERY_S),)
        train(clock, step, lambda: self.steps - first, timers)
        if check is not None:
            check()

    def vae_loss(self) -> Tensor:
        """Of a new batch."""
        motion = self._draw_true(np.random.default_rng([self.recipe.seed, 1, self.steps]), self.recipe.batch)
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
        conditions = self._normalised(saw) if self.net.motion_conditions else saw
        found = self.net.denoiser(z_t, t, conditions)
        return velocity_and_noise_loss(self.net.schedule, found, z0, noise, t)

    def answer_loss(self) -> Tensor:
        """Of a new batch: of what the decoder answers: joints in decimetres, their speed in m/s, and twists."""
        motion, saw = self._draw(np.random.default_rng([self.recipe.seed, 3, self.steps]), self.recipe.batch)
        off = self.net(saw) - motion
        joints, twists = off[..., : 3 * JOINTS].unflatten(-1, (JOINTS, 3)), off[..., 3 * JOINTS :]
        pace = RATE_HZ * joints.diff(dim=1)
        return 10 * joints.norm(dim=-1).mean() + PACE_WEIGHT * pace.norm(dim=-1).mean() + twists.abs().mean()

    @torch.no_grad()
    def score(
        self,
        windows: MotionWindows,
        pairs: PairMotions | None = None,
        rows: int = 32,
        tokens: TokenMotions | None = None,
    ) -> dict[str, float]:
        """Mean joint errors in mm on motion of `windows` and `pairs`, or of `tokens`: of the VAE, of the estimates
        where the conditions are such, of the decoder."""
        own = self.windows, self.pairs, self.tokens
        self.windows, self.pairs, self.tokens = windows, pairs, tokens or self.tokens
        motion, saw = self._draw(np.random.default_rng(99), rows)
        self.windows, self.pairs, self.tokens = own
        self.net.eval()
        rebuilt, _ = self.net.vae(self._normalised(motion))
        found = {
            "vae_mm": rebuilt * self.net.motion_std + self.net.motion_mean,
            **({"seen_mm": saw} if self.net.motion_conditions else {}),
            "decoded_mm": self.net(saw),
        }
        self.net.train()
        return {name: joint_error_mm(value, motion) for name, value in found.items()}

    def checkpoint(self) -> dict[str, Any]:
        """What the export reads: the decoder as it runs, and whose tokens are its conditions."""
        vae, denoiser = self.recipe.vae, self.recipe.denoiser
        arguments = {
            "frames": self.recipe.frames, "latents": vae["latents"], "dim": vae["dim"], "heads": vae["heads"],
            "ff_width": vae["ff_width"], "condition_width": self.condition_width, "denoiser_layers": denoiser["layers"],
            "vae_encoder_layers": vae["encoder_layers"], "vae_decoder_layers": vae["decoder_layers"],
            "with_vae_encoder": True, "motion_conditions": self.net.motion_conditions,
            "distribution_layer": self.net.vae.dist_layer is not None,
        }  # fmt: skip
        return {
            "model": "diffusion-decoder",
            "arguments": arguments,
            "state_dict": self.net.state_dict(),
            "training": f"recipe {self.recipe.name}, {self.steps} steps on {self.device}",
            "tokens_of": "none" if self.tokens is None else self.tokens.tokens_of,
        }


def joint_error_mm(found: Tensor, truth: Tensor) -> float:
    """Mean distance of the 29 joints of motion vectors (..., 133), mm."""
    off = (found - truth)[..., : 3 * JOINTS].unflatten(-1, (JOINTS, 3))
    return 1000 * float(off.norm(dim=-1).mean())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m training.motion.prior", description=__doc__)
    parser.add_argument("--recipe", default="motion-prior-small", help="name in training/motion/recipes, or a .toml")
    parser.add_argument(
        "--mocap", type=Path, nargs="+", required=True, metavar="CLIPS",
        help="folders of motion clips, all below them included (.bvh, .bvh.gz, AMASS .npz)",
    )  # fmt: skip
    parser.add_argument("--errors", type=Path, default=ERROR_MODEL)
    parser.add_argument(
        "--tokens", type=Path, nargs="+", metavar="TOKENS.npz",
        help="condition the denoiser on these tokens (evaluation predict --tokens), as FastHMR, not on estimates",
    )  # fmt: skip
    parser.add_argument("--pairs", type=Path, help="the denoiser also learns from these (training.motion.make_pairs)")
    parser.add_argument("--init", type=Path, help="go on from the weights of an earlier run")
    parser.add_argument("--out", type=Path, default=None, help="default: work/NAME")
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=None)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Command line. Exit code 2 for bad input."""
    args = _parser().parse_args(argv)
    if args.threads:
        torch.set_num_threads(args.threads)
    try:
        recipe, errors = load_prior_recipe(args.recipe), ErrorModel.load(args.errors)
        window_s = np.array([0.0, recipe.frames / RATE_HZ])
        train, test = (
            MotionWindows.load(args.mocap, split, errors, window_s, (RATE_HZ,)) for split in ("train", "test")
        )
        pairs, held_out = None, None
        if args.pairs is not None:
            pairs, held_out = (PairMotions.load(args.pairs, recipe.frames, RATE_HZ, held) for held in (False, True))
        tokens, tokens_held_out = None, None
        if args.tokens is not None:
            if args.pairs is not None:
                raise ValueError("--pairs are estimates, --tokens take their place: give one of them")
            tokens, tokens_held_out = TokenMotions.load(args.tokens, recipe.frames, RATE_HZ).divided()
        training = PriorTraining(recipe, train, args.device, pairs, tokens)
        if args.init is not None:
            training.start_from(args.init)
    except (ValueError, TypeError) as error:
        print(error, file=sys.stderr)
        return 2
    out = args.out or Path("work") / recipe.name
    out.mkdir(parents=True, exist_ok=True)
    log = JsonLog(out / "log.jsonl")
    phases = (
        ("vae", training.net.vae, training.vae_loss, recipe.vae_share),
        ("denoiser", training.net.denoiser, training.denoiser_loss, 1 - recipe.vae_share - recipe.answer_share),
        ("answer", training.net, training.answer_loss, recipe.answer_share),
    )
    for name, part, loss, share in phases:
        if share <= 0:
            continue

        def check(name: str = name) -> None:
            entry: Entry = {
                "phase": name,
                "steps": training.steps,
                **training.score(test, held_out, tokens=tokens_held_out),
            }
            log.add(entry)
            print(entry, flush=True)
            save_checkpoint(out / f"{recipe.name}.pt", training.checkpoint())

        training.train(part, loss, args.minutes * 60 * share, check=check)
    return 0


if __name__ == "__main__":
    sys.exit(main())
