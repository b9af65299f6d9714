"""The pipeline with synthetic stages: who runs where, what is waited for, what is dropped, what repeats."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

import numpy as np

from bodycast.app.pipeline.pipeline import Pipeline
from bodycast.app.pipeline.stages import PipelineOptions
from bodycast.app.records import FrameResult
from tests.live.fakes import (
    FakeDetector,
    FakeEstimator,
    FakeRenderer,
    FakeWindow,
    MemorySink,
    World,
    picture,
    walk,
)


def test_every_frame_of_a_file_reaches_every_sink_in_order() -> None:
    world = World(images=walk(30), sinks=[MemorySink("one"), MemorySink("two")])
    summary = Pipeline(world.stages()).run()
    assert summary.failure is None
    assert summary.exit_reason == "end of source"
    assert (summary.frames_in, summary.frames_out) == (30, 30)
    for sink in world.sinks:
        assert [entry[0] for entry in sink.kept] == list(range(30))
        assert sink.closes == 1
    assert sum(summary.dropped.values()) == 0


def test_boxes_follow_the_person_and_the_id_stays() -> None:
    world = World(images=walk(30, step_px=3.0))
    Pipeline(world.stages()).run()
    for index, ids, boxes in world.sinks[0].kept:
        assert ids == [1]
        padded = [20 + 3 * index - 2, 40 - 5, 60 + 3 * index + 2, 140 + 5]
        np.testing.assert_allclose(boxes[0], padded, atol=1.5)


def test_the_detector_runs_rarely_and_the_engine_once_per_frame() -> None:
    world = World(images=walk(61), options=PipelineOptions(detect_every_s=0.5))
    Pipeline(world.stages()).run()
    np.testing.assert_allclose(world.detector.asked_s, [0.0, 0.5, 1.0, 1.5, 2.0], atol=1e-6)
    assert world.estimator.batches == [1] * 61


def test_all_people_of_a_frame_go_through_the_engine_as_one_batch() -> None:
    three = picture([(10, 40, 50, 140), (100, 40, 140, 140), (200, 40, 240, 140)])
    world = World(images=[three] * 5)
    Pipeline(world.stages()).run()
    assert world.estimator.batches == [3] * 5


def test_a_file_gives_the_same_results_twice() -> None:
    runs: list[list[object]] = []
    for delay_s in (0.0, 0.003):
        images = walk(20) + [picture([])] * 10 + walk(20)
        world = World(images=images, detector=FakeDetector(delay_s=delay_s), sinks=[MemorySink(delay_s=delay_s)])
        Pipeline(world.stages()).run()
        runs.append(world.sinks[0].kept)
    assert runs[0] == runs[1]


def test_inference_drawing_and_sinks_have_threads_of_their_own_and_the_window_the_callers() -> None:
    renderers: list[FakeRenderer] = []

    def make() -> FakeRenderer:
        renderers.append(FakeRenderer())
        return renderers[-1]

    world = World(images=walk(5), make_renderer=make, sinks=[MemorySink("one"), MemorySink("two")], window=FakeWindow())
    Pipeline(world.stages()).run()
    assert renderers[0].threads == {"drawing"}
    assert renderers[0].closed
    assert [sink.thread for sink in world.sinks] == ["one", "two"]
    assert world.detector.threads == {"inference"}
    assert world.window is not None
    assert world.window.thread == threading.current_thread().name
    assert world.window.writes == 5


def test_a_slow_sink_holds_a_file_back_and_loses_nothing() -> None:
    slow = MemorySink(delay_s=0.02)
    world = World(images=walk(40), sinks=[slow], options=PipelineOptions(sink_queue=2))
    summary = Pipeline(world.stages()).run()
    assert [entry[0] for entry in slow.kept] == list(range(40))
    assert sum(summary.dropped.values()) == 0
    assert summary.seconds >= 40 * 0.02


def test_a_slow_sink_of_a_live_source_drops_and_counts_and_the_others_get_all() -> None:
    slow, quick = MemorySink("slow", delay_s=0.1), MemorySink("quick")
    world = World(images=walk(60), live=True, fps=100.0, sinks=[slow, quick], options=PipelineOptions(sink_queue=1))
    summary = Pipeline(world.stages()).run()
    assert summary.dropped["slow"] > 0
    assert slow.writes + summary.dropped["slow"] == summary.frames_out
    assert quick.writes + summary.dropped["quick"] == summary.frames_out
    assert quick.writes > slow.writes
    indices = [entry[0] for entry in slow.kept]
    assert indices == sorted(set(indices))


def test_slow_drawing_of_a_live_source_drops_results_rather_than_queueing_them() -> None:
    world = World(images=walk(60), live=True, fps=100.0, make_renderer=lambda: FakeRenderer(delay_s=0.05))
    summary = Pipeline(world.stages()).run()
    assert summary.dropped["drawing"] > 0
    assert summary.frames_out + summary.dropped["drawing"] == summary.frames_in


def test_a_slow_engine_of_a_live_source_gets_the_newest_frame() -> None:
    world = World(images=walk(60), live=True, fps=200.0, estimator=FakeEstimator(delay_s=0.02))
    summary = Pipeline(world.stages()).run()
    assert summary.dropped["source"] > 0
    assert 30 < summary.frames_in + summary.dropped["source"] <= 60
    assert world.sinks[0].kept[-1][0] >= 57


def test_a_slow_detector_never_blocks_a_live_source() -> None:
    world = World(images=walk(60, step_px=0.3), live=True, fps=100.0, detector=FakeDetector(delay_s=0.2))
    pipeline = Pipeline(world.stages(), PipelineOptions(detect_every_s=0.0))
    summary = pipeline.run()
    assert world.detector.threads == {"detector"}
    # Waiting for the detector would be 200 ms in every frame, three frames in all.
    assert pipeline.times.summary()["frame"].p50_ms < 100
    assert summary.frames_in > 10
    assert world.sinks[0].kept[-1][1] == [1]


def test_a_cut_ends_all_tracks_and_detects_at_once() -> None:
    first = [picture([(0, 0, 160, 180)])] * 10
    second = [picture([(160, 0, 320, 180)])] * 10
    world = World(images=first + second, options=PipelineOptions(detect_every_s=10.0))
    Pipeline(world.stages()).run()
    assert world.tracker.resets == 1
    assert world.smoother.resets == 1
    np.testing.assert_allclose(world.detector.asked_s, [0.0, 10 / 30], atol=1e-6)
    assert world.sinks[0].kept[9][1] == [1]
    assert world.sinks[0].kept[10][1] == [2]


def test_a_person_without_an_answer_is_left_out_of_a_frame_and_stays_followed() -> None:
    world = World(images=walk(10), estimator=FakeEstimator(silent_at=4))
    Pipeline(world.stages()).run()
    assert [len(entry[1]) for entry in world.sinks[0].kept] == [1, 1, 1, 1, 0, 1, 1, 1, 1, 1]
    assert world.sinks[0].kept[9][1] == [1]


def test_nothing_is_drawn_when_nobody_looks() -> None:
    seen: list[bool] = []
    sink = MemorySink(keep=lambda result: seen.append(result.overlay is result.frame.image))
    summary = Pipeline(World(images=walk(3), make_renderer=None, sinks=[sink]).stages()).run()
    assert seen == [True] * 3
    assert summary.renderer == "none"


def test_closing_the_window_ends_the_run_in_good_order() -> None:
    window = FakeWindow(quit_after=3)
    world = World(images=walk(1000), window=window, sinks=[MemorySink()])
    summary = Pipeline(world.stages()).run()
    assert summary.exit_reason == "window closed"
    assert summary.failure is None
    assert window.closes >= 1
    assert world.sinks[0].closes == 1
    assert 3 <= world.sinks[0].writes < 100


def test_a_film_in_a_window_plays_no_faster_than_it_was_filmed() -> None:
    summary = Pipeline(World(images=walk(16), fps=30.0, window=FakeWindow()).stages()).run()
    assert summary.seconds >= 0.45


def test_stage_times_are_there_for_every_stage() -> None:
    world = World(images=walk(12))
    pipeline = Pipeline(world.stages())
    pipeline.run()
    summary = pipeline.times.summary()
    assert {"wait", "detect", "detector", "follow", "crop", "estimate", "smooth", "body", "draw", "memory"} <= set(
        summary
    )
    assert summary["estimate"].count == 12
    assert summary["frame"].p50_ms <= summary["frame"].p95_ms <= summary["frame"].p99_ms


def test_what_a_camera_shows_before_the_run_begins_is_not_counted_as_dropped() -> None:
    world = World(images=walk(80), live=True, fps=200.0)
    pipeline = Pipeline(world.stages())
    time.sleep(0.2)
    summary = pipeline.run()
    assert summary.frames_in + summary.dropped["source"] < 60


def test_people_of_still_pictures_are_written_though_one_look_proves_little_in_a_film() -> None:
    left, right = picture([(20, 40, 60, 140)]), picture([(200, 0, 320, 180)])
    sink = MemorySink()
    weak = FakeDetector(score=0.6)
    Pipeline(World(images=[left, right], detector=weak, sinks=[sink]).stages()).run()
    assert [entry[1] for entry in sink.kept] == [[1], [2]]


def test_a_picture_of_another_size_is_a_shot_of_its_own() -> None:
    wide = np.zeros((180, 420, 3), np.uint8)
    wide[40:140, 20:60] = picture([(20, 40, 60, 140)])[100, 40]
    sink = MemorySink()
    Pipeline(World(images=[*walk(3, step_px=0), wide], sinks=[sink]).stages()).run()
    assert [entry[1] for entry in sink.kept] == [[1], [1], [1], [2]]


def test_no_more_frames_than_asked_for() -> None:
    world = World(images=walk(30))
    pipeline = Pipeline(world.stages(), PipelineOptions(max_frames=7))
    summary = pipeline.run()
    assert (summary.frames_in, summary.frames_out, summary.exit_reason) == (7, 7, "7 frames, as asked for")
    assert pipeline.progress().frame_count == 7
    assert world.sinks[0].closes == 1 and summary.hanging == ()


def test_the_selfie_view_mirrors_the_window_and_not_the_files() -> None:
    def columns(result: FrameResult) -> list[int]:
        return result.overlay[0, [0, -1]].max(axis=-1).tolist()

    window = FakeWindow()
    window._keep = columns
    sink = MemorySink(keep=columns)
    world = World(images=walk(8), window=window, sinks=[sink])
    assert Pipeline(world.stages(), PipelineOptions(hud=False, mirror=True)).run().failure is None
    assert window.kept == [pair[::-1] for pair in sink.kept]
    assert any(left != right for left, right in sink.kept)


def test_every_frames_meshes_are_remembered_under_the_tracks_ids_for_the_next_ones_masks() -> None:
    kept: list[tuple[list[int], int]] = []
    stages = replace(
        World(images=walk(12)).stages(), remember=lambda id, vertices, _: kept.append((id.tolist(), len(vertices)))
    )
    Pipeline(stages).run()
    assert len(kept) == 12 and kept[-1][1] == 1
    assert len({tuple(ids) for ids, people in kept if people}) == 1  # one track, one id


def test_skeletons_are_drawn_over_what_the_renderer_gives() -> None:
    pictures = []
    for skeletons in (False, True):
        sink = MemorySink()
        sink.write = lambda result: pictures[-1].append(result.overlay.copy())  # type: ignore[method-assign]
        pictures.append([])
        world = World(images=walk(4), sinks=[sink], make_renderer=FakeRenderer)
        world.options = replace(world.options, draw="both" if skeletons else "mesh")
        Pipeline(world.stages(), world.options).run()
    assert len(pictures[0]) == len(pictures[1]) == 4
    assert any((plain != drawn).any() for plain, drawn in zip(*pictures, strict=True))
