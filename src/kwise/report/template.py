"""Style and script of the report page: no other file, no network, light and dark."""

STYLE = """
:root { --paper: #fbfaf8; --card: #fff; --ink: #1d2129; --soft: #626b78; --rule: #e3e1dc;
  --accent: #b4532a; --warn: #fdf3e3; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #14161a; --card: #1c1f25; --ink: #e8e6e1; --soft: #9aa3b0; --rule: #2d323b;
  --accent: #f0a36b; --warn: #2b2418; }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", sans-serif; }
main { max-width: 1120px; margin: 0 auto; padding: 28px 20px 60px; }
h1 { font-size: 26px; font-weight: 650; margin: 0; letter-spacing: -.01em; }
h2 { font-size: 14px; font-weight: 650; margin: 0 0 10px; }
p { margin: 6px 0; }
.soft { color: var(--soft); }
.tiles { display: flex; flex-wrap: wrap; gap: 12px; margin: 18px 0; }
.tile { background: var(--card); border: 1px solid var(--rule); border-radius: 10px; padding: 10px 16px;
  min-width: 130px; }
.tile b { display: block; font-size: 22px; font-weight: 650; font-variant-numeric: tabular-nums; }
.tile span { color: var(--soft); font-size: 13px; }
.note { background: var(--warn); border-left: 3px solid var(--accent); border-radius: 4px;
  padding: 8px 14px; margin: 14px 0; }
.card { background: var(--card); border: 1px solid var(--rule); border-radius: 12px; padding: 16px 18px;
  margin: 16px 0; }
.player { position: sticky; top: 0; z-index: 2; display: flex; align-items: center; gap: 14px;
  padding: 9px 14px; margin: 16px 0;
  background: var(--card); border: 1px solid var(--rule); border-radius: 10px; }
.player input[type=range] { flex: 1; accent-color: var(--accent); }
.player output { min-width: 190px; font-variant-numeric: tabular-nums; }
button { font: inherit; color: var(--ink); background: transparent; border: 1px solid var(--soft);
  border-radius: 7px; padding: 3px 14px; min-width: 76px; cursor: pointer; }
.row { display: grid; grid-template-columns: repeat(3, 1fr); gap: 16px; }
@media (max-width: 680px) { .row { grid-template-columns: 1fr; } }
.row + .row { margin-top: 16px; }
figure { margin: 0; min-width: 0; }
figcaption { font-size: 13px; color: var(--soft); margin-top: 5px; }
.film { position: relative; width: 100%; border-radius: 6px; overflow: hidden; background: #000; }
.film i { position: absolute; inset: 0; background-repeat: no-repeat; background-position: 0 0; }
.film i.still { background-size: 100% 100%; }
.sharp { image-rendering: pixelated; }
.plain .tint { display: none; }
.mask { display: block; width: 100%; aspect-ratio: 1; image-rendering: pixelated; border-radius: 6px; }
.stage { position: relative; }
.stage .here { position: absolute; top: 0; bottom: 0; border: 1px solid #fff; mix-blend-mode: difference; }
.curves { width: 100%; height: auto; }
.curves text { font-size: 12px; fill: var(--soft); }
.curves .grid { stroke: var(--rule); }
.curves .mark { stroke: var(--soft); stroke-dasharray: 3 4; }
.curves .now { stroke: var(--accent); stroke-width: 1.5; }
.curves .truth { fill: var(--card); stroke-width: 1.8; }
.key { display: flex; flex-wrap: wrap; gap: 6px 18px; font-size: 13px; margin: 8px 0 2px; }
.key b { display: inline-block; width: 11px; height: 11px; border-radius: 3px; margin-right: 6px; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: 5px 12px 5px 0; border-bottom: 1px solid var(--rule);
  vertical-align: top; }
th { font-weight: 500; color: var(--soft); width: 38%; }
.two { display: grid; align-items: start; gap: 16px;
  grid-template-columns: repeat(auto-fit, minmax(330px, 1fr)); }
.two .card { margin: 0; }
.two .card + .card { margin-top: 16px; }
"""

# One frame number drives every film, the cursor of the curves and the line in the mask.
SCRIPT = """
const page = JSON.parse(document.getElementById('cine').textContent), times = page.times, n = times.length;
const slider = document.getElementById('frame'), told = document.getElementById('told');
const play = document.getElementById('play'), tints = document.getElementById('tints');
const each = (selector, change) => document.querySelectorAll(selector).forEach(change);
let now = page.first, timer = null;

function cursor(line) {
  const left = +line.dataset.left, right = +line.dataset.right, span = times[n - 1] - times[0];
  const share = span ? (times[now] - times[0]) / span : 0;
  line.setAttribute('transform', 'translate(' + (left + share * (right - left)) + ' 0)');
}

function words() {
  const time = page.unit ? ' · ' + Math.round(times[now]) + ' ' + page.unit : '';
  const phase = n === 1 ? '' : now === page.ed ? ' · ED' : now === page.es ? ' · ES' : '';
  return 'frame ' + (now + 1) + ' of ' + n + time + phase;
}

function show(frame) {
  now = (frame + n) % n;
  slider.value = now;
  const place = '0 ' + (n > 1 ? 100 * now / (n - 1) : 0) + '%';
  each('.film i', film => { film.style.backgroundPosition = place; });
  each('.here', line => { line.style.left = 100 * now / n + '%'; });
  each('.now', cursor);
  told.textContent = words();
}

function toggle() {
  if (timer) { clearInterval(timer); timer = null; }
  else { timer = setInterval(() => show(now + 1), page.pause); }
  play.textContent = timer ? 'Pause' : 'Play';
}

play.addEventListener('click', toggle);
slider.addEventListener('input', () => { if (timer) toggle(); show(+slider.value); });
tints.addEventListener('change', () => document.body.classList.toggle('plain', !tints.checked));
show(now);
if (n > 1 && !matchMedia('(prefers-reduced-motion: reduce)').matches) toggle();
"""
