"""Flags, presets and the one line that every mistake gets."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from bodycast.app.command_line import flags_of
from bodycast.app.commands import main as tools
from bodycast.app.commands import run as cli
from bodycast.app.config import RunConfig
from bodycast.app.errors import RunError, UsageError
from bodycast.app.model_packages import REPOSITORY_MODELS
from bodycast.app.presets import HMR_ALONE, PRESETS, networks_of


def parsed(*arguments: str) -> RunConfig:
    return cli.parse_run(arguments, "run_webcam.py")


def test_defaults_are_the_first_camera_and_the_auto_preset_which_starts_from_fast() -> None:
    config = parsed()
    assert (config.source, config.preset) == ("0", "auto")
    assert networks_of(config) == networks_of(parsed("--preset", "fast"))
    assert config.people == PRESETS["fast"].people
    assert config.results.output is None


def test_flags_reach_their_groups() -> None:
    config = parsed(
        *("film.mp4", "--model", "m", "--engine", "openvino", "--detector", "hog", "--detect-every", "0.2"),
        *("--max-people", "3", "--smoother", "none", "--output", "out/x", "--overwrite", "--no-window", "--no-hud"),
        *("--renderer", "cpu", "--fov-deg", "70", "--camera-size", "640", "480"),
    )
    assert config.source == "film.mp4"
    assert (config.network.model, config.network.engine) == ("m", "openvino")
    assert (config.people.detector, config.people.detect_every, config.people.max_people) == ("hog", 0.2, 3)
    assert config.motion.smoother == "none"
    assert config.results.output == Path("out/x")
    assert (config.results.overwrite, config.results.window, config.results.hud) == (True, False, False)
    assert (config.results.renderer, config.lens.fov_deg) == ("cpu", 70)
    assert config.capture.camera_size == (640, 480)


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_sets_defaults_and_flags_go_before_it(name: str) -> None:
    preset = PRESETS[name]
    assert parsed("--preset", name).people == preset.people
    assert parsed("--preset", name).motion == preset.motion
    assert parsed("--preset", name).network == preset.network
    config = parsed("--preset", name, "--detect-every", "3.5")
    assert config.people.detect_every == 3.5
    assert config.motion == preset.motion
    assert parsed("--detect-every", "3.5", "--preset", name) == config


def test_a_flag_may_need_what_the_preset_sets() -> None:
    for given in (("--preset", "quality", "--offline"), ("--offline", "--preset=quality")):
        assert parsed(*given).motion.offline and parsed(*given).motion.smoother == "diffusion"
    with pytest.raises(UsageError, match="--offline is for --smoother diffusion"):
        parsed("--preset", "fast", "--smoother", "one-euro", "--offline")


def test_the_filter_that_waits_for_nothing_is_the_default_and_a_lag_asks_for_the_other() -> None:
    assert parsed().motion.chosen_smoother == "one-euro"
    assert parsed("--lag", "0.2").motion.chosen_smoother == "diffusion"
    assert parsed("--lag", "0").motion.chosen_smoother == "one-euro"
    assert parsed("--offline").motion.chosen_smoother == "diffusion"
    assert parsed("--smoother", "none").motion.chosen_smoother == "none"
    assert parsed("--preset", "quality").motion.chosen_smoother == "diffusion"


def test_presets_differ_and_their_networks_are_there() -> None:
    assert len({repr(preset) for preset in PRESETS.values()}) == len(PRESETS)
    for preset in PRESETS.values():
        for name in (preset.model, preset.keypoints):
            assert name == "none" or (REPOSITORY_MODELS / name / "package.json").is_file()
    assert (REPOSITORY_MODELS / HMR_ALONE / "package.json").is_file()


def test_the_networks_of_a_run_are_the_presets_unless_one_is_named() -> None:
    assert networks_of(parsed()) == ("none", "pose-thunder")
    assert networks_of(parsed("--preset", "lite")) == ("none", "pose-lightning")
    assert networks_of(parsed("--keypoints", "mine")) == ("none", "mine")
    assert networks_of(parsed("--model", "mine")) == ("mine", "none")
    assert networks_of(parsed("--model", "mine", "--keypoints", "pose-thunder")) == ("mine", "pose-thunder")
    assert networks_of(parsed("--keypoints", "none")) == (HMR_ALONE, "none")
    with pytest.raises(UsageError, match="leave nothing that finds bodies"):
        parsed("--model", "none", "--keypoints", "none")


def test_the_flip_test_is_a_flag_and_a_presets_default() -> None:
    assert not parsed().network.flip_test and parsed("--flip-test").network.flip_test
    assert parsed("--preset", "balanced").network.flip_test
    assert not parsed("--preset", "balanced", "--no-flip-test").network.flip_test
    assert parsed().network.refine_keypoints and not parsed("--no-refine-keypoints").network.refine_keypoints


def test_a_window_is_the_default_only_where_there_is_a_display(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.delenv("DISPLAY", raising=False)
    assert not parsed().results.window
    assert parsed("--window").results.window
    monkeypatch.setenv("DISPLAY", ":0")
    assert parsed().results.window


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--outptu", "x"], "unknown flag --outptu; did you mean --output"),
        (["--zzz"], "unknown flag --zzz"),
        (["a.mp4", "b.mp4"], "one argument too many: 'b.mp4'"),
        (["--preset", "best"], "'auto', 'lite', 'fast', 'balanced', 'quality'"),
        (["--detect-every", "soon"], "--detect-every"),
        (["--detect-every", "-1"], "--detect-every -1: expected 0 to 60"),
        (["--max-people", "0"], "--max-people 0: expected 1 to 100"),
        (["--max-frames", "0"], "--max-frames 0: expected 1 to 1e+09"),
        (["--fov-deg", "200"], "--fov-deg 200: expected 1 to 170"),
        (["--fov-deg", "60", "--focal-px", "900"], "give one of them"),
        (["--fov-deg", "60", "--calibration", "cam.yml"], "give one of them"),
        (["--calibration-camera", "left"], "--calibration-camera names a camera of a --calibration"),
        (["--engine", "magic"], "magic"),
        (["--lag", "9"], "--lag 9: expected 0 to 2"),
        (["--target-fps", "0"], "--target-fps 0: expected 1 to 240"),
        (["--max-latency", "60"], "--max-latency 60: expected 0.02 to 10"),
        (["demo", "--no-window", "--output", "never", "--target-fps", "10"], "are for live sources"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert says in err
    assert err.startswith("run_webcam.py: ")
    assert err.count("\n") == 1
    assert "Traceback" not in err


def test_print_config_is_json_of_every_flag(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["demo", "--preset", "lite", "--output", "o", "--print-config"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["source"] == "demo"
    assert document["results"]["output"] == "o"
    names = set(document) | {name for group in document.values() if isinstance(group, dict) for name in group}
    assert {flag.removeprefix("--").replace("-", "_") for flag in flags_of(RunConfig)} <= names


def test_the_configuration_cannot_be_changed() -> None:
    config = parsed()
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.source = "1"  # type: ignore[misc]
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.people.max_people = 2  # type: ignore[misc]


def test_errors_of_a_run_are_one_line_and_exit_code_1(capsys: pytest.CaptureFixture[str]) -> None:
    def fails() -> int:
        raise RunError("camera 0 was lost; plug it in again")

    assert cli.guarded(fails, "prog", debug=False) == 1
    assert capsys.readouterr().err == "prog: camera 0 was lost; plug it in again\n"


def test_a_defect_is_one_line_too_and_debug_shows_where(capsys: pytest.CaptureFixture[str]) -> None:
    def defect() -> int:
        return [1][3]

    assert cli.guarded(defect, "prog", debug=False) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "IndexError" in err
    assert cli.guarded(defect, "prog", debug=True) == 1
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert "return [1][3]" in err


def test_the_debug_flag_shows_the_traceback_of_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["nowhere.mp4", "--no-window", "--output", "/dev/null/x", "--debug"]) == 2
    assert "Traceback" in capsys.readouterr().err


def test_an_interrupt_before_the_run_is_130(capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted() -> int:
        raise KeyboardInterrupt

    assert cli.guarded(interrupted, "prog", debug=True) == 130
    assert "Traceback" not in capsys.readouterr().err


def test_the_overview_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert tools.main(["--help"]) == 0
    out = capsys.readouterr().out
    assert all(f"  {name} " in out for name in tools.COMMANDS)
    assert tools.main([]) == 2
    assert tools.main(["paint"]) == 2
    assert "unknown command 'paint'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["convert", "nowhere.npz", "x.bvh"], "nowhere.npz"),
        (
            ["convert", "nowhere.npz"],
            ": missing OUT The file to write; its ending says the format. Folders are made (see ",
        ),
        (["convert-body", "nowhere.pkl", "x.npz"], "nowhere.pkl"),
        (["run", "nowhere.mp4", "--no-window", "--output", "never"], "nowhere.mp4"),
        (["convert-body", "a", "b", "--force"], "unknown flag --force"),
    ],
)
def test_tools_answer_mistakes_with_one_line(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tools.main(arguments) == 2
    err = capsys.readouterr().err
    assert says in err
    assert err.count("\n") == 1
    assert not Path("never").exists()


def test_usage_errors_say_where_to_look() -> None:
    with pytest.raises(UsageError, match=r"see run_webcam.py --help"):
        parsed("--zzz")
