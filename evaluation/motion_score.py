"""`python -m evaluation motion PRED.npz --truth TRUTH.npz` or `--mediapipe TRACK.npz`: how good a recorded motion is.

Against ground truth in the same layout: people found, identity switches, MPJPE and PA-MPJPE (24 joints, pelvis-aligned,
mm), error in the picture (px). Against a MediaPipe Pose track of one person (33 landmarks, px): the share of joints
within 0.2 torso lengths, MediaPipe's own errors included, so that it compares and does not judge.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bodycast.app.errors import BodycastError
from bodycast.app.files.motion_file import Motion, read_motion
from bodycast.app.world.scores import match_rows
from bodycast.hmr.body.joints import Joint
from bodycast.hmr.geometry.metrics import acceleration_error_mm, mpjpe_mm, pa_mpjpe_mm
from bodycast.npz import read_npz

TORSO_SHARE = 0.2
# MediaPipe Pose landmark -> SMPL joint, by limb.
MEDIAPIPE_JOINTS: dict[str, tuple[tuple[int, Joint], tuple[int, Joint]]] = {
    "shoulders": ((11, Joint.LEFT_SHOULDER), (12, Joint.RIGHT_SHOULDER)),
    "elbows": ((13, Joint.LEFT_ELBOW), (14, Joint.RIGHT_ELBOW)),
    "wrists": ((15, Joint.LEFT_WRIST), (16, Joint.RIGHT_WRIST)),
    "hips": ((23, Joint.LEFT_HIP), (24, Joint.RIGHT_HIP)),
    "knees": ((25, Joint.LEFT_KNEE), (26, Joint.RIGHT_KNEE)),
    "ankles": ((27, Joint.LEFT_ANKLE), (28, Joint.RIGHT_ANKLE)),
}


def identity_switches(predicted: Motion, truth: Motion, pairs: list[tuple[int, int]]) -> int:
    """How often the id given to a true person changes over the clip."""
    last: dict[int, int] = {}
    switches = 0
    for ours, theirs in pairs:
        person, given = int(truth.person_id[theirs]), int(predicted.person_id[ours])
        switches += last.get(person, given) != given
        last[person] = given
    return switches


def _acceleration_error(predicted: Motion, truth: Motion, pairs: list[tuple[int, int]]) -> float:
    """Mean acceleration error, mm per frame^2, over runs of three neighbouring matched frames of a person."""
    by_person: dict[int, dict[int, tuple[int, int]]] = {}
    for ours, theirs in pairs:
        by_person.setdefault(int(truth.person_id[theirs]), {})[int(truth.frame[theirs])] = (ours, theirs)
    errors: list[float] = []
    for frames in by_person.values():
        for frame in frames:
            run = [frames.get(frame + k) for k in (-1, 0, 1)]
            if any(pair is None for pair in run):
                continue
            a, b = (np.array([pair[side] for pair in run if pair is not None]) for side in (0, 1))
            ours, theirs = predicted.joints_3d[a], truth.joints_3d[b]
            errors += acceleration_error_mm(ours - ours[:, :1], theirs - theirs[:, :1]).tolist()
    return float(np.mean(errors)) if errors else float("nan")


def score_against_truth(predicted: Motion, truth: Motion) -> dict[str, float]:
    """Figures of a clip whose truth is known. Raises ValueError where no row matches."""
    pairs = match_rows(predicted, truth)
    if not pairs:
        raise ValueError("no predicted person overlaps a true one: is this the same clip?")
    ours, theirs = np.array(pairs).T
    p3, t3 = predicted.joints_3d[ours], truth.joints_3d[theirs]
    wh = np.array(truth.image_wh)
    inside = ((truth.joints_2d[theirs] >= 0) & (truth.joints_2d[theirs] < wh)).all(-1)
    flat = np.linalg.norm(predicted.joints_2d[ours] - truth.joints_2d[theirs], axis=-1)[inside]
    return {
        "rows_true": len(truth.frame),
        "rows_predicted": len(predicted.frame),
        "found_percent": 100 * len(pairs) / len(truth.frame),
        "frames_with_everybody_percent": 100 * _frames_complete(truth, theirs),
        "extra_rows": len(predicted.frame) - len(pairs),
        "id_switches": identity_switches(predicted, truth, pairs),
        "mpjpe_mm": float(mpjpe_mm(p3, t3, root=0).mean()),
        "pa_mpjpe_mm": float(pa_mpjpe_mm(p3, t3).mean()),
        "error_2d_px": float(np.nanmean(flat)),
        "error_2d_median_px": float(np.nanmedian(flat)),
        "acceleration_error_mm_per_frame2": _acceleration_error(predicted, truth, pairs),
    }


def _frames_complete(truth: Motion, matched: NDArray[np.intp]) -> float:
    wanted, found = Counter(truth.frame.tolist()), Counter(truth.frame[matched].tolist())
    return float(np.mean([found[frame] == count for frame, count in wanted.items()]))


def score_against_mediapipe(predicted: Motion, keypoints_px: NDArray[np.floating]) -> dict[str, float]:
    """keypoints_px (F, 33, 3) x, y, visibility of the one person in the clip; the most frequent id is compared."""
    frames = len(keypoints_px)
    ids = Counter(predicted.person_id.tolist())
    if not ids:
        raise ValueError("the motion holds nobody")
    person, count = ids.most_common(1)[0]
    rows = np.flatnonzero((predicted.person_id == person) & (predicted.frame < frames))
    marks = keypoints_px[predicted.frame[rows]][..., :2]
    torso = np.linalg.norm((marks[:, 11] + marks[:, 12] - marks[:, 23] - marks[:, 24]) / 2, axis=-1)
    result = {
        "frames": frames,
        "ids": len(ids),
        "frames_with_main_id_percent": 100 * count / frames,
    }
    every: list[NDArray[np.floating]] = []
    for limb, pairs in MEDIAPIPE_JOINTS.items():
        errors = np.stack(
            [
                np.linalg.norm(predicted.joints_2d[rows, joint] - marks[:, mark], axis=-1) / torso
                for mark, joint in pairs
            ]
        )
        every.append(errors)
        result[f"{limb}_within_percent"] = 100 * float((errors < TORSO_SHARE).mean())
    together = np.stack(every)
    result["all_within_percent"] = 100 * float((together < TORSO_SHARE).mean())
    result["median_error_torso"] = float(np.nanmedian(together))
    return result


def main(argv: Sequence[str]) -> int:
    """Command line. Exit code 2 for bad input."""
    parser = argparse.ArgumentParser(prog="python -m evaluation motion", description=__doc__)
    parser.add_argument("predicted", type=Path, help="motion.npz of a run")
    against = parser.add_mutually_exclusive_group(required=True)
    against.add_argument("--truth", type=Path, help="ground truth in the layout of motion.npz")
    against.add_argument("--mediapipe", type=Path, help="npz with keypoints_px (F,33,3) of one person")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    args = parser.parse_args(argv)
    try:
        predicted = read_motion(args.predicted)
        if args.truth:
            result = score_against_truth(predicted, read_motion(args.truth))
        else:
            result = score_against_mediapipe(predicted, read_npz(args.mediapipe)["keypoints_px"])
    except (BodycastError, ValueError, KeyError, OSError) as error:
        print(f"evaluation motion: {error}", file=sys.stderr)
        return 2
    width = max(map(len, result))
    for name, value in result.items():
        print(f"{name:<{width}}  {value:10.2f}")
    if args.json:
        args.json.write_text(json.dumps(result, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
