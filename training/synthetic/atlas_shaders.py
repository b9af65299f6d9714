"""The GLSL of the atlas renderer: skinning in the vertex shader, cloth, skin, light and shadow in the fragment shader.

Light: ambient irradiance as nine spherical-harmonic colours (Ramamoorthi and Hanrahan, "An Efficient Representation for
Irradiance Environment Maps", SIGGRAPH 2001), and one lamp whose shadow map is filtered by percentage (Reeves et al.,
SIGGRAPH 1987). Software renderers run both sides of every branch, and a block of 16 pixels for every small triangle: so
skin and cloth are programs of their own, and what varies slowly is done per vertex.
"""

from __future__ import annotations

from training.synthetic.drawn import MAX_LAYERS, ROWS_PER_LAYER

_HEADER = f"""
#version 330
const int ROWS = {ROWS_PER_LAYER};
uniform vec4 look[{MAX_LAYERS * ROWS_PER_LAYER}];
"""

_SKINNING = """
uniform vec4 motion[72];     // three rows a joint: rest space -> camera frame
uniform mat4 projection;
in vec3 in_position;
in vec3 in_normal;
in vec3 in_canonical;
in vec3 in_limb;
in vec2 in_uv;
in uvec4 in_joint;
in vec4 in_weight;
in uvec4 in_tag;             // part, layer, unused, unused

mat3x4 blended() {           // rows of a rigid motion, as columns of a mat3x4
    mat3x4 m = mat3x4(0.0);
    float total = 0.0;
    for (int k = 0; k < 4; k++) {
        float w = in_weight[k];
        int j = int(in_joint[k]) * 3;
        m[0] += w * motion[j];
        m[1] += w * motion[j + 1];
        m[2] += w * motion[j + 2];
        total += w;
    }
    return m / max(total, 1e-6);
}
vec3 moved(mat3x4 m, vec4 p) { return vec3(dot(m[0], p), dot(m[1], p), dot(m[2], p)); }
"""

_CUT = """
flat in int layer;
in vec3 limb;
in vec3 canonical;
bool cut_away() {
    vec4 cut = look[layer * ROWS + 4];
    float x = canonical.x / 0.06;
    float dip = canonical.z > 0.0 ? look[layer * ROWS + 5].x * exp(-x * x) : 0.0;
    bool torso = limb.x <= 0.0;
    return limb.x > cut.x || (torso && (limb.y > cut.y || limb.y < cut.z || limb.z > cut.w - dip));
}
"""

COLOUR_VERTEX = (
    _HEADER
    + _SKINNING
    + """
uniform mat4 to_shadow;      // camera frame -> this crop's cell of the shadow map, 0..1
uniform vec3 ambient[9];
out vec3 view_position;
out vec3 view_normal;
out vec3 canonical;
out vec3 limb;
out vec2 uv;
out vec3 shadow_place;
out vec3 sky;
flat out int layer;

vec3 irradiance(vec3 n) {
    vec3 e = ambient[0] + ambient[1] * n.y + ambient[2] * n.z + ambient[3] * n.x + ambient[4] * n.x * n.y
        + ambient[5] * n.y * n.z + ambient[6] * (3.0 * n.z * n.z - 1.0) + ambient[7] * n.x * n.z
        + ambient[8] * (n.x * n.x - n.y * n.y);
    return max(e, vec3(0.0));
}

void main() {
    mat3x4 m = blended();
    vec3 p = moved(m, vec4(in_position, 1.0));
    view_position = p;
    view_normal = moved(m, vec4(in_normal, 0.0));
    vec3 n = normalize(view_normal);
    n = dot(n, p) > 0.35 * length(p) ? -n : n;
    sky = irradiance(n);
    canonical = in_canonical;
    limb = in_limb;
    uv = in_uv;
    layer = int(in_tag.y);
    shadow_place = (to_shadow * vec4(p + 0.012 * n, 1.0)).xyz;  // off the surface, which would shade itself
    gl_Position = projection * vec4(p, 1.0);
    // Outer layers win by a few millimetres where they cross inner ones; what is seen does not move.
    float nearer = 1.0 - look[layer * ROWS + 5].w / max(length(p), 0.05);
    gl_Position.z += projection[3][2] * (1.0 / nearer - 1.0);
}
"""
)

