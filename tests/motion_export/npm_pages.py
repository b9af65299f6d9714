"""Pages for a headless Chromium that load exported files with three.js and three-vrm, from the test's own server.

BODYCAST_NODE_MODULES names a node_modules folder with three, @pixiv/three-vrm, @pixiv/three-vrm-animation and
gltf-validator; none of them is part of this repository.
"""

from __future__ import annotations

import functools
import http.server
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

NODE_MODULES = os.environ.get("BODYCAST_NODE_MODULES", "")

_PAGE = """<!doctype html><link rel="icon" href="data:,"><script type="importmap">{"imports": {
"three": "/modules/three/build/three.module.js", "three/addons/": "/modules/three/examples/jsm/",
"@pixiv/three-vrm": "/modules/@pixiv/three-vrm/lib/three-vrm.module.js",
"@pixiv/three-vrm-animation": "/modules/@pixiv/three-vrm-animation/lib/three-vrm-animation.module.js"
}}</script><script type="module">
import * as THREE from "three"
import { GLTFLoader } from "three/addons/loaders/GLTFLoader.js"
const once = action => { action.setLoop(THREE.LoopOnce); action.clampWhenFinished = true; action.play() }
const place = node => { const at = node.getWorldPosition(new THREE.Vector3()); return [at.x, at.y, at.z] }
window.playGlb = async (url, times) => {
  const gltf = await new GLTFLoader().loadAsync(url)
  const mixer = new THREE.AnimationMixer(gltf.scene)
  gltf.animations.forEach(clip => once(mixer.clipAction(clip)))
  const meshes = []
  gltf.scene.traverse(node => { if (node.isSkinnedMesh) meshes.push(node) })
  const people = Object.fromEntries(meshes.map(mesh => [mesh.name, { joints: [], skin: [] }]))
  for (const time of times) {
    mixer.setTime(time)
    gltf.scene.updateMatrixWorld(true)
    for (const mesh of meshes) {
      mesh.skeleton.update()
      people[mesh.name].joints.push(mesh.skeleton.bones.map(place))
      const some = []
      for (let vertex = 0; vertex < mesh.geometry.attributes.position.count; vertex += 100) {
        const at = mesh.getVertexPosition(vertex, new THREE.Vector3())
        mesh.localToWorld(at)
        some.push([at.x, at.y, at.z])
      }
      people[mesh.name].skin.push(some)
    }
  }
  return { people, length: Math.max(...gltf.animations.map(clip => clip.duration)),
           floor: gltf.scene.getObjectByName("floor") !== undefined }
}
window.playVrma = async (avatar, url, bones, times) => {
  const { VRMLoaderPlugin } = await import("@pixiv/three-vrm")
  const { VRMAnimationLoaderPlugin, createVRMAnimationClip } = await import("@pixiv/three-vrm-animation")
  const loader = new GLTFLoader()
  loader.register(parser => new VRMLoaderPlugin(parser))
  loader.register(parser => new VRMAnimationLoaderPlugin(parser))
  const vrm = (await loader.loadAsync(avatar)).userData.vrm
  const animations = (await loader.loadAsync(url)).userData.vrmAnimations
  const mixer = new THREE.AnimationMixer(vrm.scene)
  once(mixer.clipAction(createVRMAnimationClip(animations[0], vrm)))
  const joints = []
  for (const time of times) {
    mixer.setTime(time)
    vrm.update(0)
    vrm.scene.updateMatrixWorld(true)
    joints.push(bones.map(bone => place(vrm.humanoid.getRawBoneNode(bone))))
  }
  return { joints, length: animations[0].duration, count: animations.length }
}
window.ready = true
</script>"""


def needs_npm(*packages: str) -> pytest.MarkDecorator:
    """Skips where one of them is missing."""
    there = NODE_MODULES and all((Path(NODE_MODULES) / package).is_dir() for package in packages)
    return pytest.mark.skipif(
        not there, reason=f"BODYCAST_NODE_MODULES names no node_modules folder with {', '.join(packages)}"
    )


class _Handler(http.server.SimpleHTTPRequestHandler):
    def translate_path(self, path: str) -> str:
        if path.startswith("/modules/"):
            return str(Path(NODE_MODULES) / path.removeprefix("/modules/").partition("?")[0])
        return super().translate_path(path)

    def log_message(self, format: str, *args: object) -> None:
        del format, args


@contextmanager
def page_server(folder: Path) -> Iterator[str]:
    """Serves the files of `folder`, the packages and the page; the page's address."""
    (folder / "page.html").write_text(_PAGE, encoding="utf-8")
    handler = functools.partial(_Handler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/page.html"
        server.shutdown()
        thread.join()
