"""Meshes over the picture."""
