"""Parity with the official implementations, from tensors they produced on tiny random configurations.

A golden file (`.npz`) holds a state dict under the official key names, inputs, outputs and a `meta` text. For
each family of files there is one adapter in this package:

    def run(golden: Golden) -> Mapping[str, Callable[[], Tensor | NDArray | Ours]]

It builds our network from the tensors' shapes and, for what these do not show, from `golden.config` (never from the
file's name), loads the state dict through a key map, and returns for every output a function that gives our value.
Only what a file asks for is computed: inputs and weights that none of its outputs needs may be missing.
A reduced file may hold some elements of an output: `out/NAME` (N,), their flat indices `at/NAME` (N,) and the whole
output's `shape/NAME`. `tests/parity/goldens` has reduced files of 2 MB, which every run of the tests compares.
`families.py` says which adapter reads which file and imports it only then; `runner.py` compares and prints. Adapters
and their functions run under `torch.no_grad()`.
"""

from evaluation.goldens.record import Golden, Ours

__all__ = ["Golden", "Ours"]
