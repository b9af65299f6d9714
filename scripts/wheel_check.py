"""Try the wheel as a newcomer has it: an empty environment, outside the checkout, nothing of ours on the path.

    python scripts/wheel_check.py [--python PYTHON] [--keep FOLDER]

Builds the wheel, installs it, runs the demo, the doctor and the README's Python snippets, and checks that there is no
torch and how much was installed. Exit code 1, with what failed.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
MOST_MB = 524
"""500 MiB, without what Python compiles for itself."""
FRAMES = "12"
SNIPPET = re.compile(r"```python\n(.*?)```", re.DOTALL)

FACTS = """
import json, sysconfig
from importlib.metadata import distributions
from pathlib import Path
names = sorted(d.metadata["Name"].lower() for d in distributions())
site = Path(sysconfig.get_path("purelib"))
tools = ("pip", "setuptools", "pkg_resources", "_distutils_hack")
files = [file for file in site.rglob("*") if file.is_file() and not file.relative_to(site).parts[0].startswith(tools)]
compiled = sum(file.stat().st_size for file in files if file.suffix == ".pyc")
size = sum(file.stat().st_size for file in files) - compiled
import bodycast
print(json.dumps({"names": names, "mb": size / 1e6, "compiled_mb": compiled / 1e6, "where": bodycast.__file__}))
"""


def run(*command: str | Path, cwd: Path) -> str:
    """Run it; gives its stdout. Raises: SystemExit with its last words where it fails."""
    clean = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(
        [str(word) for word in command], cwd=cwd, env=clean, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise SystemExit(f"failed: {' '.join(map(str, command))[:300]}\n{done.stdout[-1500:]}\n{done.stderr[-3000:]}")
    return done.stdout


def check(python: str, folder: Path) -> None:
    """The whole trial in an empty folder."""
    folder.mkdir(parents=True, exist_ok=True)
    run(python, "-m", "venv", folder / "env", cwd=folder)
    bin_folder = folder / "env" / ("Scripts" if sys.platform == "win32" else "bin")
    inside = bin_folder / ("python.exe" if sys.platform == "win32" else "python")
    pip = (inside, "-m", "pip", "--disable-pip-version-check", "--quiet")
    run(*pip, "wheel", REPOSITORY, "--no-deps", "--wheel-dir", folder / "wheel", cwd=folder)
    (wheel,) = (folder / "wheel").glob("bodycast-*.whl")
    run(*pip, "install", wheel, cwd=folder)

    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    facts = json.loads(run(inside, "-c", FACTS, cwd=elsewhere))
    sizes = f"installed {facts['mb']:.0f} MB, beside them {facts['compiled_mb']:.0f} MB of compiled Python"
    print(f"wheel {wheel.stat().st_size / 1e6:.1f} MB, {sizes}: {', '.join(facts['names'])}")
    if "torch" in facts["names"]:
        raise SystemExit("torch is in the environment")
    if str(REPOSITORY) in facts["where"]:
        raise SystemExit(f"bodycast comes from the checkout: {facts['where']}")
    if facts["mb"] > MOST_MB:
        raise SystemExit(f"{facts['mb']:.0f} MB are installed, at most {MOST_MB} are allowed")

    program = bin_folder / ("bodycast.exe" if sys.platform == "win32" else "bodycast")
    print(run(program, "--version", cwd=elsewhere).strip())
    run(program, "doctor", cwd=elsewhere)
    demo = ("run", "demo", "--no-window", "--renderer", "cpu", "--max-frames", FRAMES)
    run(program, *demo, "--output", elsewhere / "out", cwd=elsewhere)
    for name in ("overlay.mp4", "motion.npz", "run.json"):
        if not (elsewhere / "out" / name).stat().st_size:
            raise SystemExit(f"{name} is empty")
    run(program, "convert", "out/motion.npz", "out/motion.glb", cwd=elsewhere)

    (elsewhere / "film.mp4").write_bytes((elsewhere / "out" / "overlay.mp4").read_bytes())
    snippets = SNIPPET.findall((REPOSITORY / "README.md").read_text(encoding="utf-8"))
    run(inside, "-c", "import cv2; cv2.imwrite('photo.png', cv2.VideoCapture('film.mp4').read()[1])", cwd=elsewhere)
    (elsewhere / "photo.png").rename(elsewhere / "photo.jpg")
    for snippet in snippets:
        run(inside, "-c", snippet, cwd=elsewhere)
    print(f"demo, doctor, convert and {len(snippets)} snippets of the README run")


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", default=sys.executable, help="the interpreter of the new environment")
    parser.add_argument("--keep", type=Path, help="an empty folder to work in, which stays; else a temporary one")
    given = parser.parse_args()
    if given.keep is not None:
        check(given.python, given.keep.resolve())
        return 0
    with tempfile.TemporaryDirectory(prefix="bodycast-wheel-", ignore_cleanup_errors=True) as folder:
        check(given.python, Path(folder))
    return 0


if __name__ == "__main__":
    sys.exit(main())
