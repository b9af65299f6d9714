// From the page's text to numbers, and from joint angles to bones (app/viewer/packing.py, app/viewer/replay.py).

function bytesOf(text) {
  const raw = atob(text);
  const bytes = new Uint8Array(raw.length);
  for (let i = 0; i < raw.length; i++) bytes[i] = raw.charCodeAt(i);
  return bytes;
}

async function unpack(text, Kind) {
  const stream = new Blob([bytesOf(text)]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Kind(await new Response(stream).arrayBuffer());
}

// Steps from row to row, low bytes before high bytes -> int16.
async function unpackSteps(text, width) {
  const bytes = await unpack(text, Uint8Array);
  const count = bytes.length / 2;
  const values = new Int16Array(count);
  for (let i = 0; i < count; i++) {
    const step = bytes[i] | (bytes[count + i] << 8);
    values[i] = step + (i >= width ? values[i - width] : 0);
  }
  return values;
}

function quaternion(x, y, z) {   // of an axis-angle vector, as x, y, z, w
  const angle = Math.hypot(x, y, z);
  const scale = angle < 1e-8 ? 0.5 : Math.sin(angle / 2) / angle;
  return [x * scale, y * scale, z * scale, Math.cos(angle / 2)];
}

function between(one, other, weight) {   // quaternions, along the shorter way
  const sign = one[0] * other[0] + one[1] * other[1] + one[2] * other[2] + one[3] * other[3] < 0 ? -1 : 1;
  const mixed = one.map((value, i) => (1 - weight) * value + weight * sign * other[i]);
  const length = Math.hypot(...mixed);
  return mixed.map(value => value / length);
}

function matrixOf([x, y, z, w]) {   // rows of a rotation
  return [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w),
    2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w),
    2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)];
}

function product(a, b) {
  const out = new Array(9);
  for (let row = 0; row < 3; row++) for (let column = 0; column < 3; column++)
    out[3 * row + column] = a[3 * row] * b[column] + a[3 * row + 1] * b[3 + column] + a[3 * row + 2] * b[6 + column];
  return out;
}

function turned(m, v) {
  return [0, 3, 6].map(row => m[row] * v[0] + m[row + 1] * v[1] + m[row + 2] * v[2]);
}

const ABSENT_S = 0.5;   // somebody who was not seen for longer is not shown in between

// The two rows around a time, and how far between them; null: they are not there.
function rowsAt(person, time) {
  const times = person.times;
  const last = times.length - 1;
  if (time < times[0] - 0.5 * person.step || time > times[last] + person.step) return null;
  let low = 0, high = last;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (times[middle] <= time) low = middle; else high = middle - 1;
  }
  if (low === last) return [low, low, 0];
  const gap = times[low + 1] - times[low];
  if (gap > ABSENT_S && person.frames[low + 1] > person.frames[low] + 1)
    return time < times[low] + person.step ? [low, low, 0] : null;
  return [low, low + 1, Math.min(Math.max((time - times[low]) / gap, 0), 1)];
}

// 24 bones as three rows of four numbers each, for the skin, and the places of the joints; null: not there.
function poseAt(person, parents, time) {
  const found = rowsAt(person, time);
  if (!found) return null;
  const [before, after, weight] = found;
  const turn = (row, joint) => {
    const at = row * 72 + joint * 3, step = person.rotationStep;
    return quaternion(...[0, 1, 2].map(i => person.rotations[at + i] * step));
  };
  const root = [0, 1, 2].map(i =>
    person.rootStep * ((1 - weight) * person.roots[3 * before + i] + weight * person.roots[3 * after + i]));
  const turns = [], joints = [], bones = new Float32Array(24 * 12);
  for (let joint = 0; joint < 24; joint++) {
    const local = matrixOf(weight ? between(turn(before, joint), turn(after, joint), weight) : turn(before, joint));
    const parent = parents[joint], rest = person.rest[joint];
    if (joint === 0) {
      turns.push(local);
      joints.push(root);
    } else {
      const offset = turned(turns[parent], rest.map((value, i) => value - person.rest[parent][i]));
      turns.push(product(turns[parent], local));
      joints.push(offset.map((value, i) => value + joints[parent][i]));
    }
    const moved = turned(turns[joint], rest);
    for (let row = 0; row < 3; row++) {
      bones.set(turns[joint].slice(3 * row, 3 * row + 3), joint * 12 + row * 4);
      bones[joint * 12 + row * 4 + 3] = joints[joint][row] - moved[row];
    }
  }
  return { bones, joints };
}

async function readPerson(raw) {
  const person = { ...raw, shown: true };
  person.vertices = await unpack(raw.vertices, Int16Array);
  person.normals = await unpack(raw.normals, Int8Array);
  person.times = await unpack(raw.times, Float32Array);
  person.frames = await unpack(raw.frames, Int32Array);
  person.rotations = await unpackSteps(raw.rotations, 72);
  person.roots = await unpackSteps(raw.roots, 3);
  const gaps = Array.from(person.times.subarray(1), (time, i) => time - person.times[i]).sort((a, b) => a - b);
  person.step = gaps.length ? gaps[gaps.length >> 1] : 0.05;
  for (const curve of person.curves) {
    const values = await unpackSteps(curve.values, 1);
    curve.values = Float32Array.from(values, value => value * curve.step);
  }
  return person;
}

async function readScene() {
  const scene = JSON.parse(document.getElementById("data").textContent);
  scene.skin.faces = await unpack(scene.skin.faces, scene.skin.wide ? Uint32Array : Uint16Array);
  scene.skin.joints = await unpack(scene.skin.joints, Uint8Array);
  scene.skin.weights = await unpack(scene.skin.weights, Uint8Array);
  scene.people = await Promise.all(scene.people.map(readPerson));
  return scene;
}
