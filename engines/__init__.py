"""Run an exported graph: packages, engines, devices. Knows tensors, not people; imports no other package of ours."""

from bodycast.no_telemetry import switch_off

switch_off()
