package agent

import (
	"context"
	"crypto/rand"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/uuid"
	"github.com/natrix-os/natrix/agent/command"
	"github.com/natrix-os/natrix/agent/config"
	"github.com/natrix-os/natrix/agent/door/basicagent"
	"github.com/natrix-os/natrix/agent/execute"
	"github.com/natrix-os/natrix/agent/getinfo"
	"github.com/natrix-os/natrix/sysinfo"
)

// runBasicAgent keeps the door for BasicAgent servers open until ctx ends.
func (a Agent) runBasicAgent(ctx context.Context, core command.Set) {
	log := a.Log.With("door", "basicagent")
	door := &basicagent.Door{
		Config: a.Config.BasicAgent, Core: core, Collect: getinfo.New(Version).Collect,
		Version: Version, Log: log, Timing: basicagent.DefaultTiming(),
	}
	if a.Executor != nil {
		door.Shell = a.Executor
	}
	if door.Config.ID == "" {
		door.Config.ID = machineID(door.Config.Directory)
	}
	log.Info("open", "id", door.Config.ID, "dst", door.Config.Server, "policy", door.Config.Policy)
	if err := door.Run(ctx); err != nil {
		log.Error("the door stays closed", "err", err)
	}
}

// machineID is this machine's UUID: that of its firmware, one made of its
// serial number, or a random one that is kept.
func machineID(dir string) string {
	identity, _ := (sysinfo.Machine{}).Identity() // many machines have none
	if id, err := uuid.Parse(identity.Serial); err == nil {
		return id.String()
	}
	if identity.Serial != "" {
		return uuid.NewSHA1(uuid.NameSpaceOID, []byte("natrix "+identity.Vendor+" "+identity.Serial)).String()
	}
	file := filepath.Join(dir, "id")
	body, _ := os.ReadFile(file) // it is made if it is not there
	if id, err := uuid.Parse(strings.TrimSpace(string(body))); err == nil {
		return id.String()
	}
	id := uuid.Must(uuid.NewRandomFromReader(rand.Reader)).String()
	os.MkdirAll(dir, 0o700)
	os.WriteFile(file, []byte(id), 0o600) // else it is another one after the next start
	return id
}

// Policy is what the configuration lets servers run.
func Policy(c config.BasicAgent) execute.Policy {
	p := execute.Policy{
		Level: c.Policy, Commands: c.Commands, Templates: c.Templates, AllowRoot: c.AllowRoot,
		Audit: filepath.Join(c.Directory, "audit", "commands.log"),
	}
	if !c.Open {
		p.Level = execute.Off
	}
	return p
}
