package appliance

import (
	"context"
	"log/slog"
	"slices"
	"sync"
)

// machine is what PID 1 keeps alive, until stop.
type machine struct {
	log      *slog.Logger
	journal  *journal
	children *children
	orders   chan order // from the control socket
	silences silences

	ctx  context.Context // ends with stop
	stop context.CancelFunc
	wait sync.WaitGroup // for all that ends with ctx

	screens map[string]*screen // by the name of the console

	update   []string   // see Config.Update
	updating sync.Mutex // held by the update that is under way

	mu       sync.Mutex
	services []*service
	dog      *dog // nil if there is none
}

func newMachine(ctx context.Context, j *journal, log *slog.Logger) *machine {
	m := &machine{log: log, journal: j, children: newChildren(), orders: make(chan order, 1), silences: defaultSilences(), screens: make(map[string]*screen)}
	m.ctx, m.stop = context.WithCancel(ctx)
	return m
}

// keep keeps a service running.
func (m *machine) keep(name string, args []string) {
	s := &service{name: name, args: args, children: m.children, journal: m.journal, log: m.log, retired: make(chan struct{})}
	ctx, retire := context.WithCancel(m.ctx)
	s.retire = retire
	m.mu.Lock()
	m.services = append(m.services, s)
	m.mu.Unlock()
	m.wait.Go(func() {
		defer close(s.retired)
		defer retire()
		servicePace.keep(ctx, s.run)
	})
}

// retire ends the services, the last one first: the agent says goodbye to the
// broker while there is still a network. Otherwise the broker would go on
// giving commands to a terminal that is gone, until it misses its heartbeats.
func (m *machine) retire() {
	m.mu.Lock()
	services := slices.Clone(m.services)
	m.mu.Unlock()
	for _, s := range slices.Backward(services) {
		s.retire()
		<-s.retired
	}
}

// close ends all that the machine runs.
func (m *machine) close() {
	m.stop()
	m.wait.Wait()
	m.children.close()
	m.disarm()
}
