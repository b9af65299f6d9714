"""`python -m evaluation smooth-strip OUT.png --motion MOTION.npz --video VIDEO`: raw, one-euro, diffusion, to look at.

One row per smoother: the mesh on frames that follow each other closely, then the height of both wrists (relative to
the pelvis, m) over the clip. MOTION.npz is a run of VIDEO with `--smoother none`; its most frequent person is shown.
--pair takes a clip of training.motion.make_pairs instead, whose truth is drawn too; it has no pictures.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from bodycast.app.errors import BodycastError
from bodycast.app.files.motion_file import read_motion
from bodycast.app.renderers import open_renderer
from bodycast.app.smoothers import open_smoother
from bodycast.app.smoothers.base import Smoother
from bodycast.hmr.body.body_model import BodyModel
from bodycast.hmr.body.joints import Joint
from bodycast.hmr.geometry.camera import Intrinsics
from bodycast.hmr.geometry.rotations import axis_angle_to_matrix
from evaluation.smooth_cases import posed_joints
from evaluation.smooth_scores import Smoothed, run_smoother
from training.motion.pairs import IMAGE_WH, PairedMotion

U8 = NDArray[np.uint8]
TILE_WH = (180, 270)
CHART_HEIGHT = 110
WRIST_COLOURS = ((200, 90, 40), (40, 90, 220))
TRUTH_COLOUR = (170, 170, 170)


def read_clip(args: argparse.Namespace) -> tuple[PairedMotion, NDArray[np.int32], float, tuple[int, int], bool]:
    """The clip, frame numbers in the video, focal length, picture size, and whether the truth is known."""
    if args.pair is not None:
        pair = PairedMotion.load(args.pair)
        return pair, np.arange(len(pair), dtype=np.int32), 1.0 * max(IMAGE_WH), IMAGE_WH, True
    motion = read_motion(args.motion)
    if not len(motion):
        raise ValueError(f"{args.motion}: nobody in it")
    person = Counter(motion.person_id.tolist()).most_common(1)[0][0]
    rows = motion.of_person(person)
    pose = axis_angle_to_matrix(rows.poses.reshape(-1, 24, 3)).astype(np.float32)
    pair = PairedMotion(
        rows.time_s, pose, rows.trans, rows.betas, pose, rows.trans, rows.betas, rows.score,
        np.float64(rows.fps), np.array([0, -1, 0], np.float32),
    )  # fmt: skip
    return pair, rows.frame, rows.focal_px, rows.image_wh, False


def read_pictures(video: Path | None, wanted: Sequence[int], wh: tuple[int, int]) -> list[U8]:
    """(H,W,3) BGR pictures of these frames; grey where there is no video. Raises OSError."""
    grey = np.full((wh[1], wh[0], 3), 225, np.uint8)
    found = {frame: grey for frame in wanted}
    if video is not None:
        with av.open(str(video)) as container:
            for index, frame in enumerate(container.decode(video=0)):
                if index in found:
                    found[index] = frame.to_ndarray(format="bgr24")
    return [found[frame] for frame in wanted]


def tiles(pair: PairedMotion, found: Smoothed, shown: Sequence[int], pictures: list[U8], focal_px: float) -> U8:
    """One row of meshes, cut around the person."""
    body = BodyModel.load()
    renderer = open_renderer("auto", body.faces)
    height, width = pictures[0].shape[:2]
    camera = Intrinsics.from_focal(focal_px, (width, height))
    # The same window for all smoothers and frames: around where the raw estimates are.
    joints = posed_joints(body, pair.saw_pose, pair.saw_betas, pair.saw_transl_m)[list(shown)]
    pixels = joints[..., :2] / joints[..., 2:] * focal_px + np.array([width / 2, height / 2])
    low, high = np.percentile(pixels.reshape(-1, 2), 2, axis=0), np.percentile(pixels.reshape(-1, 2), 98, axis=0)
    centre, side = (low + high) / 2, 1.35 * max(high[1] - low[1], (high[0] - low[0]) * TILE_WH[1] / TILE_WH[0])
    scale = TILE_WH[1] / side
    cut = np.array([[scale, 0, TILE_WH[0] / 2 - scale * centre[0]], [0, scale, TILE_WH[1] / 2 - scale * centre[1]]])
    row: list[U8] = []
    for frame, picture in zip(shown, pictures, strict=True):
        one = slice(frame, frame + 1)
        vertices = body(found.pose[one], found.betas[one], found.transl_m[one]).vertices
        drawn = renderer.render(picture, vertices, np.ones(1, np.int32), camera)
        row.append(cv2.warpAffine(drawn, cut, TILE_WH, borderValue=(245, 245, 245)).astype(np.uint8))
    renderer.close()
    return np.hstack(row)


def chart(pair: PairedMotion, found: Smoothed, width: int, known: bool) -> U8:
    """Heights of the wrists over the clip, the truth in grey where it is known."""
    body = BodyModel.load()
    canvas = np.full((CHART_HEIGHT, width, 3), 255, np.uint8)
    wrists = [int(Joint.LEFT_WRIST), int(Joint.RIGHT_WRIST)]
    seen = posed_joints(body, pair.saw_pose, pair.saw_betas, pair.saw_transl_m)
    heights = (seen[:, wrists] - seen[:, :1]) @ pair.up
    low, high = float(heights.min()) - 0.05, float(heights.max()) + 0.05

    def curve(joints: NDArray[np.float32], wrist: Joint, colour: tuple[int, int, int]) -> None:
        up = (joints[:, wrist] - joints[:, 0]) @ pair.up
        x = np.linspace(0, width - 1, len(up))
        y = CHART_HEIGHT * (high - up) / (high - low)
        cv2.polylines(canvas, [np.stack([x, y], 1).round().astype(np.int32)], False, colour, 1, cv2.LINE_AA)

    for wrist, colour in zip((Joint.LEFT_WRIST, Joint.RIGHT_WRIST), WRIST_COLOURS, strict=True):
        if known:
            curve(posed_joints(body, pair.pose, pair.betas, pair.transl_m), wrist, TRUTH_COLOUR)
        curve(posed_joints(body, found.pose, found.betas, found.transl_m), wrist, colour)
    return canvas


def smoothers() -> dict[str, Smoother]:
    """By the title of their rows."""
    return {
        "raw": open_smoother("none"),
        "one-euro": open_smoother("one-euro"),
        "diffusion, lag 0.1 s": open_smoother("diffusion", 0.1),
        "diffusion, offline": open_smoother("diffusion", offline=True),
    }


def main(argv: Sequence[str]) -> int:
    """Command line. Exit code 2 for bad input."""
    parser = argparse.ArgumentParser(prog="python -m evaluation smooth-strip", description=__doc__)
    parser.add_argument("out", type=Path)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--motion", type=Path, help="motion.npz of a run with --smoother none")
    source.add_argument("--pair", type=Path, help="a clip of training.motion.make_pairs")
    parser.add_argument("--video", type=Path, help="the video of --motion")
    parser.add_argument("--from-frame", type=int, default=30)
    parser.add_argument("--frames", type=int, default=7)
    parser.add_argument("--every", type=int, default=1)
    args = parser.parse_args(argv)
    try:
        pair, numbers, focal_px, wh, known = read_clip(args)
        shown = list(range(args.from_frame, args.from_frame + args.frames * args.every, args.every))
        if shown[-1] >= len(pair):
            raise ValueError(f"the clip has {len(pair)} frames, frame {shown[-1]} was asked for")
        pictures = read_pictures(args.video, [int(numbers[k]) for k in shown], wh)
        rows: list[U8] = []
        for title, smoother in smoothers().items():
            found = run_smoother(smoother, pair)
            meshes = tiles(pair, found, shown, pictures, focal_px)
            row = np.vstack([meshes, chart(pair, found, meshes.shape[1], known)])
            cv2.putText(row, title, (8, 22), cv2.FONT_HERSHEY_SIMPLEX, 0.6, (20, 20, 20), 1, cv2.LINE_AA)
            rows.append(row)
        if not cv2.imwrite(str(args.out), np.vstack(rows)):
            raise ValueError(f"{args.out}: cannot be written")
    except (BodycastError, ValueError, OSError) as error:
        print(f"evaluation smooth-strip: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
