"""Run an exported graph: packages, engines, devices. Knows tensors, not people; imports no other package of ours."""
