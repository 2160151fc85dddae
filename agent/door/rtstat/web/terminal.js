// One terminal on the page: its panels, and the connection behind them. What
// comes from a terminal is only ever set as text.
import { Client } from './client.js';
import { Chart } from './chart.js';
import { word } from './words.js';

export function element(tag, props = {}, ...children) {
  const e = document.createElement(tag);
  for (const [k, v] of Object.entries(props)) if (k in e) e[k] = v; else e.setAttribute(k, v);
  e.append(...children);
  return e;
}

const percent = (v) => `${Math.round(v * 1000) / 10} %`;
const ms = (v) => (v < 10 ? v.toFixed(2) : v < 100 ? v.toFixed(1) : Math.round(v)) + ' ms';

function scaled(v, unit, base) {
  const prefixes = ['', 'k', 'M', 'G', 'T'];
  let i = 0;
  for (; v >= base && i < prefixes.length - 1; i++) v /= base;
  return `${v < 10 && i ? v.toFixed(1) : Math.round(v)} ${prefixes[i]}${base === 1024 && i ? 'i' : ''}${unit}`;
}

const rate = (bytes) => scaled(bytes * 8, 'bit/s', 1000);
const bytes = (n) => scaled(n, 'B', 1024);
const number = (v) => (Number.isFinite(Number(v)) ? Number(v) : 0);

function panel(title, wide) {
  const e = element('section', { className: wide ? 'panel wide' : 'panel' });
  e.append(element('h3', { textContent: word(title) }));
  return e;
}

// facts is a list of names and values that is filled again and again.
function facts() {
  const list = element('dl', { className: 'facts' }), rows = new Map();
  return {
    list,
    set(name, value, tone = '') {
      let dd = rows.get(name);
      if (!dd) {
        rows.set(name, (dd = element('dd')));
        list.append(element('dt', { textContent: name }), dd);
      }
      const text = value ?? '–';
      if (dd.textContent !== text) dd.textContent = text;
      dd.className = tone;
    },
    keep(names) {
      for (const [name, dd] of rows) if (!names.has(name)) { dd.previousElementSibling.remove(); dd.remove(); rows.delete(name); }
    },
  };
}

// bar is a named bar of segments, which says in words what it shows.
function bar(segments) {
  const parts = segments.map((name) => element('i', { className: name }));
  const label = element('span'), value = element('b');
  const track = element('div', { className: 'track', role: 'img' }, ...parts);
  const row = element('div', { className: 'bar' }, label, track, value);
  return {
    row,
    set(name, shares, text, alarm) {
      label.textContent = name;
      value.textContent = text;
      value.className = alarm ? 'bad' : '';
      track.setAttribute('aria-label', `${name}: ${text}`);
      shares.forEach((s, i) => { parts[i].style.width = `${Math.min(100, 100 * s)}%`; });
    },
  };
}

export class Terminal {
  constructor(config) {
    this.config = config;
    this.element = element('article', { className: 'terminal' });
    this.name = element('h2', { textContent: config.name || '' });
    this.state = element('span', { className: 'state', role: 'status' });
    this.about = element('span', { className: 'faint' });
    this.clockAhead = 0; // of the terminal's clock, ms
    this.lastPush = 0;
    this.seen = 0; // id of the last outcome
    this.runID = 0;
    this.build();
    this.client = new Client(config.url, {
      push: (p) => this.push(p), history: (h) => this.history(h), state: (s) => this.connection(s), error: (e) => this.failed(e),
      progress: (p) => this.progress(p), result: (r) => this.result(r),
    });
    this.client.interval = config.interval;
    this.client.token = config.token || '';
    this.client.running = config.autoStart !== false;
    this.client.open();
  }

  close() {
    this.client.close();
    for (const c of this.charts) c.forget();
    this.element.remove();
  }

