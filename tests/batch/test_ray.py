"""The same films through Ray: its scheduler, and its own retry after a worker is killed."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path

import av
import pytest

from bodycast.app.errors import UsageError
from bodycast.app.files.output_folder import MOTION_FILE
from bodycast.app.sources.factory import DEMO_CLIP
from tests.sources.clips import encode

REPOSITORY = Path(__file__).resolve().parents[2]
pytest.importorskip("ray", reason="ray is not installed: requirements/ray.txt")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("films")
    with av.open(str(DEMO_CLIP)) as film:
        images = [frame.to_ndarray(format="bgr24")[::4, ::4] for frame in islice(film.decode(video=0), 60)]
    for number in range(4):
        encode(folder / f"{number}.mp4", images[10 * number : 10 * number + 20])
    return folder


def batch(films: Path, output: Path, *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", "import sys; from bodycast.app.commands.main import main; sys.exit(main())"]
    flags = ["--preset", "lite", "--engine", "onnxruntime", "--renderer", "none", "--workers", "2", *more]
    return subprocess.Popen(
        [*command, "batch", str(films), "--output", str(output), *flags],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def digests(output: Path) -> dict[str, str]:
    return {path.parent.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in output.glob(f"*/{MOTION_FILE}")}


def descendants(process: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        children.setdefault(parent, []).append(int(folder.name))
    found: list[int] = []
    waiting = [process]
    while waiting:
        more = children.get(waiting.pop(), [])
        found += more
        waiting += more
    return found


def task_of(process: int) -> int | None:
    """A worker that has a film now: Ray names processes after what they do."""
    for child in descendants(process):
        try:
            if Path(f"/proc/{child}/cmdline").read_bytes().startswith(b"ray::_task"):
                return child
        except OSError:
            continue
    return None


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks for the worker in /proc")
def test_a_killed_worker_is_retried_by_ray_and_results_are_those_of_the_local_pool(films: Path, tmp_path: Path) -> None:
    ray = batch(films, tmp_path / "ray", "--ray", "auto")
    end_s = time.monotonic() + 120
    while (worker := task_of(ray.pid)) is None:
        assert ray.poll() is None and time.monotonic() < end_s, "no film was ever given to Ray"
        time.sleep(0.02)
    os.kill(worker, signal.SIGKILL)
    said = ray.communicate(timeout=240)[0]
    assert ray.returncode == 0, said
    assert "4 films done (80 frames), 0 failed" in said
    local = batch(films, tmp_path / "local")
    assert local.wait(240) == 0
    assert digests(tmp_path / "ray") == digests(tmp_path / "local") and len(digests(tmp_path / "ray")) == 4


def test_an_address_where_no_ray_is_is_one_line() -> None:
    from bodycast.app.batch.ray_pool import RayOptions, RayPool
    from bodycast.app.commands.batch import BatchConfig

    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0", "off before ray is imported"
    for address, said in (("127.0.0.1:1", "no Ray answers there"), ("somewhere", "expected auto")):
        pool = RayPool(RayOptions(address, 1, 1), BatchConfig().run_config(), Path("out"), lambda *_: ())
        with pytest.raises(UsageError, match=said):
            pool.run([])


def test_films_share_a_gpu_where_there_are_more_at_a_time() -> None:
    from bodycast.app.batch.ray_pool import RayOptions

    assert RayOptions("auto", workers=4, threads=1, gpus=2).gpus_each == 0.5
    assert RayOptions("auto", workers=2, threads=1, gpus=2).gpus_each == 1.0
    assert RayOptions("auto", workers=2, threads=1).gpus_each == 0.0
