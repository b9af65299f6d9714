"""Official checkpoints into our networks: weights only, every key accounted for.

    report = load_checkpoint(build("hmr2-h"), "epoch=35-step=1000000.ckpt", "hmr2")

`reading` opens a file without running what is in it, `layouts` says what each published layout holds, `guessing`
which network a file is of, `loading` fits one to a network. A key that is missing, unexpected or of another shape is an
error that names it.
"""

from bodycast.hmr.checkpoints.guessing import guess_model, layouts_of
from bodycast.hmr.checkpoints.layouts import LAYOUTS, Layout
from bodycast.hmr.checkpoints.loading import CheckpointMismatch, LoadReport, load_checkpoint
from bodycast.hmr.checkpoints.reading import UnsafeCheckpoint, read_state

__all__ = [
    "LAYOUTS",
    "CheckpointMismatch",
    "Layout",
    "LoadReport",
    "UnsafeCheckpoint",
    "guess_model",
    "layouts_of",
    "load_checkpoint",
    "read_state",
]
