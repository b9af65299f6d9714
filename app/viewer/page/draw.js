// The world in WebGL 2: a floor, bodies that the graphics card skins, their shadows, lines.

const SKIN_VERTEX = `#version 300 es
layout(location=0) in vec3 place; layout(location=1) in vec3 normal;
layout(location=2) in uvec4 joints; layout(location=3) in vec4 weights;
uniform vec4 bones[72]; uniform mat4 view; uniform float size; uniform float flat_;
out vec3 n; out vec3 p;
void main() {
  vec4 rows[3] = vec4[3](vec4(0.), vec4(0.), vec4(0.));
  float all_ = weights.x + weights.y + weights.z + weights.w;
  for (int i = 0; i < 4; i++)
    for (int row = 0; row < 3; row++) rows[row] += bones[int(joints[i]) * 3 + row] * (weights[i] / all_);
  vec4 rest = vec4(place * size, 1.);
  p = vec3(dot(rows[0], rest), dot(rows[1], rest), dot(rows[2], rest));
  n = vec3(dot(rows[0].xyz, normal), dot(rows[1].xyz, normal), dot(rows[2].xyz, normal));
  if (flat_ > 0.5) p = vec3(p.x + 0.25 * max(p.y, 0.), 0.004, p.z - 0.2 * max(p.y, 0.));
  gl_Position = view * vec4(p, 1.);
}`;
const SKIN_FRAGMENT = `#version 300 es
precision highp float;
in vec3 n; in vec3 p; uniform vec3 colour; uniform vec3 eye; uniform float flat_; out vec4 shade;
void main() {
  if (flat_ > 0.5) { shade = vec4(0., 0., 0., 0.38); return; }
  vec3 up = normalize(n), to = normalize(eye - p), key = normalize(vec3(-.45, .8, .5));
  float lit = .42 + .5 * max((dot(up, key) + .25) / 1.25, 0.) + .14 * max(dot(up, to), 0.);
  float glint = pow(max(dot(up, normalize(key + to)), 0.), 32.) * .16;
  shade = vec4(colour * lit + glint, 1.);
}`;
const FLOOR_VERTEX = `#version 300 es
uniform mat4 view; uniform vec3 middle; out vec3 p;
void main() {
  vec2 corner = vec2(gl_VertexID & 1, gl_VertexID >> 1) * 2. - 1.;
  p = vec3(middle.x + corner.x * 40., 0., middle.z + corner.y * 40.);
  gl_Position = view * vec4(p, 1.);
}`;
const FLOOR_FRAGMENT = `#version 300 es
precision highp float;
in vec3 p; uniform vec3 middle; out vec4 shade;
void main() {
  vec2 cell = abs(fract(p.xz - .5) - .5) / fwidth(p.xz);
  float grid = 1. - min(min(cell.x, cell.y), 1.);
  float near_ = 1. - smoothstep(6., 30., distance(p.xz, middle.xz));
  shade = vec4(mix(vec3(.19, .215, .25), vec3(.36, .40, .45), grid), near_);
}`;
const LINE_VERTEX = `#version 300 es
layout(location=0) in vec3 start; layout(location=1) in vec3 end_; layout(location=2) in vec4 tint;
uniform mat4 view; uniform vec2 pixel; uniform float width; out vec4 colour;
void main() {
  vec4 a = view * vec4(start, 1.), b = view * vec4(end_, 1.);
  if (a.w < .06 && b.w < .06) { gl_Position = vec4(2., 2., 2., 1.); return; }
  if (a.w < .06) a = mix(b, a, (b.w - .06) / (b.w - a.w));
  if (b.w < .06) b = mix(a, b, (a.w - .06) / (a.w - b.w));
  vec2 along = normalize((b.xy / b.w - a.xy / a.w) / pixel + 1e-6);
  vec4 at = (gl_VertexID & 1) == 0 ? a : b;
  float side = gl_VertexID < 2 ? -.5 : .5;
  gl_Position = vec4(at.xy + vec2(-along.y, along.x) * pixel * side * width * at.w, at.zw);
  colour = tint;
}`;
const LINE_FRAGMENT = `#version 300 es
precision highp float;
in vec4 colour; out vec4 shade;
void main() { shade = colour; }`;

function program(gl, vertex, fragment) {
  const made = gl.createProgram();
  for (const [kind, text] of [[gl.VERTEX_SHADER, vertex], [gl.FRAGMENT_SHADER, fragment]]) {
    const shader = gl.createShader(kind);
    gl.shaderSource(shader, text);
    gl.compileShader(shader);
    gl.attachShader(made, shader);
  }
  gl.linkProgram(made);
  if (!gl.getProgramParameter(made, gl.LINK_STATUS)) throw new Error(gl.getProgramInfoLog(made) || "no shaders");
  const places = {};
  for (const name of ["view", "bones", "size", "flat_", "colour", "eye", "middle", "pixel", "width"])
    places[name] = gl.getUniformLocation(made, name);
  return { made, places };
}

