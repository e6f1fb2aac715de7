"use strict";
// A small chart: some curves over the last seconds, the newest at the right edge, each with its last value.

const OLD = 3; // [s] from which a last value says how old it is

/**
 * @param {HTMLCanvasElement} canvas
 * @param {string} title
 * @param {{name: string, colour: string, points: [number, number][]}[]} curves  points: [seconds ago, value]
 * @param {{span: number, least?: number, gap?: number, none: string}} options  least: top of the scale at least;
 *   gap: [s] without a point, over which no line is drawn; none: said without data
 */
function plot(canvas, title, curves, options) {
  const ratio = window.devicePixelRatio || 1;
  const width = canvas.clientWidth, height = canvas.clientHeight;
  if (!width || !height) return;
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
  }
  const draw = canvas.getContext("2d");
  draw.setTransform(ratio, 0, 0, ratio, 0, 0);
  draw.clearRect(0, 0, width, height);
  draw.font = '12px system-ui, "DejaVu Sans", sans-serif';
  draw.fillStyle = "#8a95a3";
  draw.fillText(title, 2, 12);
  const values = curves.flatMap(curve => curve.points.map(point => point[1]));
  if (!values.length) {
    draw.fillText(options.none, 2, 12 + (height - 12) / 2);
    return;
  }
  const left = 40, top = 20, right = width - 4, bottom = height - 6;
  let low = Math.min(0, ...values), high = Math.max(...values, options.least ?? 0, low + 1e-3);
  high += 0.06 * (high - low);
  const x = ago => right - (ago / options.span) * (right - left);
  const y = value => bottom - ((value - low) / (high - low)) * (bottom - top);
  draw.strokeStyle = "#2c333d";
  draw.lineWidth = 1;
  for (const level of [low, (low + high) / 2, high]) {
    draw.beginPath(); draw.moveTo(left, y(level)); draw.lineTo(right, y(level)); draw.stroke();
    draw.fillText(short(level), 2, Math.min(bottom, y(level) + 4));
  }
  let corner = right;
  for (const curve of curves) {
    if (!curve.points.length) continue;
    draw.strokeStyle = draw.fillStyle = curve.colour;
    draw.lineWidth = 1.6;
    draw.beginPath();
    let before = Infinity;
    for (const [ago, value] of curve.points) {
      draw[before - ago > (options.gap ?? options.span) ? "moveTo" : "lineTo"](x(ago), y(value));
      before = ago;
    }
    draw.stroke();
    const [ago, value] = curve.points[curve.points.length - 1];
    const label = `${curve.name} ${short(value)}` + (ago > OLD ? ` (${ago.toFixed(0)} s ago)` : "");
    corner -= draw.measureText(label).width;
    draw.fillText(label, corner, 12);
    corner -= 12;
  }
}

/** A number in few characters. */
function short(value) {
  const size = Math.abs(value);
  return size >= 100 ? value.toFixed(0) : size >= 10 ? value.toFixed(1) : value.toFixed(2);
}
