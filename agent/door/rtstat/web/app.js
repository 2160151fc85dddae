// The page: terminals in columns, and what people set.
import { Terminal, element } from './terminal.js';
import { moveCross, setCross } from './chart.js';
import { speak, word } from './words.js';

const layoutKey = 'natrix.layout', originalKey = 'rtStatMonitoringConfig';
const $ = (id) => document.getElementById(id);
const intervals = [0.5, 1, 2, 5];
let terminals = [];

const here = () => `${location.protocol === 'https:' ? 'wss' : 'ws'}://${location.host}/`;

// onlyThis is the layout of a page that nobody has set up.
const onlyThis = () => ({ columns: [{ servers: [{ id: 'here', name: '', host: here(), interval: 1, autoStart: true }] }] });

// address is where a server of a layout is: ws and port 8000 unless it says otherwise.
function address(host) {
  const m = /^(?:(wss?):\/\/)?(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9_.-]{1,253})(?::(\d{1,5}))?(\/.*)?$/.exec(String(host));
  if (!m) throw new Error(`host ${host}`);
  if (String(host) === here()) return here();
  return `${m[1] ?? 'ws'}://${m[2]}:${m[3] ?? 8000}${m[4] ?? '/'}`;
}

// read checks a layout, in JSON or as a file of Rt-Stat that calls init with it.
function read(text) {
  const json = /^\s*\{/.test(text) ? text : text.replace(/^[^{]*/, '').replace(/[^}]*$/, '');
  const layout = JSON.parse(json);
  if (!Array.isArray(layout.columns) || !layout.columns.every((c) => Array.isArray(c.servers))) throw new Error('columns: [{servers: [...]}]');
  for (const s of layout.columns.flatMap((c) => c.servers)) {
    address(s.host);
    if (!(Number(s.interval ?? 1) >= 0.5)) throw new Error(`interval ${s.interval}`);
  }
  return layout;
}

function load() {
  for (const key of [layoutKey, originalKey]) {
    try {
      const saved = localStorage.getItem(key);
      if (saved) return read(saved);
    } catch (e) { /* what cannot be read is not used */ }
  }
  return onlyThis();
}

function show(layout) {
  for (const t of terminals) t.close();
  terminals = [];
  $('terminals').style.setProperty('--columns', layout.columns.length);
  $('terminals').replaceChildren(...layout.columns.map((column) => element('div', {}, ...column.servers.map((s) => {
    const url = address(s.host);
    const t = new Terminal({ name: s.name, url, interval: Number(s.interval ?? 1), autoStart: s.autoStart, token: s.token || sessionStorage.getItem('natrix.token ' + url) });
    terminals.push(t);
    return t.element;
  }))));
  const first = terminals[0]?.client.interval;
  if (intervals.includes(first)) $('interval').value = String(first);
  showPause();
}

const paused = () => terminals.length > 0 && terminals.every((t) => !t.client.running);

function showPause() {
  $('pause').textContent = word(paused() ? 'resume' : 'pause');
  $('pause').setAttribute('aria-pressed', String(paused()));
}

function pause() {
  const run = paused();
  for (const t of terminals) t.client.setRunning(run);
  for (const t of terminals) t.age();
  showPause();
}

function pace(seconds) {
  $('interval').value = String(seconds);
  for (const t of terminals) t.client.setInterval(seconds);
}

function setTheme(theme) {
  $('theme').value = theme;
  document.documentElement.dataset.theme = theme;
  localStorage.setItem('natrix.theme', theme);
  setCross(null);
}

function setLanguage(language) {
  speak(language);
  $('language').value = language;
  localStorage.setItem('natrix.language', language);
}

function openLayout() {
  $('layoutError').textContent = '';
  $('layoutText').value = JSON.stringify(load(), null, 2);
  $('layoutDialog').showModal();
}

function saveLayout() {
  try {
    const layout = read($('layoutText').value);
    localStorage.setItem(layoutKey, JSON.stringify(layout));
    $('layoutDialog').close();
    show(layout);
  } catch (e) {
    $('layoutError').textContent = word('layoutBad') + e.message;
  }
}

function press(e) {
  if (e.ctrlKey || e.metaKey || e.altKey || /^(INPUT|SELECT|TEXTAREA|BUTTON)$/.test(e.target.tagName) || document.querySelector('dialog[open]')) return;
  const keys = {
    ' ': pause, l: openLayout, '?': () => $('helpDialog').showModal(), ArrowLeft: () => moveCross(5000), ArrowRight: () => moveCross(-5000), Escape: () => setCross(null),
    t: () => setTheme({ '': 'dark', dark: 'light', light: '' }[$('theme').value]),
  };
  intervals.forEach((seconds, i) => { keys[i + 1] = () => pace(seconds); });
  const act = keys[e.key] ?? keys[e.key.toLowerCase()];
  if (!act) return;
  e.preventDefault();
  act();
}

const asked = new URLSearchParams(location.search);
setTheme(asked.get('theme') ?? localStorage.getItem('natrix.theme') ?? '');
setLanguage(asked.get('lang') ?? localStorage.getItem('natrix.language') ?? (navigator.language.startsWith('zh') ? 'zh' : 'en'));
$('pause').addEventListener('click', pause);
$('interval').addEventListener('change', () => pace(Number($('interval').value)));
$('layout').addEventListener('click', openLayout);
$('layoutSave').addEventListener('click', saveLayout);
$('layoutReset').addEventListener('click', () => { localStorage.removeItem(layoutKey); $('layoutDialog').close(); show(onlyThis()); });
$('language').addEventListener('change', () => { setLanguage($('language').value); show(load()); });
$('theme').addEventListener('change', () => setTheme($('theme').value));
$('help').addEventListener('click', () => $('helpDialog').showModal());
document.addEventListener('keydown', press);
show(load());
setInterval(() => { for (const t of terminals) t.age(); }, 1000);