  build() {
    const share = { format: percent };
    this.cpuChart = new Chart({ label: word('cpu'), ...share });
    this.memoryChart = new Chart({ label: word('memory'), ...share });
    this.loadChart = new Chart({ label: word('load'), format: (v) => v.toFixed(2) });
    this.netChart = new Chart({ label: word('links'), format: rate, most: 125 });
    this.gatewayChart = new Chart({ label: word('gateway'), format: ms });
    this.probeChart = new Chart({ label: word('rtt'), format: ms });
    this.charts = [this.cpuChart, this.memoryChart, this.loadChart, this.netChart, this.gatewayChart, this.probeChart];
    this.cpuBars = new Map();
    this.memoryBar = bar(['apps', 'buffers', 'cached']);
    this.swapBar = bar(['used']);
    this.loads = facts();
    this.system = facts();
    this.linkRows = element('tbody');
    this.probeRows = element('tbody');
    this.noProbes = element('p', { className: 'faint', textContent: word('noProbes') });
    this.tokenForm = this.buildToken();
    this.runPanel = this.buildRun();

    this.cpuPanel = panel('cpu');
    this.cpuPanel.append((this.cpuList = element('div')), this.cpuChart.element);
    const memory = panel('memory');
    memory.append(this.memoryBar.row, this.swapBar.row, this.memoryChart.element);
    const load = panel('load');
    load.append(this.loads.list, this.loadChart.element);
    const system = panel('system');
    system.append(this.system.list);
    this.netPanel = panel('links', true);
    this.netPanel.append(element('div', { className: 'scroll' }, element('table', {}, this.linkRows)), this.netChart.element, this.gatewayChart.element);
    this.probePanel = panel('probes', true);
    const head = element('tr', {}, ...['', 'target', 'last', 'loss', 'jitter', 'when', 'detail'].map((n) => element('th', { scope: 'col', textContent: n && word(n) })));
    this.probeTable = element('table', {}, element('thead', {}, head), this.probeRows);
    this.probePanel.append(this.noProbes, element('div', { className: 'scroll' }, this.probeTable), this.probeChart.element);
    this.panels = element('div', { className: 'panels' }, this.cpuPanel, memory, load, system, this.netPanel, this.probePanel, this.runPanel);
    this.element.append(element('div', { className: 'title' }, this.name, this.state, this.about), this.tokenForm, this.panels);
    this.outcomes = new Map();
  }

  buildToken() {
    const input = element('input', { type: 'password', autocomplete: 'current-password', placeholder: word('token') });
    input.setAttribute('aria-label', word('token'));
    this.tokenNote = element('span', { className: 'warn', role: 'alert' });
    const form = element('form', { className: 'token', hidden: true }, this.tokenNote, input, element('button', { textContent: word('enter') }));
    form.addEventListener('submit', (e) => {
      e.preventDefault();
      form.hidden = true;
      const token = input.value;
      input.value = '';
      sessionStorage.setItem('natrix.token ' + this.config.url, token);
      this.client.authenticate(token);
    });
    return form;
  }

  buildRun() {
    const p = panel('run', true);
    p.hidden = true;
    this.runCommand = element('select');
    this.runLink = element('select');
    this.runTarget = element('input', { required: true, placeholder: word('destination') });
    this.runCommand.setAttribute('aria-label', word('run'));
    this.runLink.setAttribute('aria-label', word('links'));
    this.runTarget.setAttribute('aria-label', word('destination'));
    this.runButton = element('button', { textContent: word('go') });
    this.copyButton = element('button', { type: 'button', textContent: word('copy'), hidden: true });
    this.runOutput = element('pre', { hidden: true, tabIndex: 0 });
    const form = element('form', { className: 'run' }, this.runCommand, this.runLink, this.runTarget, this.runButton, this.copyButton);
    form.addEventListener('submit', (e) => { e.preventDefault(); this.run(); });
    this.copyButton.addEventListener('click', () => this.copy());
    p.append(form, this.runOutput);
    return p;
  }

  run() {
    if (this.running) return this.client.say('cancel', this.running);
    this.running = String(++this.runID);
    this.runOutput.textContent = '';
    this.runOutput.hidden = false;
    this.copyButton.hidden = true;
    this.runButton.textContent = word('stop');
    const command = this.runCommand.value, params = command === 'http' ? { operation: 'get' } : {};
    this.client.say('run', JSON.stringify({ id: this.running, command, destination: this.runTarget.value.trim(), link: this.runLink.value, params }));
  }

  progress({ id, line }) {
    if (id === this.running) this.print(line);
  }

  print(line) {
    this.runOutput.append(String(line) + '\n');
    this.runOutput.scrollTop = this.runOutput.scrollHeight;
  }