SHADOW_VERTEX = (
    _HEADER
    + _SKINNING
    + """
out vec3 canonical;
out vec3 limb;
flat out int layer;
void main() {
    canonical = in_canonical;
    limb = in_limb;
    layer = int(in_tag.y);
    gl_Position = projection * vec4(moved(blended(), vec4(in_position, 1.0)), 1.0);
}
"""
)

SHADOW_FRAGMENT = (
    _HEADER
    + _CUT
    + """
void main() { if (cut_away()) discard; }
"""
)

PART_VERTEX = (
    _HEADER
    + _SKINNING
    + """
flat out float part;
void main() {
    part = float(in_tag.x);
    gl_Position = projection * vec4(moved(blended(), vec4(in_position, 1.0)), 1.0);
}
"""
)

PART_FRAGMENT = """
#version 330
uniform float labelled;
flat in float part;
out vec4 fragment;
void main() { fragment = vec4(labelled * part / 255.0, 0.0, 0.0, 1.0); }
"""

_LIGHT = """
uniform vec3 lamp_direction;   // towards the lamp, camera frame
uniform vec3 lamp_colour;
uniform vec4 softness;         // shadow blur (0..1 of the map), lamp share left in shadow, ambient lost in it, wrinkles
uniform vec2 atlas;            // size of one crop's cell of the shadow map, 0..1
uniform vec4 cell;             // of this crop in the shadow map: low x, low y, high x, high y
uniform sampler2D grain;       // tileable: rgb a tilt of the normal, a a shade
uniform sampler2DShadow shadow;
in vec3 view_position;
in vec3 view_normal;
in vec2 uv;
in vec3 shadow_place;
in vec3 sky;
out vec4 fragment;

float tap(float x, float y, float depth) {
    vec2 place = shadow_place.xy + softness.x * vec2(x, y) * atlas;
    return texture(shadow, vec3(clamp(place, cell.xy, cell.zw), depth));
}
float lit(float slope) {
    float z = shadow_place.z - 0.003 - 0.008 * slope;
    return 0.25 * (tap(0.9, 0.4, z) + tap(-0.4, 0.9, z) + tap(-0.9, -0.4, z) + tap(0.4, -0.9, z));
}
vec3 facing_normal() {
    vec3 n = normalize(view_normal);
    return dot(n, view_position) > 0.0 ? -n : n;
}
vec4 shaded(vec3 albedo, vec3 diffuse, vec3 n, float kept, float open, float gloss) {
    vec3 eye = -normalize(view_position);
    vec3 colour = albedo * albedo * (sky * open + diffuse * kept * lamp_colour);
    float hit = max(dot(n, normalize(lamp_direction + eye)), 0.0);
    float rim = 1.0 - max(dot(n, eye), 0.0);
    hit *= hit; hit *= hit; hit *= hit;
    float polish = hit * mix(1.0, hit * hit, gloss);
    colour += gloss * (0.35 * kept * polish * lamp_colour + 0.25 * rim * rim * rim * rim * sky * open);
    colour = colour * (1.0 + colour * 0.12) / (1.0 + 0.35 * colour);  // a soft shoulder, as cameras have one
    return vec4(sqrt(clamp(colour, 0.0, 1.0)), 1.0);
}
"""

SKIN_FRAGMENT = (
    _HEADER
    + """
in vec3 canonical;
uniform vec4 head_box;         // axis x, axis z, top, low of the painted heads, m
uniform sampler2DArray heads;
"""
    + _LIGHT
    + """
void main() {
    vec4 tone = look[0];
    vec2 around = canonical.xz - head_box.xy;
    vec2 p = vec2(0.5 + atan(around.x, around.y) / 6.2831853, (head_box.z - canonical.y) / (head_box.z - head_box.w));
    vec4 paint = textureLod(heads, vec3(p, tone.w), 0.0);
    // Tone charts reach farther than skin in photographs, and are paler: blood shows through.
    vec3 albedo = mix(tone.rgb, paint.rgb, canonical.y > head_box.w ? paint.a : 0.0);
    albedo = (0.06 + 0.94 * albedo) * vec3(1.0, 0.92, 0.86);
    vec3 n = facing_normal();
    float facing = dot(n, lamp_direction);
    float seen = lit(1.0 - clamp(facing, 0.0, 1.0));
    float shade = texture(grain, canonical.xy * 2.3 + canonical.z * vec2(1.7, 1.1)).a;
    // Light creeps around skin, red farthest.
    vec3 diffuse = max((vec3(facing) + vec3(0.22, 0.1, 0.06)) / vec3(1.22, 1.1, 1.06), 0.0);
    fragment = shaded(albedo * (0.95 + 0.1 * shade), diffuse, n, mix(softness.y, 1.0, seen),
                      1.0 - softness.z * (1.0 - seen), look[3].z);
}
"""
)

