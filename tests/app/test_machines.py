"""Machines that are not one's own: another user, nothing that can be written but the output, little memory."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bodycast.app import start

REPOSITORY = Path(__file__).resolve().parents[2]
NOBODY = 65534

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="namespaces and limits of Linux")
DEMO = ("demo", "--no-window", "--max-frames", "6", "--renderer", "none")


def limited(**limits: int) -> Callable[[], None]:
    """Sets limits of the process (`RLIMIT_NOFILE=64`) before a program begins in it."""
    import resource

    def set_limits() -> None:
        for name, value in limits.items():
            resource.setrlimit(getattr(resource, name), (value, value))

    return set_limits


def run(
    *arguments: object, limits: Callable[[], None] | None = None, python: str = sys.executable, **settings: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [python, "-m", "bodycast", *map(str, arguments)],
        cwd=REPOSITORY,
        env=os.environ | settings,
        preexec_fn=limits,
        capture_output=True,
        text=True,
        timeout=300,
    )


AS_NOBODY = """
set -e
mount --make-rprivate /
# Folders on the way to the interpreter that others may not enter are covered, and what is needed is put back in them.
cover() {
    held=$(mktemp -d)
    mount --bind "$2" "$held"
    mount -t tmpfs -o mode=755 tmpfs "$1"
    mkdir -p "$2"
    mount --move "$held" "$2"
}
for base in "$PYTHON_BASE" "$PYTHON_ENVIRONMENT" "$CHECKOUT"; do
    part=""
    for step in $(echo "$base" | tr / ' '); do
        part="$part/$step"
        [ "$part" = "$base" ] || [ -n "$(find "$part" -maxdepth 0 -perm -o+x)" ] || { cover "$part" "$base"; break; }
    done
    mount --bind "$base" "$base"
    mount -o remount,bind,ro "$base"
done
mount -t tmpfs -o ro tmpfs /dev/shm
cd "$CHECKOUT"
exec setpriv --reuid=65534 --regid=65534 --clear-groups --no-new-privs env -i PATH=/usr/bin:/bin LANG=C.UTF-8 \
    OMP_NUM_THREADS=1 XDG_CACHE_HOME=/proc/nowhere TMPDIR="$SCRATCH" "$PYTHON" -m bodycast "$@"
"""


def test_another_user_with_nothing_of_their_own(tmp_path_factory: pytest.TempPathFactory) -> None:
    """No home, a checkout and packages that cannot be written, an unwritable cache, no /dev/shm, 64 files."""
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    for tool in ("unshare", "setpriv"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not on this machine")
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode != 0:
        pytest.skip("no mount namespaces here")
    scratch = Path("/var/tmp") / f"bodycast-test-{os.getpid()}"
    scratch.mkdir()
    os.chown(scratch, NOBODY, NOBODY)
    try:
        done = subprocess.run(
            ["unshare", "--mount", "sh", "-c", AS_NOBODY, "sh", "run", *DEMO, "--output", str(scratch / "out")],
            env=os.environ
            | {
                "PYTHON": sys.executable,
                "PYTHON_BASE": os.path.realpath(sys.base_prefix),
                "PYTHON_ENVIRONMENT": os.path.realpath(sys.prefix),
                "CHECKOUT": str(REPOSITORY),
                "SCRATCH": str(scratch),
            },
            preexec_fn=limited(RLIMIT_NOFILE=64),
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr and "6 of 6 frames" in done.stdout
        assert (scratch / "out" / "motion.npz").stat().st_uid == NOBODY
    finally:
        shutil.rmtree(scratch)


def test_too_little_memory_is_one_line() -> None:
    done = run("run", *DEMO, limits=limited(RLIMIT_AS=400 << 20))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines() == [
        "bodycast: the memory limit of this process (400 MB, ulimit -v) is too small; a run takes about 2000 MB"
    ]


@pytest.mark.slow
@pytest.mark.parametrize("megabytes", [520, 700, 900, 1200, 1600])
def test_memory_that_is_used_up_is_one_line_or_enough(tmp_path: Path, megabytes: int) -> None:
    done = run(
        "run", *DEMO, "--output", tmp_path / "out", limits=limited(RLIMIT_AS=megabytes << 20), OMP_NUM_THREADS="1"
    )
    said = [line for line in done.stderr.splitlines() if line.startswith("bodycast run:")]
    assert done.returncode in (0, 1, 2), done.stderr
    assert len(said) == (done.returncode != 0)
    assert all("ulimit -v" in line for line in said)
    assert "Traceback" not in done.stderr and "a defect" not in done.stderr


def test_a_python_without_the_packages_is_one_line() -> None:
    """What a second user meets whose `python` is not the environment's."""
    done = run("run", *DEMO, python=os.path.realpath(sys.executable), PYTHONPATH="", PYTHONNOUSERSITE="1")
    if done.returncode == 0:
        pytest.skip("the packages are installed outside of an environment")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "is not there for" in done.stderr and "pip install" in done.stderr


