"""Parity with the official implementations, from tensors they produced on tiny random configurations.

A golden file (`.npz`) holds a state dict under the official key names, inputs, outputs and a `meta` text. For
each family of files there is one adapter in this package:

    def run(golden: Golden) -> dict[str, NDArray | Ours]

It builds our network from `golden.config` and the tensors' shapes (never from the file's name), loads the state
dict through a key map, and returns our value for every output of the file, by name (more is ignored, less is off).
`families.py` says which adapter reads which file and imports it only then; `runner.py` compares and prints. Adapters
run under `torch.no_grad()`.
"""

from evaluation.goldens.record import Golden, Ours

__all__ = ["Golden", "Ours"]
