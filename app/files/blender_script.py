"""Run inside Blender's Python, not in ours: `blender --background --python blender_script.py -- IN.glb OUT.fbx FPS`."""

# Blender's Python has types of its own.
# pyright: basic, reportMissingImports=false

from __future__ import annotations

import sys


def main() -> None:
    """IN.glb OUT FPS."""
    import bpy  # there in Blender's Python alone

    source, target, fps = sys.argv[sys.argv.index("--") + 1 :][:3]
    bpy.ops.wm.read_factory_settings(use_empty=True)
    bpy.context.scene.render.fps = max(round(float(fps)), 1)
    bpy.context.scene.render.fps_base = max(round(float(fps)), 1) / float(fps)
    bpy.ops.import_scene.gltf(filepath=source, disable_bone_shape=True)
    ends = [action.frame_range[1] for action in bpy.data.actions]
    bpy.context.scene.frame_start, bpy.context.scene.frame_end = 0, int(max(ends, default=1))
    if target.endswith(".fbx"):
        bpy.ops.export_scene.fbx(
            filepath=target, add_leaf_bones=False, bake_anim_use_nla_strips=False, bake_anim_use_all_actions=False
        )
        return
    for material in bpy.data.materials:  # a plain colour needs no file beside the stage
        for node in list(material.node_tree.nodes):
            if node.type == "TEX_IMAGE":
                colour = tuple(node.image.pixels[:4])
                for link in list(node.outputs["Color"].links):
                    link.to_socket.default_value = colour
                material.node_tree.nodes.remove(node)
    bpy.ops.wm.usd_export(filepath=target, export_animation=True)


if __name__ == "__main__":
    main()