class World {
  constructor(canvas, skin, people) {
    this.canvas = canvas;
    const gl = this.gl = canvas.getContext("webgl2", { antialias: true, stencil: true, preserveDrawingBuffer: true });
    if (!gl) throw new Error("this browser shows no WebGL 2: the world cannot be drawn");
    this.body = program(gl, SKIN_VERTEX, SKIN_FRAGMENT);
    this.floor = program(gl, FLOOR_VERTEX, FLOOR_FRAGMENT);
    this.lines = program(gl, LINE_VERTEX, LINE_FRAGMENT);
    this.empty = gl.createVertexArray();
    this.indexKind = skin.wide ? gl.UNSIGNED_INT : gl.UNSIGNED_SHORT;
    this.indexCount = skin.faces.length;
    this.faces = this.stored(gl.ELEMENT_ARRAY_BUFFER, skin.faces);
    this.joints = this.stored(gl.ARRAY_BUFFER, skin.joints);
    this.weights = this.stored(gl.ARRAY_BUFFER, skin.weights);
    this.arrays = people.map(person => this.bodyArrays(person));
    this.lineArrays = gl.createVertexArray();
    gl.bindVertexArray(this.lineArrays);
    this.segments = gl.createBuffer();
    gl.bindBuffer(gl.ARRAY_BUFFER, this.segments);
    for (const [at, size, offset] of [[0, 3, 0], [1, 3, 12], [2, 4, 24]]) {
      gl.enableVertexAttribArray(at);
      gl.vertexAttribPointer(at, size, gl.FLOAT, false, 40, offset);
      gl.vertexAttribDivisor(at, 1);
    }
  }

  stored(kind, array) {
    const buffer = this.gl.createBuffer();
    this.gl.bindVertexArray(null);
    this.gl.bindBuffer(kind, buffer);
    this.gl.bufferData(kind, array, this.gl.STATIC_DRAW);
    return buffer;
  }

  bodyArrays(person) {
    const gl = this.gl;
    const places = this.stored(gl.ARRAY_BUFFER, person.vertices), normals = this.stored(gl.ARRAY_BUFFER, person.normals);
    const arrays = gl.createVertexArray();
    gl.bindVertexArray(arrays);
    const attribute = (at, buffer, size, kind, normalised) => {
      gl.bindBuffer(gl.ARRAY_BUFFER, buffer);
      gl.enableVertexAttribArray(at);
      gl.vertexAttribPointer(at, size, kind, normalised, 0, 0);
    };
    attribute(0, places, 3, gl.SHORT, false);
    attribute(1, normals, 3, gl.BYTE, true);
    attribute(3, this.weights, 4, gl.UNSIGNED_BYTE, true);
    gl.bindBuffer(gl.ARRAY_BUFFER, this.joints);
    gl.enableVertexAttribArray(2);
    gl.vertexAttribIPointer(2, 4, gl.UNSIGNED_BYTE, 0, 0);
    gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, this.faces);
    gl.bindVertexArray(null);
    return arrays;
  }

  // bodies: {index, bones, colour, size}; segments: Float32Array of start, end, RGBA.
  draw(view, eye, middle, bodies, segments) {
    const gl = this.gl, canvas = this.canvas;
    const scale = Math.min(window.devicePixelRatio || 1, 2);
    const width = Math.max(1, Math.round(canvas.clientWidth * scale));
    const height = Math.max(1, Math.round(canvas.clientHeight * scale));
    if (canvas.width !== width || canvas.height !== height) { canvas.width = width; canvas.height = height; }
    gl.viewport(0, 0, width, height);
    gl.clearColor(0.078, 0.09, 0.11, 1);
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT | gl.STENCIL_BUFFER_BIT);
    gl.enable(gl.DEPTH_TEST);
    gl.enable(gl.BLEND);
    gl.blendFuncSeparate(gl.SRC_ALPHA, gl.ONE_MINUS_SRC_ALPHA, gl.ZERO, gl.ONE);
    gl.depthMask(false);
    this.use(this.floor, view);
    gl.uniform3fv(this.floor.places.middle, middle);
    gl.bindVertexArray(this.empty);
    gl.drawArrays(gl.TRIANGLE_STRIP, 0, 4);
    this.use(this.body, view);
    gl.uniform3fv(this.body.places.eye, eye);
    if (eye[1] > 0) {   // shadows: each place is darkened once
      gl.enable(gl.STENCIL_TEST);
      gl.stencilFunc(gl.EQUAL, 0, 255);
      gl.stencilOp(gl.KEEP, gl.KEEP, gl.INCR);
      for (const body of bodies) this.drawBody(body, 1);
      gl.disable(gl.STENCIL_TEST);
    }
    gl.depthMask(true);
    for (const body of bodies) this.drawBody(body, 0);
    gl.depthMask(false);
    this.use(this.lines, view);
    gl.uniform2f(this.lines.places.pixel, 2 / width, 2 / height);
    gl.uniform1f(this.lines.places.width, 2 * scale);
    gl.bindVertexArray(this.lineArrays);
    gl.bindBuffer(gl.ARRAY_BUFFER, this.segments);
    gl.bufferData(gl.ARRAY_BUFFER, segments, gl.DYNAMIC_DRAW);
    gl.drawArraysInstanced(gl.TRIANGLE_STRIP, 0, 4, segments.length / 10);
    gl.depthMask(true);
    gl.bindVertexArray(null);
  }

  use(which, view) {
    this.gl.useProgram(which.made);
    this.gl.uniformMatrix4fv(which.places.view, false, view);
  }

  drawBody(body, flat) {
    const gl = this.gl, places = this.body.places;
    gl.uniform4fv(places.bones, body.bones);
    gl.uniform1f(places.size, body.size);
    gl.uniform1f(places.flat_, flat);
    gl.uniform3fv(places.colour, body.colour);
    gl.bindVertexArray(this.arrays[body.index]);
    gl.drawElements(gl.TRIANGLES, this.indexCount, this.indexKind, 0);
  }
}
