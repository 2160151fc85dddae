// The words of the page, by language.
const words = {
  en: {
    every: 'every', terminals: 'Terminals', theme: 'Theme', auto: 'Auto', light: 'Light', dark: 'Dark', pause: 'Pause', resume: 'Go on',
    keys: 'Keys', keyPause: 'pause, go on', keyInterval: 'every 0.5, 1, 2, 5 s', keyCross: 'move the crosshair', close: 'Close', cancel: 'Cancel', save: 'Save',
    onlyThis: 'Only this terminal', layoutHelp: 'The layout in JSON, as Rt-Stat has it; its configuration files can be pasted here. Another terminal has to name this host under origins.',
    layoutBad: 'This is no layout: ', connecting: 'connecting', live: 'live', late: 'nothing for', gone: 'no connection, again in', paused: 'paused',
    tokenWanted: 'This terminal wants its token.', token: 'Token', enter: 'Enter', tokenWrong: 'That is not the token.', cpu: 'Processors', memory: 'Memory', swap: 'Swap',
    noSwap: 'no swap', load: 'Load', processes: 'Processes', running: 'running', sleep: 'asleep', stopped: 'stopped', zombie: 'zombies', uptime: 'Up',
    system: 'Terminal', broker: 'Broker', connected: 'connected', away: 'not reached', none: 'none', spool: 'Waiting results', dropped: 'given up', clock: 'Clock',
    right: 'synchronised', wrong: 'not synchronised', temperature: 'Temperature', version: 'Version', clients: 'Viewers', disk: 'Disk', boot: 'Last start', stuck: 'Stuck',
    links: 'Links', received: 'received', sent: 'sent', errors: 'errors', lost: 'dropped', gateway: 'gateway', signal: 'signal', down: 'down', noCarrier: 'no carrier',
    noAnswer: 'no answer', probes: 'Probe results', noProbes: 'No results in the last five minutes.', target: 'Target', last: 'Last', loss: 'Loss', jitter: 'Jitter', when: 'Ago',
    path: 'the path changed', detail: 'Detail', rtt: 'Round-trip times', run: 'Run a probe', go: 'Run', stop: 'Stop', copy: 'Copy JSON', copied: 'Copied', destination: 'Destination',
    anyLink: 'by route', used: 'in use', seconds: 's', free: 'free', throttling: 'Throttling', noNews: 'A server of Rt-Stat: no history.',
  },
  zh: {
    every: '间隔', terminals: '终端', theme: '主题', auto: '自动', light: '浅色', dark: '深色', pause: '暂停', resume: '继续',
    keys: '快捷键', keyPause: '暂停、继续', keyInterval: '每 0.5、1、2、5 秒', keyCross: '移动十字线', close: '关闭', cancel: '取消', save: '保存',
    onlyThis: '只显示本终端', layoutHelp: '布局（JSON，与 Rt-Stat 相同，可直接粘贴其配置文件）。其他终端须在 origins 中允许本主机。',
    layoutBad: '布局有误：', connecting: '正在连接', live: '实时', late: '没有数据已', gone: '连接中断，重连还需', paused: '已暂停',
    tokenWanted: '此终端需要令牌。', token: '令牌', enter: '进入', tokenWrong: '令牌不正确。', cpu: '处理器', memory: '内存', swap: '交换区',
    noSwap: '没有交换区', load: '负载', processes: '进程', running: '运行', sleep: '休眠', stopped: '停止', zombie: '僵尸', uptime: '已运行',
    system: '终端', broker: '消息服务器', connected: '已连接', away: '未连上', none: '无', spool: '待发结果', dropped: '已放弃', clock: '时钟',
    right: '已同步', wrong: '未同步', temperature: '温度', version: '版本', clients: '观看者', disk: '磁盘', boot: '上次启动', stuck: '停滞',
    links: '链路', received: '接收', sent: '发送', errors: '错误', lost: '丢弃', gateway: '网关', signal: '信号', down: '未启用', noCarrier: '无载波',
    noAnswer: '无应答', probes: '测试结果', noProbes: '最近五分钟没有结果。', target: '目标', last: '最近', loss: '丢包', jitter: '抖动', when: '之前',
    path: '路径已改变', detail: '详情', rtt: '往返时间', run: '执行测试', go: '执行', stop: '停止', copy: '复制 JSON', copied: '已复制', destination: '目标',
    anyLink: '按路由', used: '已用', seconds: '秒', free: '空闲', throttling: '降频', noNews: 'Rt-Stat 服务器：无历史数据。',
  },
};

let language = 'en';

export function speak(which) {
  language = words[which] ? which : 'en';
  document.documentElement.lang = language === 'zh' ? 'zh-CN' : 'en';
  for (const e of document.querySelectorAll('[data-word]')) e.textContent = word(e.dataset.word);
  for (const e of document.querySelectorAll('[data-label]')) e.setAttribute('aria-label', word(e.dataset.label));
}

export const word = (name) => words[language][name] ?? name;
