package zabbix

import (
	"context"
	"encoding/json"
	"time"
)

// Kinds of tasks, as the server's database numbers them.
const (
	taskCommand       = 2
	taskCommandResult = 3
	taskCheckNow      = 6
	taskData          = 7
	taskDataResult    = 8
)

// task is something that the server wants once.
type task struct {
	Type   int    `json:"type"`
	Clock  int64  `json:"clock"`
	TTL    int64  `json:"ttl"`
	Item   uint64 `json:"itemid"`
	Parent uint64 `json:"parent_taskid"`
}

// taskResult is what becomes of it.
type taskResult struct {
	Type   int    `json:"type"`
	Clock  int64  `json:"clock"`
	TTL    int64  `json:"ttl"`
	Status int    `json:"status"` // 0 done, -1 not
	Info   string `json:"info"`
	Parent uint64 `json:"parent_taskid"`
}

// handle does the server's tasks. It tells each only once, so that what is not
// done must be answered all the same.
func (p *proxy) handle(_ context.Context, all []json.RawMessage) {
	for _, raw := range all {
		var t task
		if err := json.Unmarshal(raw, &t); err != nil {
			p.Log.Warn("a task of the Zabbix server is unreadable", "err", err)
			continue
		}
		expired := t.TTL != 0 && t.Clock+t.TTL < time.Now().Unix()
		switch {
		case t.Type == taskCheckNow && !expired:
			p.checkNow(t.Item)
		case t.Type == taskCommand && expired:
			p.refuse(taskCommandResult, t, "The remote command has been expired.")
		case t.Type == taskCommand:
			p.Log.Warn("a remote command of the Zabbix server was refused", "id", t.Parent)
			p.refuse(taskCommandResult, t, "Remote commands are not enabled")
		case t.Type == taskData && expired:
			p.refuse(taskDataResult, t, "The task has been expired.")
		case t.Type == taskData:
			p.refuse(taskDataResult, t, "Item tests and diagnostic information are not supported by this proxy.")
		}
	}
}

func (p *proxy) refuse(kind int, t task, why string) {
	p.put(results, taskResult{kind, time.Now().Unix(), 0, -1, why, t.Parent})
}

// checkNow polls an item, or the one that it depends on.
func (p *proxy) checkNow(id uint64) {
	s := p.snapshot()
	it := s.items[id]
	for range dependenceMost {
		if it != nil && it.kind == typeDependent {
			it = s.items[it.master]
		}
	}
	if it != nil {
		p.poller.now(it.id)
	}
}
