"""Where results go: window, video, motion file."""
