// The page: time line, people, views, curves.

const LOOKS = { camera: null, front: [0, 0.12], side: [Math.PI / 2, 0.08], top: [0, Math.PI / 2 - 0.01], free: [0.5, 0.35] };
const TRAIL_S = 2, TRAIL_JOINTS = [0, 7, 8], FOV = 0.7;
const element = id => document.getElementById(id);

const sub = (a, b) => a.map((value, i) => value - b[i]);
const cross = (a, b) => [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];
const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
const unit = a => a.map(value => value / (Math.hypot(...a) || 1));

// Projection times view, column-major; right, up, back: the viewer's axes.
function viewMatrix(eye, right, up, back, height, aspect) {
  const near = 0.05, far = 200, f = 1 / height;
  const rows = [right.map(v => v * f / aspect), up.map(v => v * f), back.map(v => v * (far + near) / (near - far)),
    back.map(v => -v)];
  const shift = rows.map(row => -dot(row, eye));
  shift[2] += 2 * far * near / (near - far);
  const out = new Float32Array(16);
  for (let row = 0; row < 4; row++) {
    for (let column = 0; column < 3; column++) out[column * 4 + row] = rows[row][column];
    out[12 + row] = shift[row];
  }
  return out;
}

class Replay {
  constructor(scene) {
    this.scene = scene;
    this.time = 0;
    this.playing = false;
    this.follow = 0;
    this.trails = true;
    this.dirty = true;
    this.drawn = 0;
    this.video = document.querySelector("video");
    this.world = new World(element("scene"), scene.skin, scene.people);
    this.middle = this.home();
    this.makeFilm();
    this.makeLooks();
    this.makePeople();
    this.makeTimeline();
    this.makeCurves();
    this.makeMouse();
    this.look("free");
    element("notes").textContent = scene.notes.join(". ");
    let before = performance.now();
    const step = now => {
      this.advance(Math.min((now - before) / 1000, 0.25));
      before = now;
      requestAnimationFrame(step);
    };
    requestAnimationFrame(step);
    new ResizeObserver(() => { this.dirty = true; }).observe(element("views"));
  }

  home() {   // the middle of where people are
    const all = this.scene.people.map(person => {
      const sum = [0, 0, 0], count = person.times.length;
      for (let i = 0; i < person.roots.length; i++) sum[i % 3] += person.roots[i] * person.rootStep / count;
      return sum;
    });
    const middle = [0, 1, 2].map(i => all.reduce((sum, one) => sum + one[i], 0) / all.length);
    this.apart = Math.max(...all.map(one => Math.hypot(...sub(one, middle))));
    return middle;
  }

  // -- film: where there is one it leads, and the world follows it

  makeFilm() {
    this.film = Boolean(this.scene.film);
    element("views").classList.toggle("alone", !this.film);
    if (!this.film) return;
    this.video.src = URL.createObjectURL(new Blob([bytesOf(this.scene.film)], { type: "video/mp4" }));
    this.video.onerror = () => {
      this.film = false;
      element("views").classList.add("alone");
      element("notes").textContent += " This browser cannot play the picture (H.264).";
    };
  }

  get filmLeads() { return this.film && this.time < this.scene.filmEnd; }

  advance(elapsed) {
    if (this.playing) {
      if (this.filmLeads) {
        if (this.video.paused && !this.starting) {
          this.starting = true;
          this.video.playbackRate = this.speed;
          this.video.play().catch(() => { this.film = false; }).finally(() => { this.starting = false; });
        } else if (!this.video.seeking && !this.video.paused) {
          this.time = this.video.ended ? this.scene.filmEnd : this.video.currentTime;
        }
      } else {
        this.time += elapsed * this.speed;
      }
      if (this.time >= this.scene.seconds) this.seek(0);
      this.dirty = true;
    }
    if (this.dirty) this.draw();
  }

  play(on) {
    this.playing = on;
    if (!on) this.video.pause();
    element("play").textContent = on ? "Pause" : "Play";
    this.dirty = true;
  }

  seek(time) {
    this.time = Math.min(Math.max(time, 0), this.scene.seconds);
    if (this.film) {
      this.video.currentTime = Math.min(this.time + 0.001, this.scene.filmEnd);
      if (!this.filmLeads) this.video.pause();
    }
    this.dirty = true;
  }

  step(frames) {
    this.play(false);
    this.seek((Math.round(this.time * this.scene.fps) + frames) / this.scene.fps);
  }

  // -- what is seen

