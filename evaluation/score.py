"""`python -m evaluation score PRED TRUTH ...`: errors of saved predictions, as often and against as much as wanted.

PRED is a file of `python -m evaluation predict`, or the motion.npz of a run (for the two kinds of motion below; a PRED
must be made with --film for those), or COCO keypoint results of any pose estimator (.json: AP). What TRUTH is decides
what is measured:

  COCO keypoint labels (.json)        PCK by torso, head and box, OKS, AP (true boxes given)
  a synthetic crop set (folder)       MPJPE, PA-MPJPE, PVE, 2D error; PRED made with --crops
  motion with truth (.npz)            MPJPE, PA-MPJPE, PVE, acceleration, id switches, people found
  a MediaPipe track (.npz)            share of joints within 0.2 torso lengths (it compares and does not judge)
  a data set, with --protocol NAME    the protocol of the papers (docs/evaluation.md)
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bodycast.app.errors import BodycastError, UsageError
from bodycast.app.files.motion_file import Motion, read_motion
from bodycast.app.files.npz_file import read_arrays
from bodycast.app.pipeline.build import load_body
from bodycast.hmr.body.body_model import BodyModel
from bodycast.hmr.geometry.metrics import pve_mm
from bodycast.hmr.geometry.rotations import axis_angle_to_matrix
from bodycast.npz import member_names
from evaluation.film import KIND, as_motion, read_boxes, reference_keypoints
from evaluation.motion_score import match_rows, score_against_mediapipe, score_against_truth
from evaluation.predictions import Predictions, is_predictions, read_predictions
from evaluation.protocols import PROTOCOLS, ProtocolOptions, score_protocol
from evaluation.score_coco import people_csv, score_coco, score_results
from evaluation.score_crops import score_crops
from training.datasets.coco import read_labels
from training.datasets.errors import DatasetError


def _keys(path: Path) -> set[str]:
    """Names of the arrays in an .npz; empty for anything else."""
    if not path.is_file() or not zipfile.is_zipfile(path):
        return set()
    return set(member_names(path))


def score_predictions(path: Path, truth: Path, args: argparse.Namespace) -> dict[str, float]:
    """Score a prediction file against one truth. Raises: BodycastError, DatasetError."""
    predictions = read_predictions(path)
    if args.protocol:
        options = ProtocolOptions(args.smpl, args.regressor, args.body, args.joints)
        return score_protocol(args.protocol, predictions, truth, options)
    if truth.is_dir():
        if not (truth / "meta.json").is_file():
            raise UsageError(f"{truth}: no crop set (meta.json is missing); for a data set give --protocol")
        return score_crops(predictions, truth, load_body(args.body, str(predictions.meta["body"]), False))
    if truth.suffix == ".json":
        labels = read_labels(truth)
        if args.people:
            args.people.write_text(people_csv(predictions, labels), encoding="utf-8")
        return score_coco(predictions, labels)
    if predictions.meta.get("kind") == KIND:
        motion = as_motion(predictions, read_boxes(truth).person_id)
        return score_motion(motion, truth, args.body)
    raise UsageError(f"{truth}: predictions are scored against COCO labels (.json), a crop set or a --protocol")


def score_motion(motion: Motion, truth: Path, body_spec: str) -> dict[str, float]:
    """Score the motion of a run against true motion or a MediaPipe track. Raises: BodycastError."""
    if "keypoints_px" in _keys(truth):
        return score_against_mediapipe(
            motion, read_arrays(truth, ["keypoints_px"], "track", "give another")["keypoints_px"]
        )
    expected = read_motion(truth)
    result = score_against_truth(motion, expected)
    if motion.meta.body == expected.meta.body:
        body = load_body(body_spec, motion.meta.body, False)
        result["pve_mm"] = _motion_pve(motion, expected, body)
    return result


def _motion_pve(motion: Motion, truth: Motion, body: BodyModel) -> float:
    """Mean error of the vertices relative to the pelvis over matched rows, mm."""
    errors = []
    for ours, theirs in match_rows(motion, truth):
        pair = []
        for side, row in ((motion, ours), (truth, theirs)):
            pose = axis_angle_to_matrix(side.poses[row].reshape(1, 24, 3))
            pair.append(body(pose, side.betas[row][None], np.zeros((1, 3))))
        found, expected = pair
        errors.append(pve_mm(found.vertices, expected.vertices, found.joints[:, 0], expected.joints[:, 0]))
    return float(np.concatenate(errors).mean()) if errors else math.nan


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m evaluation score", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("predicted", type=Path, help="PRED.npz of predict, or motion.npz of a run")
    parser.add_argument("truth", type=Path, nargs="+", help="labels, motion, crop set or data set")
    parser.add_argument("--protocol", choices=sorted(PROTOCOLS), help="score by a paper's protocol")
    parser.add_argument("--smpl", type=Path, help="folder with SMPL's files, for protocols that need true vertices")
    parser.add_argument("--regressor", type=Path, help="J_regressor_h36m.npy (17, 6890), for the 14-joint protocols")
    parser.add_argument(
        "--joints",
        choices=("paper", "smpl24", "limbs12"),
        default="paper",
        help="with --protocol: the paper's joints, or a set that needs no regressor and compares with no paper",
    )
    parser.add_argument("--body", default="auto", help="body file of the predictions, where it is not the embedded one")
    parser.add_argument("--json", nargs="?", const="-", help="print JSON; with a file name, write it there as well")
    parser.add_argument("--pictures", type=Path, help="folder for pictures with mesh and skeleton; needs --images")
    parser.add_argument("--images", type=Path, help="folder of the pictures, or the film, for --pictures")
    parser.add_argument("--people", type=Path, help="with COCO labels: a .csv with the figures of every person")
    return parser


def run(args: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Figures by the truth's name. Raises: BodycastError, DatasetError."""
    if args.pictures and not args.images:
        raise UsageError("--pictures draws over the pictures: give their folder with --images")
    predicted = is_predictions(args.predicted) if args.predicted.is_file() else True
    result: dict[str, dict[str, float]] = {}
    for truth in args.truth:
        if not truth.exists():
            raise UsageError(f"{truth}: no such file or folder")
        if args.predicted.suffix == ".json":
            result[str(truth)] = score_results(args.predicted, read_labels(truth))
        elif predicted:
            result[str(truth)] = score_predictions(args.predicted, truth, args)
        else:
            result[str(truth)] = score_motion(read_motion(args.predicted), truth, args.body)
    if args.pictures:
        _draw(args, read_predictions(args.predicted))
    return result


