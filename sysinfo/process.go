package sysinfo

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// Processes are counted by what they do (proc_pid_stat(5)).
type Processes struct {
	Total    int
	Running  int // R: runs or could
	Sleeping int // S, D and I: waits for something
	Blocked  int // D: waits for a disk; counted in Sleeping too
	Idle     int // I: a kernel thread with nothing to do; counted in Sleeping too
	Stopped  int // T, t: by a signal or a debugger
	Zombie   int // Z, X: ended, not yet waited for
}

// Processes counts the processes. It opens a file for each, some 20 µs: call
// it on demand only, through [Sampler.Processes] if others may ask as well.
func (m Machine) Processes() (Processes, error) {
	dir, err := os.Open(m.path("proc"))
	if err != nil {
		return Processes{}, err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return Processes{}, fmt.Errorf("list processes: %w", err)
	}
	var p Processes
	buf := make([]byte, 512)
	for _, name := range names {
		if name[0] >= '1' && name[0] <= '9' {
			p.add(state(filepath.Join(dir.Name(), name, "stat"), buf))
		}
	}
	if p.Total == 0 {
		return p, errors.New("no process in " + m.path("proc"))
	}
	return p, nil
}

// add counts one process. State 0 is one that ended while we looked.
func (p *Processes) add(state byte) {
	switch state {
	case 0:
		return
	case 'R':
		p.Running++
	case 'D':
		p.Blocked++
		p.Sleeping++
	case 'I':
		p.Idle++
		p.Sleeping++
	case 'T', 't':
		p.Stopped++
	case 'Z', 'X', 'x':
		p.Zombie++
	default: // S, and what some kernels had for a while: W, K, P
		p.Sleeping++
	}
	p.Total++
}

// state reads the state letter out of a stat file, 0 if there is none.
func state(file string, buf []byte) byte {
	f, err := os.Open(file)
	if err != nil {
		return 0
	}
	defer f.Close()
	n, err := f.Read(buf)
	if err != nil && err != io.EOF {
		return 0
	}
	return parseState(buf[:n])
}

// parseState finds the letter behind the program's name, which may hold
// spaces and parentheses itself.
func parseState(stat []byte) byte {
	i := bytes.LastIndexByte(stat, ')')
	if i < 0 || i+2 >= len(stat) || stat[i+1] != ' ' {
		return 0
	}
	return stat[i+2]
}