  draw() {
    this.dirty = false;
    const parents = this.scene.parents;
    const bodies = [];
    this.scene.people.forEach((person, index) => {
      person.pose = poseAt(person, parents, this.time);
      if (person.pose && person.shown)
        bodies.push({ index, bones: person.pose.bones, colour: person.colour.map(v => v / 255), size: person.vertexStep });
      if (person.pose && person.id === this.follow) {
        const weight = this.playing ? 0.15 : 1;
        this.middle = this.middle.map((value, i) => value + weight * (person.pose.joints[0][i] - value));
        if (weight < 1) this.dirty = true;
      }
    });
    const [view, eye] = this.viewer();
    this.world.draw(view, eye, this.middle, bodies, this.segments());
    element("seek").value = this.time;
    element("clock").textContent = `${this.time.toFixed(2)} / ${this.scene.seconds.toFixed(1)} s`;
    this.drawCurves();
    this.drawn += 1;
  }

  viewer() {
    const canvas = element("scene"), aspect = canvas.clientWidth / Math.max(canvas.clientHeight, 1);
    if (this.looking === "camera") {
      const camera = this.scene.camera, [width, height] = this.scene.imageWH;
      const axis = i => [camera[0][i], camera[1][i], camera[2][i]];
      const half = Math.max(height / 2, width / 2 / aspect) / this.scene.focal;
      const flipped = a => a.map(value => -value);
      return [viewMatrix(axis(3), axis(0), flipped(axis(1)), flipped(axis(2)), half, aspect), axis(3)];
    }
    const back = [Math.sin(this.yaw) * Math.cos(this.pitch), Math.sin(this.pitch), Math.cos(this.yaw) * Math.cos(this.pitch)];
    const right = unit(cross([0, 1, 0], back)), up = cross(back, right);
    const eye = this.middle.map((value, i) => value + this.far * back[i]);
    return [viewMatrix(eye, right, up, back, Math.tan(FOV / 2), aspect), eye];
  }

  segments() {
    const out = [];
    const add = (a, b, colour, alpha) => out.push(...a, ...b, ...colour, alpha);
    if (this.looking !== "camera") {   // the camera's frustum
      const { camera, imageWH: [width, height], focal } = this.scene, deep = 0.6;
      const point = (x, y, z) => [0, 1, 2].map(i => camera[i][0] * x + camera[i][1] * y + camera[i][2] * z + camera[i][3]);
      const corner = (x, y) => point(x * width / 2 / focal * deep, y * height / 2 / focal * deep, deep);
      const corners = [corner(-1, -1), corner(1, -1), corner(1, 1), corner(-1, 1)];
      corners.forEach((one, i) => {
        add(point(0, 0, 0), one, [0.95, 0.85, 0.5], 0.9);
        add(one, corners[(i + 1) % 4], [0.95, 0.85, 0.5], 0.9);
      });
    }
    if (this.trails) for (const person of this.scene.people) {
      if (!person.shown || !person.pose) continue;
      const colour = person.colour.map(value => value / 255), gap = Math.max(person.step, 1 / 30);
      let last = null;
      for (let back = TRAIL_S; back >= 0; back -= gap) {
        const joints = this.trailAt(person, this.time - back, gap);
        if (joints && last) TRAIL_JOINTS.forEach((_, i) => add(last[i], joints[i], colour, 0.8 * (1 - back / TRAIL_S)));
        last = joints;
      }
    }
    return new Float32Array(out);
  }

  trailAt(person, time, gap) {   // places of the trail's joints, kept from frame to frame
    const at = Math.round(time / gap);
    person.trail = person.trail || new Map();
    if (!person.trail.has(at)) {
      const pose = at < 0 ? null : poseAt(person, this.scene.parents, at * gap);
      person.trail.set(at, pose && TRAIL_JOINTS.map(joint => pose.joints[joint]));
    }
    return person.trail.get(at);
  }

  look(name) {
    this.looking = name;
    if (LOOKS[name]) [this.yaw, this.pitch] = LOOKS[name];
    this.far = this.far || 4.2 + 2.4 * this.apart;
    for (const button of document.querySelectorAll("#looks [data-look]"))
      button.setAttribute("aria-pressed", String(button.dataset.look === name));
    this.dirty = true;
  }

  // -- controls

  makeLooks() {
    for (const name of Object.keys(LOOKS)) {
      const button = document.createElement("button");
      button.textContent = name;
      button.dataset.look = name;
      button.onclick = () => this.look(name);
      element("looks").append(button);
    }
    const trails = document.createElement("button");
    trails.textContent = "trails";
    trails.setAttribute("aria-pressed", "true");
    trails.onclick = () => {
      this.trails = !this.trails;
      trails.setAttribute("aria-pressed", String(this.trails));
      this.dirty = true;
    };
    element("looks").append(trails);
  }

