"""Motion files for other programs: BVH, glTF binary, CSV, AMASS-style npz."""

from bodycast.app.files.motion_export import export_motion

__all__ = ["export_motion"]
