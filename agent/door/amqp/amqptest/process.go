package amqptest

import (
	"os/exec"
	"runtime"
	"syscall"
)

// process is a program that ends, at the latest, when this process does.
type process struct {
	cmd   *exec.Cmd
	ended chan struct{} // closed once it has
}

func start(cmd *exec.Cmd) (*process, error) {
	p := &process{cmd, make(chan struct{})}
	started := make(chan error)
	go p.run(started)
	if err := <-started; err != nil {
		return nil, err
	}
	return p, nil
}

// run is the life of the program. It stays on one thread because the signal
// that ends the program when this process dies is tied to the thread that
// started it (PR_SET_PDEATHSIG in prctl(2)).
func (p *process) run(started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer close(p.ended)
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	err := p.cmd.Start()
	started <- err
	if err == nil {
		p.cmd.Wait()
	}
}

// kill ends the program and those that it started.
func (p *process) kill() {
	syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	<-p.ended
}
