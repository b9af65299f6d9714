"""Where frames come from: camera, file, image folder, network stream, the bundled demo clip."""

from bodycast.app.sources.factory import SourceOptions, open_source

__all__ = ["SourceOptions", "open_source"]
