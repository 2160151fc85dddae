package execute

import (
	"errors"
	"os"
	"os/user"
	"regexp"
	"strconv"
	"syscall"

	"github.com/natrix-os/natrix/agent/door/basicagent/wire"
)

// identity is whom a command runs as.
type identity struct {
	name       string
	uid, gid   uint32
	home       string
	credential *syscall.Credential // nil if that is who the executor is
}

// builtin are the users and groups of a machine that has no table of them.
var builtin = map[string]uint32{"root": 0, DefaultUser: 65533, "nobody": 65534}

var account = regexp.MustCompile(`^[a-z_][a-z0-9_-]{0,31}$`)

// identify finds whom a request is to run as, under a policy.
func (p Policy) identify(r Request) (identity, error) {
	name := r.User
	if name == "" {
		name = DefaultUser
		if p.Level == Full {
			name = "root"
		}
	}
	for what, name := range map[string]string{"user": name, "group": r.Group} {
		if name != "" && !account.MatchString(name) {
			return identity{}, wire.Fail(wire.InvalidParams, "%s is not a name", what)
		}
	}
	id := identity{name: name, home: "/"}
	if u, err := user.Lookup(name); err == nil {
		id.uid, id.gid, id.home = number(u.Uid), number(u.Gid), u.HomeDir
	} else if n, known := builtin[name]; known {
		id.uid, id.gid = n, n
	} else {
		return id, wire.Fail(wire.NoSuchUser, "%s", name)
	}
	if r.Group != "" {
		if g, err := user.LookupGroup(r.Group); err == nil {
			id.gid = number(g.Gid)
		} else if n, known := builtin[r.Group]; known {
			id.gid = n
		} else {
			return id, wire.Fail(wire.NoSuchGroup, "%s", r.Group)
		}
	}
	if (id.uid == 0 || id.gid == 0) && !p.AllowRoot {
		return id, wire.Fail(wire.Denied, "nothing runs as root here")
	}
	if id.uid != uint32(os.Geteuid()) || id.gid != uint32(os.Getegid()) || id.uid == 0 {
		id.credential = &syscall.Credential{Uid: id.uid, Gid: id.gid, Groups: []uint32{}}
	}
	return id, nil
}

// number is an id of the tables, or one that nobody has.
func number(s string) uint32 {
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil {
		return 65534
	}
	return uint32(n)
}

// cannotStart tells a switch of user that was refused from other failures.
func cannotStart(err error, id identity) error {
	if id.credential != nil && os.Geteuid() != 0 && errors.Is(err, syscall.EPERM) {
		return wire.Fail(wire.CannotSwitch, "to %s: %v", id.name, err)
	}
	return wire.Fail(wire.CannotStart, "%v", err)
}