  result({ id, result }) {
    if (id !== this.running) return;
    this.lastResult = JSON.stringify(result, null, 2);
    this.print(this.lastResult);
    this.copyButton.hidden = false;
    this.idle();
  }

  idle() {
    this.running = null;
    this.runButton.textContent = word('go');
  }

  // copy does without the clipboard's interface where a page without TLS has none.
  async copy() {
    if (navigator.clipboard) await navigator.clipboard.writeText(this.lastResult);
    else {
      const area = element('textarea', { value: this.lastResult });
      document.body.append(area);
      area.select();
      document.execCommand('copy');
      area.remove();
    }
    this.copyButton.textContent = word('copied');
    setTimeout(() => { this.copyButton.textContent = word('copy'); }, 1500);
  }

  failed(text) {
    if (text === 'Not authorized' || text === 'Auth failed') {
      if (text === 'Not authorized' && !this.tokenForm.hidden) return;
      sessionStorage.removeItem('natrix.token ' + this.config.url);
      this.client.token = '';
      this.tokenNote.textContent = word(text === 'Auth failed' ? 'tokenWrong' : 'tokenWanted');
      this.tokenForm.hidden = false;
    } else if (text === 'Unknown command') {
      this.about.textContent = word('noNews');
    } else if (this.running && (text.startsWith('Run ') || text.startsWith('Cancel '))) {
      this.print(text);
      this.idle();
    }
  }

  connection(state) {
    this.open = state === 'open';
    if (!this.open && this.running) this.idle();
    this.age();
  }

  // age says how old the data is, which nobody should have to guess.
  age() {
    const since = (Date.now() - this.lastPush) / 1000;
    let state = 'wait', text = word('connecting');
    if (!this.client) return;
    if (!this.open && this.client.retryAt) {
      state = 'gone';
      text = `${word('gone')} ${Math.max(0, Math.ceil((this.client.retryAt - Date.now()) / 1000))} ${word('seconds')}`;
    } else if (!this.client.running) {
      state = 'pause';
      text = word('paused');
    } else if (this.open && this.lastPush && since < this.client.interval * 2 + 1) {
      state = 'live';
      text = word('live');
    } else if (this.open && this.lastPush) {
      state = 'late';
      text = `${word('late')} ${Math.round(since)} ${word('seconds')}`;
    }
    if (this.state.textContent !== text) this.state.textContent = text;
    this.state.dataset.state = state;
    this.element.dataset.state = state;
    if (this.lastPush && this.client.running) for (const c of this.charts) c.show(Date.now() + this.clockAhead);
  }

  history(h) {
    this.clockAhead = h.now - Date.now();
    this.name.textContent = this.config.name || h.hostname;
    this.about.textContent = [h.machine, `natrix ${h.version}`].filter(Boolean).join(' · ');
    for (const c of this.charts) c.clear();
    this.outcomes.clear();
    this.probeRows.replaceChildren();
    this.seen = 0;
    for (const p of h.points ?? []) this.point(p);
    this.tell(h.probes ?? []);
    this.offer(h);
    const now = h.now;
    for (const c of this.charts) c.show(now);
  }

  offer(h) {
    this.runPanel.hidden = !h.commands?.length;
    const fill = (select, values, first) => {
      const chosen = select.value;
      select.replaceChildren(...(first === undefined ? [] : [element('option', { value: '', textContent: first })]), ...values.map((v) => element('option', { value: v, textContent: v })));
      if (values.includes(chosen)) select.value = chosen;
    };
    fill(this.runCommand, h.commands ?? []);
    fill(this.runLink, h.links ?? [], word('anyLink'));
  }

  // point draws one second of the history, or a push.
  point(p) {
    p.cpu.forEach((v, i) => this.cpuChart.add(`cpu${i}`, p.t, v));
    this.memoryChart.add(word('memory'), p.t, p.mem);
    if (p.swap) this.memoryChart.add(word('swap'), p.t, p.swap);
    this.loadChart.add(word('load'), p.t, p.la);
    for (const [name, [rx, tx]] of Object.entries(p.net ?? {})) {
      if (!rx && !tx && !this.netChart.series.has(`${name} ↓`)) continue;
      this.netChart.add(`${name} ↓`, p.t, rx);
      this.netChart.add(`${name} ↑`, p.t, tx);
    }
    for (const [name, rtt] of Object.entries(p.rtt ?? {})) this.gatewayChart.add(`${word('gateway')} ${name}`, p.t, rtt < 0 ? null : rtt);
  }

