"""The GLSL of the people renderer: clothes are painted on the skin by limb coordinates, patterns by rest position."""

from __future__ import annotations

NOISE = """
float hash(vec3 p) {
    uvec3 q = uvec3(ivec3(p)) * uvec3(1597334673u, 3812015801u, 2798796415u);
    uint n = (q.x ^ q.y ^ q.z) * 1597334673u;
    return float(n >> 8) * (1.0 / 16777216.0);
}
float noise(vec3 p) {
    vec3 i = floor(p), f = fract(p);
    f = f * f * (3.0 - 2.0 * f);
    vec4 low = vec4(hash(i), hash(i + vec3(1, 0, 0)), hash(i + vec3(0, 1, 0)), hash(i + vec3(1, 1, 0)));
    vec3 j = i + vec3(0, 0, 1);
    vec4 high = vec4(hash(j), hash(j + vec3(1, 0, 0)), hash(j + vec3(0, 1, 0)), hash(j + vec3(1, 1, 0)));
    vec4 layer = mix(low, high, f.z);
    vec2 row = mix(layer.xz, layer.yw, f.x);
    return mix(row.x, row.y, f.y);
}
"""

PEOPLE_VERTEX = (
    """
#version 330
"""
    + NOISE
    + """
uniform mat4 projection;
in vec3 in_position;
in vec3 in_normal;
in vec3 in_canonical;
in vec3 in_limb;
in float in_part;
out vec3 view_position;
out vec3 view_normal;
out vec3 canonical;
out vec3 limb;
flat out float part;
out vec4 folds;  // bumps of the cloth: a tilt of the normal, and a shade
void main() {
    view_position = in_position;
    view_normal = in_normal;
    vec3 p = in_canonical * 9.0 + 64.0;
    folds = vec4(noise(p), noise(p + 17.0), noise(p + 41.0), noise(in_canonical * vec3(14.0, 7.0, 14.0) + 64.0));
    folds.xyz -= 0.5;
    canonical = in_canonical;
    limb = in_limb;
    part = in_part;
    gl_Position = projection * vec4(in_position, 1.0);
}
"""
)

PEOPLE_FRAGMENT = (
    """
#version 330
"""
    + NOISE
    + """
uniform vec3 colour_a[6];
uniform vec3 colour_b[6];
uniform vec4 weave[6];      // pattern, scale, cos angle, sin angle
uniform vec4 cut_top;       // sleeve, neckline, V of the neck, hem
uniform vec4 cut_bottom;    // waist, trouser, sock, logo
uniform vec2 cut_hair;      // hairline, length
uniform vec3 photo_uv;
uniform vec3 light_direction;  // towards the light, view space
uniform vec3 light_colour;
uniform vec3 ambient_up;
uniform vec3 ambient_down;
uniform vec3 up;               // world up in view space
uniform float shine;
uniform sampler2D photograph;
in vec3 view_position;
in vec3 view_normal;
in vec3 canonical;
in vec3 limb;
in vec4 folds;
out vec4 fragment;

int region() {
    float arm = limb.x, leg = limb.y, head = limb.z, z = canonical.z;
    float face_plane = z - 0.035 + 0.16 * (cut_hair.x - 0.62);
    bool behind = face_plane < 0.05 * (head - 0.5);
    if (head > cut_hair.y && (head > 0.97 - 0.25 * (1.0 - cut_hair.x) || behind)) return 1;
    float neckline = cut_top.y - (z > 0.0 ? cut_top.z * exp(-pow(canonical.x / 0.06, 2.0)) : 0.0);
    if (arm > 0.0) return arm < cut_top.x ? 2 : 0;
    if (head > neckline) return 0;
    if (leg < cut_top.w && arm < cut_top.x) return 2;
    if (leg > 2.05) return 4;
    if (leg > cut_bottom.x && leg < cut_bottom.y) return 3;
    if (leg > cut_bottom.z) return 5;
    return 0;
}

vec3 weave_colour(int r) {
    vec3 a = colour_a[r], b = colour_b[r];
    int pattern = int(weave[r].x + 0.5);
    float scale = weave[r].y;
    // Sleeves keep the pattern of a flat cloth: the arm's own direction takes the place of the height.
    vec2 cloth = limb.x > 0.0 ? vec2(canonical.y + 0.7 * canonical.z, canonical.x) : canonical.xy;
    vec2 p = mat2(weave[r].z, weave[r].w, -weave[r].w, weave[r].z) * cloth;
    float shade = 0.88 + 0.24 * folds.w;
    float t = 0.0;
    if (pattern == 1) t = step(0.5, fract(p.y * scale));
    if (pattern == 2) t = 0.5 * step(0.5, fract(p.x * scale)) + 0.5 * step(0.5, fract(p.y * scale));
    if (pattern == 3) t = step(length(fract(p * scale) - 0.5), 0.28);
    if (pattern == 4) t = noise(canonical * scale + 64.0);
    if (pattern == 5) return texture(photograph, photo_uv.xy + p * photo_uv.z).rgb * shade;
    vec3 colour = mix(a, b, t) * (r == 0 || r == 1 ? 1.0 : shade);
    bool logo = cut_bottom.w > 0.5 && r == 2 && canonical.z > 0.0 && abs(canonical.x) < 0.11 && limb.y < -0.45
        && limb.y > -1.0 && limb.x < 0.0;
    return logo ? texture(photograph, photo_uv.xy + canonical.xy * 4.0).rgb : colour;
}

vec3 paint_face(vec3 colour) {
    // Eyes, brows and mouth, by height on the head: what tells a face from the back of a head.
    float x = abs(canonical.x), h = limb.z;
    if (canonical.z < 0.05) return colour;
    float eye = length(vec2((x - 0.031) / 0.014, (h - 0.585) / 0.028));
    float brow = length(vec2((x - 0.033) / 0.022, (h - 0.665) / 0.016));
    float mouth = length(vec2(x / 0.026, (h - 0.315) / 0.022));
    colour = mix(colour, vec3(0.07, 0.05, 0.05), smoothstep(1.1, 0.8, eye) * 0.85);
    colour = mix(colour, colour_a[1] * 0.8, smoothstep(1.2, 0.7, brow) * 0.8);
    return mix(colour, colour * vec3(0.75, 0.45, 0.45), smoothstep(1.2, 0.7, mouth) * 0.8);
}

void main() {
    int r = region();
    vec3 albedo = weave_colour(r);
    if (r == 0) {
        albedo *= 0.94 + 0.12 * folds.w;
        albedo = paint_face(albedo);
    }
    albedo = pow(albedo, vec3(2.2));
    vec3 n = normalize(view_normal);
    if (dot(n, view_position) > 0.0) n = -n;
    if (r >= 2) n = normalize(n + 0.25 * folds.xyz);
    float diffuse = max(dot(n, light_direction), 0.0);
    vec3 h = normalize(light_direction - normalize(view_position));
    float gloss = pow(max(dot(n, h), 0.0), r == 0 ? 24.0 : 12.0) * (r == 0 || r == 4 ? shine : 0.3 * shine);
    vec3 ambient = mix(ambient_down, ambient_up, 0.5 + 0.5 * dot(n, up));
    vec3 colour = albedo * (ambient + diffuse * light_colour) + gloss * light_colour * 0.25;
    fragment = vec4(pow(clamp(colour, 0.0, 1.0), vec3(1.0 / 2.2)), 1.0);
}
"""
)

PART_FRAGMENT = """
#version 330
uniform float labelled;
flat in float part;
out vec4 fragment;
void main() { fragment = vec4(labelled * (part + 1.0) / 255.0, 0.0, 0.0, 1.0); }
"""
