"""Photographs of people that nobody has labelled: teachers' keypoints as labels, and crops to learn from."""
