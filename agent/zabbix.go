package agent

import (
	"cmp"
	"context"
	"path/filepath"
	"time"

	"github.com/natrix-os/natrix/agent/command"
	"github.com/natrix-os/natrix/agent/door/zabbix"
)

// zabbix keeps the Zabbix door open until ctx ends, if the configuration names it.
func (a Agent) zabbix(ctx context.Context, core command.Set) {
	if a.Config.Zabbix.Mode == "" {
		return
	}
	door := zabbix.Door{Config: a.Config.Zabbix, Core: core.Only("ping", "traceroute", "mtr", "dns", "http", "performance"), Version: Version, Log: a.Log.With("door", "zabbix")}
	if place := cmp.Or(a.Places.Medium, a.Places.RAM); place != "" {
		door.Dir = filepath.Join(place, "zabbix")
	}
	for pause := time.Second; ; pause = min(2*pause, time.Minute) {
		err := door.Run(ctx)
		if ctx.Err() != nil {
			return
		}
		door.Log.Error("closed", "err", err)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return
		}
	}
}
