#!/usr/bin/env bash
# Makes sure that the system libraries of OpenCV and of headless OpenGL are there (Debian, Ubuntu; elsewhere: does nothing).
# Says what is missing and the command for it, then runs that command where it may (root and apt-get); BODYCAST_NO_APT=1
# keeps it from that. Elsewhere the one line with the command is all.
# Exit code 1 only if OpenCV cannot work without what is missing; without OpenGL the overlay is drawn on the CPU.
set -euo pipefail

[ "$(uname -s)" = Linux ] || exit 0
ldconfig=$(command -v ldconfig || echo /sbin/ldconfig)
[ -x "$ldconfig" ] || exit 0
known=$("$ldconfig" -p)

has() { grep -q "[[:space:]]$1 " <<<"$known"; }

needed=()
has libGL.so.1 || needed+=(libgl1)
has libgthread-2.0.so.0 || needed+=(libglib2.0-0)
wished=()
has libEGL.so.1 || wished+=(libegl1)
has libEGL_mesa.so.0 || has libEGL_nvidia.so.0 || wished+=(libegl-mesa0 libgl1-mesa-dri libglx-mesa0)

packages=("${needed[@]}" "${wished[@]}")
[ ${#packages[@]} -gt 0 ] || exit 0

command="apt-get install -y --no-install-recommends ${packages[*]}"
if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ] && [ -z "${BODYCAST_NO_APT:-}" ]; then
    echo "system libraries are missing (OpenCV, headless OpenGL): ${packages[*]}"
    echo "calling now: apt-get update && $command   (Ctrl-C stops it, BODYCAST_NO_APT=1 leaves it to you)"
    if apt-get update -qq && DEBIAN_FRONTEND=noninteractive $command -qq >/dev/null; then
        exit 0
    fi
    echo "could not install them: apt-get failed" >&2
fi

if [ ${#needed[@]} -gt 0 ]; then
    echo "system libraries are missing that OpenCV needs: ${packages[*]}. Debian, Ubuntu: sudo $command" >&2
    exit 1
fi
echo "no OpenGL (${packages[*]} are missing), the overlay is drawn on the CPU. Debian, Ubuntu: sudo $command" >&2
