"""The live program: sources, detectors, trackers, estimator, smoothers, renderers, sinks, pipeline, command line."""
