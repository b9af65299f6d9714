"""Profiles: every operator of the graph is there, least times count; settings are compared with the engine's."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("onnx", reason="tiny graphs are made with onnx")

from evaluation import operator_times, session_settings
from evaluation.operator_times import OperatorTimes
from evaluation.session_settings import VARIANTS, SettingTime, time_session
from tests.tiny_packages import affine_package, hmr_package


@pytest.mark.parametrize("engine", operator_times.ENGINES)
def test_operators_of_the_graph_are_timed(engine: str, tmp_path: Path) -> None:
    folder = hmr_package(tmp_path / "tiny", (64, 48)).folder
    found = operator_times.measure(folder, engine, threads=1, repeats=4, batch=2)
    assert found.total_ms > 0 and list(found.ms.values()) == sorted(found.ms.values(), reverse=True)
    assert "ReduceMean" in found.ms and found.nodes["ReduceMean"] == 1
    assert (found.package, found.precision, found.engine) == ("tiny", "fp32", engine)


def test_the_table_has_shares_and_sums_up_the_rest() -> None:
    one = OperatorTimes("a", "fp32", "onnxruntime", 2, {"MatMul": 3.0, "Add": 0.98, "Pad": 0.02}, dict.fromkeys("x", 1))
    one.nodes.update(MatMul=4, Add=2, Pad=1)
    two = OperatorTimes("b", "int8", "onnxruntime", 2, {"MatMulInteger": 2.0}, {"MatMulInteger": 5})
    lines = operator_times.table([one, two]).splitlines()
    assert lines[2] == "| MatMulInteger | - | 2.00 (100%, 5) |" and "| MatMul | 3.00 (75%, 4) | - |" in lines
    assert "| the rest | 0.02 (0%, 1) | - |" in lines and lines[-1] == "| together | 4.00 ms | 2.00 ms |"


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_setting_is_one_that_onnxruntime_takes(variant: str, tmp_path: Path) -> None:
    folder = affine_package(tmp_path / "p").folder
    times, cpu_ms = time_session(folder, VARIANTS[variant], threads=2, repeats=2, pause_ms=0)
    assert len(times) == 2 and min(times) > 0 and cpu_ms >= 0


def test_settings_as_a_table() -> None:
    rows = [SettingTime("a", "one thread", 1, 2, 3), SettingTime("b", "one thread", 4, 5, 6)]
    assert session_settings.table(rows).splitlines()[2] == "| one thread | 1.00 (2.00) | 3.0 | 4.00 (5.00) | 6.0 |"


def test_a_package_that_is_not_there_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in (operator_times, session_settings):
        assert command.main([str(tmp_path / "absent")]) == 2
        assert capsys.readouterr().err.count("\n") == 1
        with pytest.raises(SystemExit):
            command.main([str(tmp_path), "--threads", "0"])
        assert "must be at least 1" in capsys.readouterr().err
