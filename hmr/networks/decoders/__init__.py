"""Decoders: from a feature map or tokens to SMPL pose, shape, camera and a per-person token."""
