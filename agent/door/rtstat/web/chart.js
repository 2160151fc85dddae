// Charts of time series on a canvas, which share a time axis and a crosshair.

export const span = 5 * 60 * 1000; // ms that are shown
export const colours = ['#3987e5', '#d95926', '#199e70', '#c98500', '#9085e9', '#d55181', '#008300', '#e66767'];

let cross = null; // ms before now, or null
const all = new Set();

export function setCross(ago) {
  cross = ago === null ? null : Math.max(0, Math.min(span, ago));
  for (const c of all) c.draw();
}

export const moveCross = (by) => setCross((cross ?? 0) + by);

export class Chart {
  // options: {label, format(value), most: the least top of the scale, gap: ms without a value that are a gap}
  constructor(options) {
    Object.assign(this, { gap: 3500, most: 1, marks: [] }, options);
    this.series = new Map(); // name -> {points: [[t, value|null]], dots}
    this.now = 0;
    this.element = document.createElement('div');
    this.element.className = 'chart';
    this.canvas = document.createElement('canvas');
    this.canvas.setAttribute('role', 'img');
    this.canvas.setAttribute('aria-label', options.label);
    this.note = document.createElement('div');
    this.note.className = 'note';
    this.element.append(this.canvas, this.note);
    this.canvas.addEventListener('pointermove', (e) => setCross(span * (1 - e.offsetX / this.canvas.clientWidth)));
    this.canvas.addEventListener('pointerleave', () => setCross(null));
    all.add(this);
  }

  forget() { all.delete(this); }

  clear() { this.series.clear(); this.marks = []; }

  add(name, t, value, dots = false) {
    let s = this.series.get(name);
    if (!s) this.series.set(name, (s = { points: [], dots }));
    s.points.push([t, value]);
    while (s.points.length && s.points[0][0] < t - span) s.points.shift();
  }

  colour(name) { return colours[[...this.series.keys()].indexOf(name) % colours.length]; }

  show(now) {
    this.now = now;
    for (const [name, s] of this.series) if (!s.points.length || s.points.at(-1)[0] < now - span) this.series.delete(name);
    this.element.hidden = this.series.size === 0;
    this.draw();
  }

  draw() {
    const wide = this.canvas.clientWidth, high = this.canvas.clientHeight, ratio = window.devicePixelRatio || 1;
    if (!wide || !this.now) return;
    if (this.canvas.width !== Math.round(wide * ratio)) {
      this.canvas.width = Math.round(wide * ratio);
      this.canvas.height = Math.round(high * ratio);
    }
    const g = this.canvas.getContext('2d'), style = getComputedStyle(this.canvas);
    g.setTransform(ratio, 0, 0, ratio, 0, 0);
    g.clearRect(0, 0, wide, high);
    let top = this.most;
    for (const s of this.series.values()) for (const [, v] of s.points) if (v !== null && v > top) top = v;
    if (top > this.most) top *= 1.1;
    const x = (t) => wide * (1 - (this.now - t) / span), y = (v) => high - 1 - (high - 3) * (v / top);
    this.grid(g, wide, high, style, top);
    for (const t of this.marks) {
      g.strokeStyle = '#9085e9';
      g.setLineDash([2, 3]);
      g.beginPath(); g.moveTo(x(t), 0); g.lineTo(x(t), high); g.stroke();
      g.setLineDash([]);
    }
    for (const [name, s] of this.series) this.line(g, s, x, y, this.colour(name));
    this.crosshair(g, wide, high, style, x);
  }

  grid(g, wide, high, style, top) {
    g.strokeStyle = style.borderTopColor; // a custom property would not be resolved
    g.fillStyle = style.color;
    g.font = '10px system-ui, sans-serif';
    g.lineWidth = 1;
    g.beginPath();
    for (let m = 1; m < 5; m++) { const at = Math.round((wide * m) / 5) + 0.5; g.moveTo(at, 0); g.lineTo(at, high); }
    g.moveTo(0, high - 0.5); g.lineTo(wide, high - 0.5);
    g.stroke();
    g.fillText(this.format(top), 2, 10);
  }

  line(g, s, x, y, colour) {
    g.strokeStyle = g.fillStyle = colour;
    g.lineWidth = 1.5;
    g.beginPath();
    let before = null;
    for (const [t, v] of s.points) {
      if (v !== null && before !== null && t - before < (s.dots ? span : this.gap)) g.lineTo(x(t), y(v)); else if (v !== null) g.moveTo(x(t), y(v));
      before = v === null ? null : t;
    }
    g.stroke();
    if (!s.dots) return;
    for (const [t, v] of s.points) {
      g.beginPath();
      if (v === null) { g.fillRect(x(t) - 1.5, 2, 3, 8); continue; }
      g.arc(x(t), y(v), 2.2, 0, 7);
      g.fill();
    }
  }

  // crosshair writes the values at its time, or the latest.
  crosshair(g, wide, high, style) {
    const at = this.now - (cross ?? 0);
    if (cross !== null) {
      const left = Math.round(wide * (1 - cross / span)) + 0.5;
      g.strokeStyle = style.caretColor;
      g.lineWidth = 1;
      g.beginPath(); g.moveTo(left, 0); g.lineTo(left, high); g.stroke();
    }
    this.note.replaceChildren();
    if (cross !== null) this.note.append(new Date(at).toLocaleTimeString() + '  ');
    for (const [name, s] of this.series) {
      const p = s.points.findLast((p) => p[0] <= at + 500);
      if (!p || (!s.dots && at - p[0] > this.gap)) continue;
      const swatch = document.createElement('span');
      swatch.className = 'swatch';
      swatch.style.background = this.colour(name);
      this.note.append(swatch, ` ${name} ${p[1] === null ? '–' : this.format(p[1])}  `);
    }
  }
}
