"""From a frame and its tracks to bodies: crops, keypoint and HMR networks, the fusion, the flip test."""
