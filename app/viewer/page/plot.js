// Curves over time on a canvas.

function tidyStep(span, most) {   // 1, 2 or 5 times a power of ten
  const rough = span / most, power = 10 ** Math.floor(Math.log10(rough));
  return power * [1, 2, 5, 10].find(factor => factor * power >= rough);
}

// series: {times, values, colour, dashed}; draws them with axes, and a line at the time `now`.
function drawPlot(canvas, series, seconds, unit, now) {
  const scale = window.devicePixelRatio || 1;
  const width = canvas.clientWidth, height = canvas.clientHeight;
  canvas.width = Math.round(width * scale);
  canvas.height = Math.round(height * scale);
  const context = canvas.getContext("2d");
  context.scale(scale, scale);
  const left = 46, bottom = height - 18, top = 6, right = width - 6;
  let low = Infinity, high = -Infinity;
  for (const { values } of series) for (const value of values) {
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  if (!(high >= low)) { low = 0; high = 1; }
  if (high - low < 1e-3) { low -= 0.5; high += 0.5; }
  const x = time => left + (right - left) * time / Math.max(seconds, 1e-6);
  const y = value => bottom - (bottom - top) * (value - low) / (high - low);
  context.font = "11px system-ui, sans-serif";
  context.fillStyle = "#9aa4b2";
  context.strokeStyle = "#2b323b";
  const step = tidyStep(high - low, 4), digits = Math.max(0, -Math.floor(Math.log10(step)));
  context.textAlign = "right";
  for (let value = Math.ceil(low / step) * step; value <= high; value += step) {
    line(context, left, y(value), right, y(value));
    context.fillText(`${value.toFixed(digits)} ${unit}`, left - 4, y(value) + 4);
  }
  const tick = tidyStep(Math.max(seconds, 0.1), 8);
  context.textAlign = "center";
  for (let time = 0; time <= seconds; time += tick) context.fillText(`${+time.toFixed(2)} s`, x(time), height - 4);
  context.lineWidth = 1.4;
  for (const one of series) {
    context.strokeStyle = one.colour;
    context.setLineDash(one.dashed ? [5, 3] : []);
    context.beginPath();
    for (let i = 0; i < one.times.length; i++) {
      const apart = i === 0 || one.times[i] - one.times[i - 1] > ABSENT_S;
      context[apart ? "moveTo" : "lineTo"](x(one.times[i]), y(one.values[i]));
    }
    context.stroke();
  }
  context.setLineDash([]);
  context.strokeStyle = "#e6e9ee";
  context.lineWidth = 1;
  line(context, x(now), top, x(now), bottom);
  return event => {   // the time at a place of the mouse
    const at = event.clientX - canvas.getBoundingClientRect().left;
    return Math.min(Math.max((at - left) / (right - left), 0), 1) * seconds;
  };
}

function line(context, x0, y0, x1, y1) {
  context.beginPath();
  context.moveTo(x0, y0);
  context.lineTo(x1, y1);
  context.stroke();
}
