"""FBX and USD, made by a Blender that the user has: from our .glb, without a window.

`--blender` names Blender, or a Python in whose environment `bpy` is installed; else `blender` is looked for on the
path. Neither is ever installed here: bpy wants its own Python and NumPy.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from bodycast.app.errors import RunError, UsageError, cannot_write
from bodycast.app.files.output_file import write_whole

LIMIT_S = 600.0
SCRIPT = Path(__file__).with_name("blender_script.py")
WAY_OUT = (
    "install Blender (blender.org) or give it with --blender; or `python3.11 -m venv bpy && bpy/bin/pip install bpy` "
    "and --blender bpy/bin/python; or export a .glb"
)


def convert_with_blender(write: Callable[[Path], object], target: Path, blender: str | None, fps: float) -> Path:
    """Let `write` make a .glb, and Blender `target` of it, at `fps` frames a second.

    Raises: UsageError without Blender; RunError where it fails.
    """
    program = blender or shutil.which("blender")
    if program is None or shutil.which(program) is None:
        raise UsageError(f"{target}: {target.suffix} files are made by Blender, which was not found: {WAY_OUT}")
    with tempfile.TemporaryDirectory() as folder:
        source, made = Path(folder) / "motion.glb", Path(folder) / f"made{target.suffix.lower()}"
        write(source)
        python = "python" in Path(program).name.lower()
        # A copy: the folder of a script is on its Python's path, and ours has modules with names of the library's.
        script = shutil.copy(SCRIPT, folder)
        start = [program, script] if python else [program, "--background", "--python", script]
        command = [*start, "--", str(source), str(made), f"{fps:.6f}"]
        # Nothing of this program's environment is meant for Blender's own Python.
        environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=LIMIT_S, env=environment, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise RunError(f"{target}: Blender could not convert it ({error})") from error
        if done.returncode != 0 or not made.is_file():
            said = (done.stderr.strip() or done.stdout.strip()).splitlines()
            raise RunError(f"{target}: Blender could not convert it ({said[-1] if said else 'it said nothing'})")
        try:
            with made.open("rb") as content:
                write_whole(target, lambda stream: shutil.copyfileobj(content, stream))
        except OSError as error:
            raise cannot_write(target, error) from error
    return target
