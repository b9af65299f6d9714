"""Training of the keypoint fusion network (hmr/networks/keypoint_fusion.py)."""
