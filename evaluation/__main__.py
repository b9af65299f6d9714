"""`python -m evaluation COMMAND ...`: everything that measures. A command is imported when chosen."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module

# command -> (module with `main(argv) -> int`, one line of help)
COMMANDS: dict[str, tuple[str, str]] = {
    "goldens": (
        "evaluation.goldens.runner",
        "compare our networks with the official implementations' tensors",
    ),
    "predict": ("evaluation.predict", "bodies for the labelled boxes of pictures, saved to be scored"),
    "boxes": ("evaluation.boxes", "the people of a paper's protocol as COCO-format boxes, for predict"),
    "score": ("evaluation.score", "errors of saved predictions, by COCO labels, true motion or a paper's protocol"),
    "score-coco": ("evaluation.score_coco_command", "COCO AP and OKS of a keypoint network, by ViTPose's protocol"),
    "score-real3d": ("evaluation.score_real3d", "MPJPE and PA-MPJPE on photographs with triangulated joints"),
    "detect": ("evaluation.detect", "how many labelled people a detector finds, and boxes on nobody"),
    "detect-photographs": (
        "evaluation.detect_photographs",
        "the same on held-out photographs, of people and of nobody",
    ),
    "motion": ("evaluation.motion_score", "score a recorded motion against ground truth or a MediaPipe track"),
    "smooth": ("evaluation.smooth", "smoothers on motion clips: error, shaking, delay, foot slide, time"),
    "smooth-rates": ("evaluation.smooth_rates", "whether the diffusion smoother answers alike at every frame rate"),
    "smooth-prior": ("evaluation.smooth_prior", "FastHMR's motion prior on an engine's estimates: VAE and decoder"),
    "smooth-strip": ("evaluation.smooth_strip", "raw, one-euro and diffusion side by side, to look at"),
    "tune-one-euro": ("evaluation.tune_one_euro", "constants with which the one-euro filter does best on clips"),
    "cost-figure": ("evaluation.cost_figure", "accuracy on real people against cost, one circle a network"),
    "bench": ("evaluation.bench", "forward time of every network on CPU engines against its floor, or --gpu"),
    "exports": ("evaluation.exports", "every kind of network through export: parity in each precision, TensorRT plans"),
    "show": ("evaluation.show", "pictures of what is inside: features, sampling points, merged tokens, mesh layers"),
    "soak": ("evaluation.soak", "long runs of the program with flat memory, and runs that are killed and recovered"),
    "batch": ("evaluation.batch_holds", "many clips: killed and resumed batches, memory, what a batch saves"),
    "live-load": ("evaluation.live_load", "a live run on a synthetic camera while other programs take the CPU"),
    "models": ("evaluation.models", "parameters and cost of every network, beside the papers' figures"),
}


def usage() -> str:
    """The text of `--help`."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {help_line}" for name, (_, help_line) in COMMANDS.items()]
    return "usage: python -m evaluation COMMAND [options]\n\ncommands (each has its own --help):\n" + "\n".join(lines)


def main(argv: Sequence[str]) -> int:
    """Run one command. Returns its exit code; 2 where the command is unknown."""
    if not argv or argv[0] in ("-h", "--help"):
        print(usage())
        return 0 if argv else 2
    if argv[0] not in COMMANDS:
        print(
            f"evaluation: no command {argv[0]!r}; there are {', '.join(COMMANDS)}. See --help.",
            file=sys.stderr,
        )
        return 2
    module = import_module(COMMANDS[argv[0]][0])
    return int(module.main(list(argv[1:])))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
