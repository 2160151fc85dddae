package command

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

// echoParams is a command's parameters, one of each kind.
type echoParams struct {
	Count    int
	Wait     time.Duration
	Server   string
	Verbose  bool
	Protocol string
}

func defaultEcho() echoParams { return echoParams{Count: 3, Wait: time.Second, Protocol: "icmp"} }

func (p *echoParams) Flags(f *Flags) {
	f.Int(&p.Count, "count", "c", "how often", 1, 100)
	f.Seconds(&p.Wait, "timeout", "t", "how long", "dns_timeout")
	f.Text(&p.Server, "server", "s", "whom", "dns_server")
	f.Switch(&p.Verbose, "verbose", "v", "tell more")
	f.Choice(&p.Protocol, "icmp", "I", "", "traceroute_icmp")
	f.Choice(&p.Protocol, "tcp", "T", "", "traceroute_tcp")
}

// echoed is the parameters that a run saw.
type echoed struct {
	number
	params      echoParams
	destination string
	link        string
}

func echoSet(run func(context.Context, string, echoParams) (echoed, error)) Set {
	return NewSet(Define(Info{Name: "echo"}, defaultEcho, run))
}

func echo(ctx context.Context, destination string, p echoParams) (echoed, error) {
	return echoed{params: p, destination: destination, link: LinkOf(ctx)}, nil
}

func TestExecuteParameters(t *testing.T) {
	for _, test := range []struct {
		name   string
		params map[string]string
		want   func(*echoParams)
	}{
		{"defaults", nil, func(p *echoParams) {}},
		{"number", map[string]string{"count": "10"}, func(p *echoParams) { p.Count = 10 }},
		{"whole float", map[string]string{"count": "10.0"}, func(p *echoParams) { p.Count = 10 }},
		{"seconds", map[string]string{"timeout": "0.2"}, func(p *echoParams) { p.Wait = 200 * time.Millisecond }},
		{"own spelling wins", map[string]string{"timeout": "1", "dns_timeout": "2"}, func(p *echoParams) { p.Wait = 2 * time.Second }},
		{"alias", map[string]string{"dns_server": "192.0.2.1"}, func(p *echoParams) { p.Server = "192.0.2.1" }},
		{"true", map[string]string{"verbose": "True"}, func(p *echoParams) { p.Verbose = true }},
		{"one", map[string]string{"verbose": "1"}, func(p *echoParams) { p.Verbose = true }},
		{"false", map[string]string{"verbose": "FALSE"}, func(p *echoParams) {}},
		{"choice", map[string]string{"traceroute_tcp": "true"}, func(p *echoParams) { p.Protocol = "tcp" }},
		{"choice not taken", map[string]string{"tcp": "false"}, func(p *echoParams) {}},
		{"stray key", map[string]string{"operation": "get"}, func(p *echoParams) {}},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := echoSet(echo).Execute(t.Context(), Command{Name: "echo", Destination: "x", Link: "eth7", Params: test.params, Received: time.Now()})
			if r.Err != nil {
				t.Fatal(r.Err)
			}
			want := defaultEcho()
			test.want(&want)
			got := r.Data.(echoed)
			if got.params != want {
				t.Errorf("got %+v, want %+v", got.params, want)
			}
			if got.link != "eth7" || got.destination != "x" {
				t.Errorf("got %q by %q", got.destination, got.link)
			}
		})
	}
}

