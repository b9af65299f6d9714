"""The body that a crop set's shapes are in: the embedded one, or SMPL's, onto which 3DPW's gendered shapes carry
over."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bodycast.hmr.body.body_files import BodyFileError
from bodycast.hmr.body.body_model import BodyModel
from training.datasets.errors import DatasetError
from training.datasets.sample import PersonSample
from training.datasets.smpl_files import SmplFiles

F64 = NDArray[np.float64]
SMPL = "smpl-"


class TargetBody:
    """model: the set's body. smpl: SMPL's gendered files, which shapes of gendered bodies are converted from.

    SMPL's three bodies share their mesh: the betas of one whose rest surface is nearest to another's are a linear least
    squares problem. The embedded body has another mesh, so nothing carries over to it.
    """

    def __init__(self, model: BodyModel, smpl: SmplFiles | None = None) -> None:
        self.model, self.smpl = model, smpl
        self._inverse: F64 | None = None

    @property
    def name(self) -> str:
        """Of the body."""
        return self.model.name

    def betas(self, sample: PersonSample) -> F64 | None:
        """(10,) the sample's shape on this body; None where it has none, or it cannot be converted.

        Raises: DatasetError where a gendered body's file is needed and missing.
        """
        if sample.betas is None or sample.body is None:
            return None
        if sample.body == self.name:
            return sample.betas
        if self.smpl is None or not (sample.body.startswith(SMPL) and self.name.startswith(SMPL)):
            return None
        other = self.smpl.body(sample.body.removeprefix(SMPL)).arrays
        ours = self.model.arrays
        if other.v_template.shape != ours.v_template.shape:
            raise DatasetError(
                f"{other.name} has {len(other.v_template)} vertices, {self.name} {len(ours.v_template)}: not one mesh"
            )
        surface = other.v_template + other.shapedirs @ sample.betas.astype(np.float32)
        if self._inverse is None:
            self._inverse = np.linalg.pinv(ours.shapedirs.reshape(-1, ours.shapedirs.shape[-1]).astype(np.float64))
        return self._inverse @ (surface - ours.v_template).astype(np.float64).ravel()

    def rest_root(self, betas: F64 | None) -> F64:
        """(3,) m, where the rest pose has its root joint; of the mean shape where `betas` are not known."""
        shape = np.zeros(10) if betas is None else betas
        return self.model.joints(shape.astype(np.float32)[None])[0, 0].astype(np.float64)


def load_target(path: object, smpl: SmplFiles | None) -> TargetBody:
    """The body file at `path`, or the embedded body where None. Raises: DatasetError."""
    try:
        return TargetBody(BodyModel.load() if path is None else BodyModel.load(path), smpl)  # type: ignore[arg-type]
    except BodyFileError as error:
        raise DatasetError(str(error)) from error
