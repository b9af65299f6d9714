"""Rotations, cameras, crops, boxes and alignment in numpy alone (no torch, no OpenCV).

Every function is batched over leading axes and keeps float32 as float32 and float64 as float64; any other
number type is read as float64. Conventions: docs/conventions.md (OpenCV camera frame, boxes `xyxy` in px,
metres, radians, quaternions w, x, y, z).
"""
