// A client of the Rt-Stat protocol that connects again for as long as it lives.

const escape = (s) => s.replace(/\\/g, '\\\\').replace(/\n/g, '\\n').replace(/::/g, '\\::');
const unescape = (s) => s.replace(/\\([^])/g, (_, c) => (c === 'n' ? '\n' : c));

const firstPause = 500, longestPause = 30000;

export class Client {
  // hears: {push, history, progress, result, error, state}
  constructor(url, hears) {
    Object.assign(this, { url, hears, token: '', interval: 1, running: true, pause: firstPause, retryAt: 0, timer: 0 });
  }

  open() {
    clearTimeout(this.timer);
    this.retryAt = 0;
    this.hears.state('connecting');
    try {
      this.socket = new WebSocket(this.url);
    } catch (e) {
      this.lose();
      return;
    }
    const socket = this.socket;
    socket.onopen = () => this.begin();
    socket.onmessage = (m) => this.hear(m.data);
    socket.onclose = () => { if (socket === this.socket) this.lose(); };
  }

  begin() {
    this.hears.state('open');
    if (this.token) this.say('auth', this.token);
    this.say('history');
    this.say('interval', String(this.interval));
    if (this.running) this.say('start');
  }

  // lose waits before the next try, longer each time, and never as long as others do.
  lose() {
    const wait = this.pause * (0.75 + Math.random() / 2);
    this.pause = Math.min(this.pause * 2, longestPause);
    this.retryAt = Date.now() + wait;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.open(), wait);
    this.hears.state('gone');
  }

  close() {
    clearTimeout(this.timer);
    const socket = this.socket;
    this.socket = null;
    socket?.close();
  }

  say(name, ...args) {
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send([name, args.map(escape).join('::')].join('::'));
  }

  setInterval(seconds) {
    this.interval = seconds;
    this.say('interval', String(seconds));
  }

  setRunning(running) {
    if (running === this.running) return;
    this.running = running;
    if (running) this.say('history');
    this.say(running ? 'start' : 'stop');
  }

  authenticate(token) {
    this.token = token;
    this.begin();
  }

  hear(text) {
    const cut = text.indexOf('::');
    const name = text.slice(0, cut).toLowerCase(), argument = unescape(text.slice(cut + 2).replace(/\n$/, ''));
    if (name === 'error') return this.hears.error(argument);
    if (!['push', 'history', 'progress', 'result'].includes(name)) return;
    let body;
    try {
      body = JSON.parse(argument);
    } catch (e) {
      return;
    }
    this.pause = firstPause;
    this.hears[name](body);
  }
}