  push(p) {
    this.lastPush = Date.now();
    this.tokenForm.hidden = true;
    const cpus = Object.entries(p.cpu_stat ?? {}), memory = p.meminfo?.memory, swap = p.meminfo?.swap;
    const point = { t: Date.now() + this.clockAhead, cpu: cpus.map(([, c]) => number(c.usage)), mem: 0, swap: 0, la: number(p.uptime?.la1), net: {}, rtt: {} };
    this.showCPU(cpus);
    if (memory) point.mem = this.showMemory(memory, swap);
    if (swap?.total) point.swap = swap.used / swap.total;
    this.showLoad(p);
    for (const [name, l] of Object.entries(p.net ?? {})) {
      point.net[name] = [number(l.rx_rate), number(l.tx_rate)];
      if (l.gateway_rtt !== undefined) point.rtt[name] = number(l.gateway_rtt);
    }
    this.showLinks(p.net ?? {});
    this.showSystem(p);
    this.point(point);
    this.hear(p.probes ?? []);
    this.age();
  }

  showCPU(cpus) {
    const names = new Set(cpus.map(([n]) => n));
    for (const [name, b] of this.cpuBars) if (!names.has(name)) { b.row.remove(); this.cpuBars.delete(name); }
    for (const [name, c] of cpus) {
      let b = this.cpuBars.get(name);
      if (!b) {
        this.cpuBars.set(name, (b = bar(['user', 'system', 'iowait'])));
        this.cpuList.append(b.row);
      }
      b.set(name, [c.user, c.system, c.iowait].map(number), percent(number(c.usage)), c.usage >= 0.9);
    }
  }

  showMemory(m, s) {
    const used = (m.total - m.free - m.buffers - m.cached) / m.total;
    this.memoryBar.set(word('memory'), [m.apps, m.buffers, m.cached].map((v) => v / m.total), percent(used), used >= 0.85);
    this.memoryBar.row.title = `${bytes(m.apps * 1024)} / ${bytes(m.total * 1024)}`;
    if (s?.total) this.swapBar.set(word('swap'), [s.used / s.total], percent(s.used / s.total), s.used / s.total >= 0.1);
    else this.swapBar.set(word('swap'), [0], word('noSwap'), false);
    return used;
  }

  showLoad(p) {
    const u = p.uptime ?? {}, c = p.processes ?? {};
    this.loads.set(word('load'), `${u.la1} ${u.la5} ${u.la15}`);
    this.loads.set(word('processes'), `${c.all}: ${c.running} ${word('running')}, ${c.sleep} ${word('sleep')}, ${c.stopped} ${word('stopped')}, ${c.zombie} ${word('zombie')}`);
    this.loads.set(word('uptime'), String(u.uptime));
  }

  showSystem(p) {
    const b = p.broker, t = p.temp, d = p.disk;
    if (b) {
      this.system.set(word('broker'), word(b.broker), { connected: 'good', away: 'bad' }[b.broker] ?? '');
      this.system.set(word('spool'), `${b.spool_waiting} (${bytes(b.spool_bytes)})${b.spool_dropped ? `, ${b.spool_dropped} ${word('dropped')}` : ''}`, b.spool_waiting ? 'warn' : '');
      if (b.stuck) this.system.set(word('stuck'), b.stuck, 'bad');
      if (b.clock) this.system.set(word('clock'), `${p.uptime?.time ?? ''} ${b.clock.synchronised ? `${word('right')}, ±${ms(b.clock.max_error * 1000)}` : word('wrong')}`, b.clock.synchronised ? '' : 'warn');
      if (b.boot) this.system.set(word('boot'), b.boot);
      this.system.set(word('version'), b.version);
      this.system.set(word('clients'), String(b.clients));
    }
    if (t) {
      for (const [name, v] of Object.entries(t.sensors ?? {})) this.system.set(`${word('temperature')} ${name}`, `${number(v).toFixed(1)} °C`, v >= 80 ? 'bad' : v >= 70 ? 'warn' : '');
      if (t.throttling) this.system.set(word('throttling'), t.throttling, t.throttling === 'none' ? '' : 'warn');
    }
    if (d?.total) this.system.set(word('disk'), `${bytes(d.available)} ${word('free')}`, d.available < d.total / 20 ? 'bad' : '');
  }

