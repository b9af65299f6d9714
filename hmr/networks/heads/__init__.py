"""Heads other than the SMPL decoders: 2D keypoint heat maps and CLIFF's iterative regressor."""