func TestExecuteRefuses(t *testing.T) {
	panicking := func(context.Context, string, echoParams) (echoed, error) { panic("tripped") }
	for _, test := range []struct {
		name string
		set  Set
		c    Command
		want error
	}{
		{"unknown command", echoSet(echo), Command{Name: "performance", Destination: "x"}, ErrUnsupported},
		{"command not granted", echoSet(echo).Only("ping"), Command{Name: "echo", Destination: "x"}, ErrUnsupported},
		{"count too large", echoSet(echo), Command{Name: "echo", Destination: "x", Params: map[string]string{"count": "101"}}, ErrParameter},
		{"count not whole", echoSet(echo), Command{Name: "echo", Destination: "x", Params: map[string]string{"count": "1.5"}}, ErrParameter},
		{"count not a number", echoSet(echo), Command{Name: "echo", Destination: "x", Params: map[string]string{"count": "[1]"}}, ErrParameter},
		{"timeout negative", echoSet(echo), Command{Name: "echo", Destination: "x", Params: map[string]string{"timeout": "-1"}}, ErrParameter},
		{"timeout infinite", echoSet(echo), Command{Name: "echo", Destination: "x", Params: map[string]string{"timeout": "NaN"}}, ErrParameter},
		{"no destination", echoSet(echo), Command{Name: "echo"}, ErrParameter},
		{"panic", echoSet(panicking), Command{Name: "echo", Destination: "x"}, ErrInternal},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.c.Received = time.Now()
			r := test.set.Execute(t.Context(), test.c)
			if !errors.Is(r.Err, test.want) || r.Data != nil {
				t.Errorf("got %v, %v, want %v", r.Data, r.Err, test.want)
			}
		})
	}
}

func TestExecuteCutsOffAtDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stuck := func(ctx context.Context, _ string, _ echoParams) (echoed, error) {
			<-ctx.Done()
			return echoed{}, ctx.Err()
		}
		begin := time.Now()
		r := echoSet(stuck).Execute(t.Context(), Command{Name: "echo", Destination: "x", Received: begin})
		if !errors.Is(r.Err, ErrTimeout) {
			t.Errorf("got %v, want %v", r.Err, ErrTimeout)
		}
		if got := r.Answered.Sub(begin); got != answerWithin {
			t.Errorf("cut off after %v, want %v", got, answerWithin)
		}
	})
}

func TestNewSetPanicsOnTwins(t *testing.T) {
	defer func() {
		if got := fmt.Sprint(recover()); got != "command: echo defined twice" {
			t.Errorf("got %q", got)
		}
	}()
	d := Define(Info{Name: "echo"}, defaultEcho, echo)
	NewSet(d, d)
}

func TestCode(t *testing.T) {
	for _, test := range []struct {
		name string
		err  error
		want int
	}{
		{"ping", fmt.Errorf("resolve x: %w", ErrResolve), 140},
		{"ping", ErrUnreachable, 141},
		{"traceroute", ErrResolve, 103},
		{"traceroute", errors.New("other"), 102},
		{"dns", ErrResolve, 101},
		{"dns", ErrTimeout, 102},
		{"dns", ErrNoRecord, 103},
		{"dns", ErrParameter, 104},
		{"dns", ErrNoResolver, 105},
		{"http", ErrResolve, 6},
		{"http", ErrConnect, 7},
		{"http", ErrTimeout, 28},
		{"http", ErrRedirects, 47},
		{"http", ErrCertificate, 60},
		{"performance", ErrURL, 120},
		{"performance", ErrTimeout, 122},
		{"telepathy", ErrUnsupported, 1},
	} {
		if got := Code(test.name, test.err); got != test.want {
			t.Errorf("%s, %v: got %d, want %d", test.name, test.err, got, test.want)
		}
	}
}

func TestExecuteLeavesAStuckProbeBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		free := make(chan struct{})
		defer close(free)
		s := echoSet(func(context.Context, string, echoParams) (echoed, error) {
			<-free // whatever its context says
			return echoed{}, nil
		})
		begin := time.Now()
		r := s.Execute(t.Context(), Command{Name: "echo", Destination: "x", Received: begin})
		if !errors.Is(r.Err, ErrInternal) {
			t.Errorf("got %v, want %v", r.Err, ErrInternal)
		}
		if took := time.Since(begin); took != answerWithin+grace {
			t.Errorf("answered after %v, want %v", took, answerWithin+grace)
		}
	})
}
