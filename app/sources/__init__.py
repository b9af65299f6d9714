"""Where frames come from: camera, file, image folder, network stream, the bundled demo clip."""