AVATAR_FRAGMENT = (
    _HEADER
    + """
flat in int layer;
uniform sampler2DArray avatars;
"""
    + _LIGHT
    + """
void main() {
    vec4 first = look[layer * ROWS], fourth = look[layer * ROWS + 3];
    vec3 albedo = texture(avatars, vec3(uv, first.w)).rgb;
    vec3 n = facing_normal();
    float facing = dot(n, lamp_direction);
    float seen = lit(1.0 - clamp(facing, 0.0, 1.0));
    float diffuse = max((facing + 0.08) / 1.08, 0.0);
    fragment = shaded(albedo, vec3(diffuse), n, mix(softness.y, 1.0, seen), 1.0 - softness.z * (1.0 - seen), fourth.z);
}
"""
)

CLOTH_FRAGMENT = (
    _HEADER
    + _CUT
    + """
uniform sampler2DArray cloth;
uniform sampler2DArray prints;
uniform sampler2D folds;       // tileable: r height of the cloth, a how deep in a fold
uniform float fold_m;          // height of the folds; 0: none
"""
    + _LIGHT
    + """
vec3 folded(vec3 n, float height) {  // bumps without tangents: Mikkelsen, "Bump mapping unparametrized surfaces", 2010
    vec3 across = dFdx(view_position), down = dFdy(view_position);
    vec3 r1 = cross(down, n), r2 = cross(n, across);
    float area = dot(across, r1);
    vec3 slope = (dFdx(height) * r1 + dFdy(height) * r2) * sign(area);
    return normalize(abs(area) * n - slope);
}
void main() {
    if (cut_away()) discard;
    int first = layer * ROWS;
    vec4 a = look[first], b = look[first + 1], c = look[first + 2], d = look[first + 3], e = look[first + 5];
    vec4 box = look[first + 6];
    int kind = int(d.w + 0.5);
    float s = sin(c.w), co = cos(c.w);
    vec2 p = vec2(co * uv.x - s * uv.y, s * uv.x + co * uv.y) * b.w * 2.0 + d.xy;
    vec3 t = texture(cloth, vec3(p, a.w)).rgb;
    vec3 albedo = mix(mix(a.rgb, b.rgb, t.r), c.rgb, t.g) * (0.75 + 0.5 * t.b);
    vec2 q = (canonical.xy - box.xy) / max(box.zw, vec2(1e-3));
    bool front = e.z > 0.5;
    bool printed = e.y >= 0.0 && limb.x < 0.3 && max(abs(q.x), abs(q.y)) < 1.0 && (canonical.z > 0.0) == front;
    vec2 r = vec2(front ? q.x : -q.x, -q.y) * 0.5 + 0.5;
    vec4 picture = texture(prints, kind == 2 ? vec3(p, a.w) : vec3(r, max(e.y, 0.0)));
    albedo = kind == 2 ? picture.rgb : mix(albedo, picture.rgb, printed ? picture.a : 0.0);
    vec4 fine = texture(grain, canonical.xy * vec2(3.1, 2.3) + canonical.z * vec2(1.7, 1.1));
    float worn = kind == 4 ? 0.15 : 1.0;  // things do not wrinkle
    vec4 fold = texture(folds, (canonical.xy * vec2(1.9, 1.5) + canonical.z * vec2(1.1, 0.7)) + d.xy);
    vec3 round_normal = facing_normal();
    vec3 bent = fold_m > 0.0 && kind != 4 ? folded(round_normal, fold_m * fold.r) : round_normal;
    vec3 n = normalize(bent + worn * softness.w * (fine.rgb - 0.5));
    float facing = dot(n, lamp_direction);
    float seen = lit(1.0 - clamp(facing, 0.0, 1.0));
    if (kind == 3) {
        fragment = vec4(0.0, 0.0, 0.0, (1.0 - seen) * b.w);
        return;
    }
    albedo *= 1.0 + worn * 0.16 * (fine.a - 0.5);
    float kept = mix(softness.y, 1.0, seen), open = 1.0 - softness.z * (1.0 - seen);
    open *= 1.0 - min(60.0 * worn * fold_m, 0.45) * fold.a;  // little sky falls into a fold
    fragment = shaded(albedo, vec3(max(facing, 0.0)), n, kept, open, d.z);
}
"""
)