  showLinks(links) {
    const rows = Object.entries(links).filter(([, l]) => l.up).map(([name, l]) => {
      const state = !l.carrier ? word('noCarrier') : [l.kind, l.speed_mbit ? `${l.speed_mbit} Mbit/s` : '', l.duplex, l.signal_dbm ? `${word('signal')} ${l.signal_dbm} dBm` : ''].filter(Boolean).join(' ');
      let gateway = '';
      if (l.gateway) gateway = `${word('gateway')} ${l.gateway} ${l.gateway_rtt === undefined ? '' : l.gateway_rtt < 0 ? word('noAnswer') : ms(l.gateway_rtt)}`;
      const cells = [name, state, `↓ ${rate(number(l.rx_rate))} ↑ ${rate(number(l.tx_rate))}`, `${bytes(number(l.rx_bytes))} ${word('received')}, ${bytes(number(l.tx_bytes))} ${word('sent')}`, `${l.errors} ${word('errors')}, ${l.dropped} ${word('lost')}`, (l.addrs ?? []).join(' '), gateway];
      const row = element('tr', {}, ...cells.map((c) => element('td', { textContent: c })));
      row.cells[5].className = 'long';
      if (!l.carrier) row.cells[1].className = 'bad';
      if (l.errors) row.cells[4].className = 'warn';
      if (l.gateway_rtt < 0) row.cells[6].className = 'bad';
      return row;
    });
    this.linkRows.replaceChildren(...rows);
  }

  // hear takes the outcomes that a push repeats; if some are missing in between,
  // the history has them.
  hear(outcomes) {
    const fresh = outcomes.filter((o) => o.id > this.seen);
    if (this.seen && fresh.length && fresh[0].id > this.seen + 1) return this.client.say('history');
    this.tell(fresh);
  }

  tell(outcomes) {
    for (const o of outcomes) {
      this.seen = Math.max(this.seen, o.id);
      const key = `${o.cmd} ${o.dst}${o.link ? ` (${o.link})` : ''}`;
      const before = this.outcomes.get(key);
      if (o.path && before?.path && o.path.join() !== before.path.join()) {
        o.moved = true;
        for (const c of this.charts) c.marks.push(o.t);
      }
      this.outcomes.delete(key);
      this.outcomes.set(key, o);
      this.probeChart.add(key, o.t, o.err || o.ms === undefined ? null : o.ms, true);
    }
    this.noProbes.hidden = this.outcomes.size > 0;
    this.probeTable.hidden = this.outcomes.size === 0;
    const rows = [...this.outcomes].reverse().slice(0, 30).map(([key, o]) => this.outcome(key, o));
    this.probeRows.replaceChildren(...rows);
  }

  outcome(key, o) {
    const swatch = element('span', { className: 'swatch' });
    swatch.style.background = this.probeChart.colour(key);
    const ago = Math.max(0, Math.round((Date.now() + this.clockAhead - o.t) / 1000));
    const detail = o.err ? o.err : o.phases ? Object.entries(o.phases).filter(([, v]) => v > 0).map(([n, v]) => `${n} ${ms(v)}`).join(', ') : o.path ? `${o.moved ? word('path') + ': ' : ''}${o.path.map((h) => h || '*').join(' → ')}` : '';
    const cells = [key, o.ms === undefined ? '–' : ms(o.ms), o.loss === undefined ? '' : percent(o.loss), o.jitter === undefined ? '' : ms(o.jitter), `${ago} ${word('seconds')}`, detail];
    const row = element('tr', {}, element('td', {}, swatch), ...cells.map((c) => element('td', { textContent: c })));
    row.cells[1].className = row.cells[6].className = 'long';
    if (o.err || o.loss === 1) for (const i of [2, 6]) row.cells[i].classList.add('bad');
    else if (o.loss > 0) row.cells[3].className = 'warn';
    if (o.moved) row.cells[6].classList.add('warn');
    return row;
  }
}
