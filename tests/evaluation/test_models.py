"""The table of networks: what it counts, what it lists, what it refuses."""

from __future__ import annotations

import json

import pytest

from bodycast.hmr.networks.registry import find
from evaluation import models


def test_a_row_is_counted_and_stands_beside_the_paper():
    row = models.measure(find("hmr2-s"))
    assert row.parameters_m == pytest.approx(23.97, rel=0.001)
    assert (row.gmacs, row.product_gmacs) == pytest.approx((4.16, 0.34), rel=0.02)
    assert (row.paper_parameters_m, row.paper_gmacs) == (23.97, 4.16)
    text = models.format_rows([row])
    assert text.splitlines()[1].split()[:6] == ["hmr2-s", "23.97", "4.16", "0.34", "24.0", "4.2"]


def test_selection_by_pattern_and_kind(capsys):
    assert [spec.name for spec in models.select(["swin-t-*"], "hmr")] == ["swin-t-s2", "swin-t-s3", "swin-t-s4"]
    assert {spec.kind for spec in models.select([], "temporal")} == {"temporal"}
    assert models.main(["resnext-*"]) == 2
    assert "no registered network fits resnext-*" in capsys.readouterr().err


def test_json(capsys):
    assert models.main(["swin-t-s2", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["name"] == "swin-t-s2" and row["parameters_m"] == pytest.approx(3.43, rel=0.01)
