"""The papers' evaluation protocols for 3DPW, EMDB and Human3.6M (docs/evaluation.md has them side by side).

14 joints (3DPW, Human3.6M): regressed from SMPL's vertices by Human3.6M's regressor, aligned at its pelvis
(the evaluation of SPIN and 4D-Humans). 24 joints (EMDB): SMPL's own, aligned at the middle of the hips (WHAM's
evaluation).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bodycast.app.errors import UsageError
from evaluation.predictions import Predictions
from evaluation.protocols.points import PointRule, Truth
from evaluation.protocols.points import score_samples as _score_samples
from training.datasets.emdb import read_emdb
from training.datasets.human36m import FRONT_CAMERA, TEST_SUBJECTS, read_human36m_folders, read_human36m_npz
from training.datasets.sample import PersonSample
from training.datasets.smpl_files import SmplFiles
from training.datasets.threedpw import read_3dpw

JointChoice = Literal["paper", "smpl24", "limbs12"]


@dataclass(frozen=True)
class ProtocolOptions:
    """smpl: folder of SMPL's files; regressor: J_regressor_h36m.npy; body: `--body` of the predictions; joints:
    "paper", or a set that needs no regressor and does not compare with papers."""

    smpl: Path | None = None
    regressor: Path | None = None
    body: str = "auto"
    joints: JointChoice = "paper"


@dataclass(frozen=True)
class Protocol:
    """read: samples of a data set in a fixed order; joints: the paper's; fps and frame_step: of neighbouring samples;
    truth_needs_smpl: whether the true joints can only be had from SMPL's files."""

    read: Callable[[Path, SmplFiles | None], Iterator[PersonSample]]
    joints: Literal["lsp14", "smpl24"]
    fps: float
    frame_step: int = 1
    truth_needs_smpl: bool = False


def _human36m(path: Path, cameras: tuple[str, ...]) -> Iterator[PersonSample]:
    """Subjects 9 and 11, every fifth frame: SPIN's .npz, or h36m-fetch's folders."""
    if path.is_dir():
        yield from read_human36m_folders(path, TEST_SUBJECTS, "test", every=5, cameras=cameras)
        return
    for sample in read_human36m_npz(path, path.parent, "test"):
        if sample.subject in TEST_SUBJECTS and (not cameras or sample.sequence.rpartition(".")[2] in cameras):
            yield sample


PROTOCOLS: dict[str, Protocol] = {
    "3dpw": Protocol(lambda path, smpl: read_3dpw(path, "test", smpl), "lsp14", fps=30),
    "emdb1": Protocol(lambda path, smpl: read_emdb(path, "emdb1", smpl), "smpl24", fps=30, truth_needs_smpl=True),
    "h36m-p1": Protocol(lambda path, smpl: _human36m(path, ()), "lsp14", fps=50, frame_step=5),
    "h36m-p2": Protocol(lambda path, smpl: _human36m(path, (FRONT_CAMERA,)), "lsp14", fps=50, frame_step=5),
}


def protocol_samples(name: str, path: Path, smpl: SmplFiles | None = None) -> list[PersonSample]:
    """The samples of a protocol; the place of a sample in the list is its annotation id. Raises: DatasetError."""
    samples = list(PROTOCOLS[name].read(path, smpl))
    if not samples:
        raise UsageError(f"{path}: the protocol {name} finds no labelled person there")
    return samples


def digest(samples: list[PersonSample]) -> str:
    """What tells whether predictions were made for these samples."""
    content = "\n".join(f"{s.key} {s.xyxy.round(2).tolist() if s.xyxy is not None else ''}" for s in samples)
    return hashlib.sha256(content.encode()).hexdigest()


def score_protocol(
    name: str, predictions: Predictions, path: Path, options: ProtocolOptions = ProtocolOptions()
) -> dict[str, float]:
    """MPJPE, PA-MPJPE, PVE (where there are true vertices) in mm and the acceleration error of a protocol.

    Raises: UsageError for predictions of other samples, or where a file that the protocol needs is not given.
    """
    protocol = PROTOCOLS[name]
    smpl = SmplFiles(options.smpl) if options.smpl else None
    if protocol.truth_needs_smpl and smpl is None:
        raise UsageError(f"--protocol {name}: the true joints are SMPL's: give the folder of its files with --smpl")
    samples = protocol_samples(name, path, smpl)
    made_for = predictions.meta.get("info", {})
    if made_for.get("digest") != digest(samples):
        raise UsageError(
            f"the predictions are not for {name} at {path}: make the boxes with `python -m evaluation boxes`, then "
            "predict with them"
        )
    chosen = protocol.joints if options.joints == "paper" else options.joints
    rule = PointRule.make(chosen, options.regressor, options.body, str(predictions.meta["body"]))
    return _score_samples(predictions, samples, rule, Truth(smpl), protocol.fps, protocol.frame_step)


__all__ = ["PROTOCOLS", "Protocol", "ProtocolOptions", "digest", "protocol_samples", "score_protocol"]
