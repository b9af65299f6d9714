"""The live program: sources, detectors, trackers, estimator, smoothers, renderers, sinks, pipeline, command line."""

from bodycast.no_telemetry import switch_off

switch_off()
