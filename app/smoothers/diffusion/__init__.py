"""FastHMR's diffusion smoother, live: memory of frames, the networks, the foot lock."""