@pytest.mark.parametrize(
    ("redirection", "code"), [("2>&-", 0), (">&- 2>&-", 0), ("> /dev/full", 1)], ids=["stderr", "both", "full"]
)
def test_output_that_goes_nowhere(redirection: str, code: int) -> None:
    command = f"'{sys.executable}' -m bodycast licences {redirection}"
    done = subprocess.run(["sh", "-c", command], cwd=REPOSITORY, capture_output=True, text=True, timeout=100)
    assert done.returncode == code
    assert (done.stderr.splitlines() == []) == (code == 0)
    assert "defect" not in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("hidden", ["app", "app/start.py", "app/__init__.py", "app/commands/main.py", "bodycast"])
def test_an_installation_that_may_not_be_read_is_one_line(tmp_path: Path, hidden: str) -> None:
    """Where not even the module is there that says what cannot be imported."""
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("only root can become another user")
    folder = Path("/var/tmp") / f"bodycast-hidden-{os.getpid()}"
    folder.mkdir()
    try:
        for name in ("app", "bodycast"):
            shutil.copytree(REPOSITORY / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("run_webcam.py", "engines"):  # what makes it a checkout
            (folder / name).mkdir() if name == "engines" else shutil.copy(REPOSITORY / name, folder)
        (folder / hidden).chmod(0o700 if (folder / hidden).is_dir() else 0o600)
        python = next((path for path in ("/usr/bin/python3", os.path.realpath(sys.executable))
                       if _can_run_as_nobody(path)), None)  # fmt: skip
        if python is None:
            pytest.skip("no Python that another user may run")
        done = subprocess.run(
            ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", python, "-m", "bodycast", "doctor"],
            cwd=folder,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 1
        assert len(done.stderr.splitlines()) == 1, done.stderr
        if hidden != "bodycast":  # else Python itself says it
            assert f"{folder / hidden}: this user may not read it" in done.stderr
    finally:
        shutil.rmtree(folder)


def _can_run_as_nobody(python: str) -> bool:
    command = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", python, "-c", _NEW_ENOUGH]
    try:
        return subprocess.run(command, capture_output=True, cwd="/").returncode == 0
    except OSError:
        return False


_NEW_ENOUGH = "import sys; sys.exit(sys.version_info < (3, 11))"


@pytest.mark.parametrize(
    "error",
    [
        ModuleNotFoundError("No module named 'foo.bar'", name="foo.bar"),
        ImportError("cannot import name 'bar' from 'foo' (unknown location)", name="foo"),
    ],
)
def test_folders_that_may_not_be_read_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: ImportError
) -> None:
    package = tmp_path / "packages" / "foo"
    package.mkdir(parents=True)
    monkeypatch.setattr(sys, "path", [str(tmp_path / "packages")])
    real = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != package and real(path, mode))
    assert start.why_not_there(error) == (
        f"{package}: this user may not read it; its owner can allow it: chmod -R a+rX {package}"
    )


def test_the_program_begins_without_the_engines_folder() -> None:
    """So that one which may not be read is one line: `start` is imported without it."""
    code = "import sys, bodycast.app.start; print([name for name in sys.modules if name.startswith('bodycast.')])"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert "bodycast.app.start" in done.stdout
    assert "bodycast.engines" not in done.stdout


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OSError(12, "Cannot allocate memory"),
        ImportError("libx.so: failed to map segment from shared object"),
        RuntimeError("std::bad_alloc"),
    ],
)
def test_errors_of_memory_are_known_in_all_their_words(error: Exception) -> None:
    assert start.is_out_of_memory(error)
    assert not start.is_out_of_memory(OSError(2, "No such file or directory"))
