"""Looking at people in 3D: pages that a run leaves behind, and the viewer, live and recorded."""