  makePeople() {
    const table = document.createElement("table");
    table.innerHTML = "<tr><th></th><th>colour</th><th>show</th><th>follow</th></tr>";
    const hex = colour => "#" + colour.map(value => value.toString(16).padStart(2, "0")).join("");
    for (const person of this.scene.people) {
      const row = table.insertRow();
      const field = (type, set) => {
        const input = document.createElement("input");
        input.type = type;
        input.dataset.person = person.id;
        input.oninput = () => { set(input); this.dirty = true; };
        row.insertCell().append(input);
        return input;
      };
      row.insertCell().textContent = person.id;
      field("color", input => {
        person.colour = [1, 3, 5].map(at => parseInt(input.value.slice(at, at + 2), 16));
      }).value = hex(person.colour);
      field("checkbox", input => { person.shown = input.checked; }).checked = true;
      const follow = field("checkbox", input => this.followPerson(input.checked ? person.id : 0));
      follow.className = "follow";
    }
    element("people").append(table);
  }

  followPerson(id) {
    this.follow = id;
    for (const input of document.querySelectorAll(".follow")) input.checked = Number(input.dataset.person) === id;
    if (!id) this.middle = this.home();
    if (this.looking === "camera") this.look("free");
    this.dirty = true;
  }

  makeTimeline() {
    element("seek").max = this.scene.seconds;
    element("seek").oninput = event => this.seek(Number(event.target.value));
    element("play").onclick = () => this.play(!this.playing);
    element("back").onclick = () => this.step(-1);
    element("on").onclick = () => this.step(1);
    element("speed").onchange = event => { this.speed = Number(event.target.value); this.video.playbackRate = this.speed; };
    this.speed = 1;
    addEventListener("keydown", event => {
      if (["SELECT", "INPUT"].includes(event.target.tagName) && event.target.type !== "range") return;
      const action = { " ": () => this.play(!this.playing), ArrowLeft: () => this.step(-1), ArrowRight: () => this.step(1) };
      if (!action[event.key]) return;
      event.preventDefault();
      action[event.key]();
    });
  }

  makeCurves() {
    const groups = [...new Set(this.scene.people.flatMap(person => person.curves.map(curve => curve.group)))];
    for (const name of groups) element("group").add(new Option(name));
    element("group").onchange = () => { this.dirty = true; };
    let held = false;
    element("plot").onpointerdown = event => { held = true; this.seek(this.plotTime(event)); };
    element("plot").onpointermove = event => { if (held) this.seek(this.plotTime(event)); };
    addEventListener("pointerup", () => { held = false; });
  }

  drawCurves() {
    const group = element("group").value;
    const series = [], names = new Set();
    let of = "";
    for (const person of this.scene.people) if (person.shown) for (const curve of person.curves) {
      if (curve.group !== group) continue;
      const colour = `rgb(${person.colour})`, part = curve.name.split(" ").pop();
      const faint = ["hip", "shoulder"].includes(part);
      series.push({ times: person.times, values: curve.values, colour: faint ? `rgba(${person.colour}, 0.5)` : colour,
        dashed: curve.name.startsWith("right") });
      names.add(curve.name);
      of = curve.unit;
    }
    const said = [...names].map(name => {
      const style = ["hip", "shoulder"].includes(name.split(" ").pop()) ? "faint" : "full";
      return `${name}: ${name.startsWith("right") ? "dashed" : "line"}${style === "faint" ? ", faint" : ""}`;
    }).join("; ");
    if (element("legend").textContent !== said) element("legend").textContent = said;
    this.plotTime = drawPlot(element("plot"), series, this.scene.seconds, of, this.time);
  }

  makeMouse() {
    const canvas = element("scene");
    let from = null;
    canvas.onpointerdown = event => { from = [event.clientX, event.clientY]; canvas.setPointerCapture(event.pointerId); };
    canvas.onpointerup = () => { from = null; };
    canvas.onpointermove = event => {
      if (!from) return;
      const dx = event.clientX - from[0], dy = event.clientY - from[1];
      from = [event.clientX, event.clientY];
      if (event.shiftKey) {
        const scale = this.far / canvas.clientHeight, right = [Math.cos(this.yaw), 0, -Math.sin(this.yaw)];
        this.middle = this.middle.map((value, i) => value - right[i] * dx * scale + (i === 1 ? dy * scale : 0));
      } else {
        const yaw = this.yaw, pitch = this.pitch;
        this.look("free");
        this.yaw = (yaw ?? this.yaw) - dx * 0.008;
        this.pitch = Math.min(Math.max((pitch ?? this.pitch) + dy * 0.008, -0.2), Math.PI / 2 - 0.01);
      }
      this.dirty = true;
    };
    canvas.addEventListener("wheel", event => {
      event.preventDefault();
      this.far = Math.min(Math.max(this.far * Math.exp(event.deltaY * 0.001), 0.7), 60);
      this.dirty = true;
    }, { passive: false });
  }
}

readScene().then(scene => { window.replay = new Replay(scene); }).catch(error => {
  element("problem").hidden = false;
  element("problem").textContent = error.message;
});
