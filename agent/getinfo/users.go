package getinfo

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/natrix-os/natrix/agent/door/basicagent/wire"
)

// account is a user, without anything of its password but its state.
type account struct {
	Name       string   `json:"name"`
	UID        uint64   `json:"uid"`
	GID        uint64   `json:"gid"`
	Group      string   `json:"group"`
	Groups     []string `json:"groups"`
	Gecos      string   `json:"gecos"`
	Home       string   `json:"home"`
	Shell      string   `json:"shell"`
	System     bool     `json:"system"`
	Password   *string  `json:"password"` // set, locked, empty or none; null if it may not be known
	Locked     *bool    `json:"locked"`
	Expired    *bool    `json:"expired"`
	LastChange *string  `json:"last_change"`
	Expires    *string  `json:"expires"`
}

// builtin is the table of a machine that has none.
const builtin = "root:x:0:0::/root:/bin/sh\nnobody:x:65534:65534::/:/bin/false\nnatrix-cmd:x:65533:65533::/:/bin/false\n"

const builtinGroups = "root:x:0:\nnobody:x:65534:\nnatrix-cmd:x:65533:\n"

// users answers -U name, -I uid, -G gid, -A, -u or -S: by name, by number, by
// group, all, ordinary ones, those of the system.
func (c *Collector) users(args []string) (any, error) {
	want, err := c.selection(args)
	if err != nil {
		return nil, err
	}
	passwd, err := c.table("passwd", builtin)
	if err != nil {
		return nil, err
	}
	groups, err := c.table("group", builtinGroups)
	if err != nil {
		return nil, err
	}
	shadow := c.shadow()
	least, most := c.ordinary()
	found := []account{}
	for _, f := range passwd {
		if len(f) < 7 {
			continue
		}
		uid, err := strconv.ParseUint(f[2], 10, 32)
		gid, bad := strconv.ParseUint(f[3], 10, 32)
		if err != nil || bad != nil {
			continue
		}
		a := account{Name: f[0], UID: uid, GID: gid, Gecos: f[4], Home: f[5], Shell: f[6], System: uid < least || uid > most}
		a.Group, a.Groups = membership(groups, a)
		if !want(a) {
			continue
		}
		if line := shadow[a.Name]; shadow != nil {
			a.secret(line, time.Now())
		}
		found = append(found, a)
	}
	return map[string]any{"count": len(found), "users": found}, nil
}

// selection is the claim that the arguments make.
func (c *Collector) selection(args []string) (func(account) bool, error) {
	if len(args) == 0 {
		args = []string{"-u"}
	}
	switch {
	case len(args) == 1 && args[0] == "-A":
		return func(account) bool { return true }, nil
	case len(args) == 1 && args[0] == "-u":
		return func(a account) bool { return !a.System }, nil
	case len(args) == 1 && args[0] == "-S":
		return func(a account) bool { return a.System }, nil
	case len(args) == 2 && args[0] == "-U":
		return func(a account) bool { return a.Name == args[1] }, nil
	case len(args) == 2 && (args[0] == "-I" || args[0] == "-G"):
		n, err := strconv.ParseUint(args[1], 10, 32)
		if err != nil {
			return nil, wire.Fail(wire.InvalidParams, "%.40q is not the number of a user or group", args[1])
		}
		return func(a account) bool { return a.UID == n && args[0] == "-I" || a.GID == n && args[0] == "-G" }, nil
	}
	return nil, wire.Fail(wire.InvalidParams, "want one of -U NAME, -I UID, -G GID, -A, -u, -S")
}

func (c *Collector) path(name string) string {
	if c.Etc != "" {
		return filepath.Join(c.Etc, name)
	}
	return filepath.Join("/etc", name)
}

// table reads a file of fields between colons (passwd(5), group(5)).
func (c *Collector) table(name, instead string) ([][]string, error) {
	body, err := os.ReadFile(c.path(name))
	if errors.Is(err, fs.ErrNotExist) {
		body, err = []byte(instead), nil
	}
	if err != nil {
		return nil, err
	}
	var rows [][]string
	for line := range strings.Lines(string(body)) {
		if line = strings.TrimRight(line, "\n"); line != "" && !strings.HasPrefix(line, "#") {
			rows = append(rows, strings.Split(line, ":"))
		}
	}
	return rows, nil
}

func membership(groups [][]string, a account) (primary string, all []string) {
	all = []string{}
	for _, g := range groups {
		if len(g) < 4 {
			continue
		}
		if gid, err := strconv.ParseUint(g[2], 10, 32); err == nil && gid == a.GID && primary == "" {
			primary = g[0]
			all = slices.Insert(all, 0, g[0])
		} else if slices.Contains(strings.Split(g[3], ","), a.Name) {
			all = append(all, g[0])
		}
	}
	return primary, all
}

// ordinary are the numbers of people's accounts (login.defs(5)).
func (c *Collector) ordinary() (least, most uint64) {
	least, most = 1000, 60000
	body, _ := os.ReadFile(c.path("login.defs")) // without it these are the numbers
	for line := range strings.Lines(string(body)) {
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		n, err := strconv.ParseUint(f[1], 10, 32)
		switch {
		case err != nil:
		case f[0] == "UID_MIN":
			least = n
		case f[0] == "UID_MAX":
			most = n
		}
	}
	return least, most
}

// shadow are the rows of shadow(5) by name, nil if they may not be read.
func (c *Collector) shadow() map[string][]string {
	body, err := os.ReadFile(c.path("shadow"))
	if err != nil {
		return nil
	}
	rows := make(map[string][]string)
	for line := range strings.Lines(string(body)) {
		f := strings.Split(strings.TrimRight(line, "\n"), ":")
		rows[f[0]] = f
	}
	return rows
}

// secret says of a row of shadow what may be told.
func (a *account) secret(row []string, now time.Time) {
	state, locked, expired := "none", false, false
	if len(row) >= 8 {
		switch hash := row[1]; {
		case hash == "":
			state = "empty"
		case strings.HasPrefix(hash, "!"):
			state, locked = "locked", true
		case strings.HasPrefix(hash, "*"):
			state = "none"
		default:
			state = "set"
		}
		day := func(field string) (time.Time, bool) {
			n, err := strconv.ParseInt(field, 10, 32)
			return time.Unix(n*86400, 0).UTC(), err == nil && n >= 0
		}
		changed, known := day(row[2])
		if known && row[2] != "0" {
			text := changed.Format(time.DateOnly)
			a.LastChange = &text
		}
		if valid, err := strconv.ParseInt(row[4], 10, 32); err == nil && valid >= 0 && known {
			expired = now.After(changed.AddDate(0, 0, int(valid)))
		}
		expired = expired || row[2] == "0" // a new password is asked for
		if end, known := day(row[7]); known {
			text := end.Format(time.DateOnly)
			a.Expires = &text
			expired = expired || now.After(end)
		}
	}
	a.Password, a.Locked, a.Expired = &state, &locked, &expired
}
