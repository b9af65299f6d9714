"""Motion files for other programs: BVH, glTF binary, CSV, AMASS-style npz."""

from app.motion_export.export import export_motion

__all__ = ["export_motion"]
