"""Rigged, textured people from glTF files as members of a cast."""