def _draw(args: argparse.Namespace, predictions: Predictions) -> None:
    """Raises: UsageError where the truth does not say what the pictures are."""
    from evaluation.score_pictures import draw_film, draw_pictures

    body = load_body(args.body, str(predictions.meta["body"]), False)
    if predictions.meta.get("kind") == KIND:
        reference = reference_keypoints(args.truth[0], read_boxes(args.truth[0]))
        written = draw_film(predictions, args.images, reference, args.pictures, body)
    else:
        labels = next((truth for truth in args.truth if truth.suffix == ".json"), None)
        if labels is None:
            raise UsageError("--pictures needs COCO labels, which name the pictures, or the predictions of a film")
        written = draw_pictures(predictions, read_labels(labels), args.images, args.pictures, body)
    print(f"evaluation score: {len(written) - 1} pictures and {written[-1]}", file=sys.stderr)


def _clean(result: dict[str, dict[str, float]]) -> dict[str, dict[str, float | None]]:
    """NaN is no JSON: null."""
    return {name: {k: None if math.isnan(v) else v for k, v in part.items()} for name, part in result.items()}


def main(argv: Sequence[str]) -> int:
    """Command line. Exit code 2 for bad input."""
    args = _parser().parse_args(argv)
    try:
        result = run(args)
        if args.json and args.json != "-":
            Path(args.json).write_text(json.dumps(_clean(result), indent=1), encoding="utf-8")
    except BodycastError as error:
        print(f"evaluation score: {error}", file=sys.stderr)
        return error.exit_code
    except (DatasetError, OSError, ValueError) as error:
        print(f"evaluation score: {error}", file=sys.stderr)
        return 2
    if args.json:
        print(json.dumps(_clean(result), indent=1))
        return 0
    for name, part in result.items():
        if len(result) > 1:
            print(name)
        width = max(map(len, part))
        for key, value in part.items():
            print(f"{key:<{width}}  {value:10.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
