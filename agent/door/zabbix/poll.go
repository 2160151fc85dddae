package zabbix

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// unsupported is why an item has no value: the server shows it.
func unsupported(format string, args ...any) error { return fmt.Errorf(format, args...) }

// errUnreachable wraps what keeps an interface from being asked: no value, and
// no failure of the item either.
type errUnreachable struct{ error }

// poll gets the value of an item and passes it on.
func (p *proxy) poll(ctx context.Context, it *item) {
	at := time.Now()
	text, err := p.measure(ctx, it)
	if ctx.Err() != nil {
		return // cut short by our own shutdown: not a value
	}
	var unreachable errUnreachable
	if errors.As(err, &unreachable) {
		p.Log.Debug("no value", "item", it.keyText, "err", err)
		return
	}
	p.take(it, text, err, at)
}

// measure asks for the value of an item, whichever kind it is.
func (p *proxy) measure(ctx context.Context, it *item) (string, error) {
	if it.invalid != "" {
		return "", errors.New(it.invalid)
	}
	switch it.kind {
	case typeSimple:
		return p.simple(ctx, it)
	case typeAgent:
		return p.agent(ctx, it)
	case typeHTTP:
		return p.fetch(ctx, it)
	case typeInternal:
		return p.internal(it)
	}
	return "", unsupported("item type %d is not supported by this proxy", it.kind)
}

// take passes a value, or why there is none, through preprocessing into the
// queue, and on to the items that depend on it.
func (p *proxy) take(it *item, text string, err error, at time.Time) {
	v := value{at: at, text: text}
	if err != nil {
		v.text, v.failed = err.Error(), true
	}
	p.enqueue(p.process.all(nil, p.snapshot(), it, v))
}

func (p *proxy) enqueue(bodies [][]byte) {
	if err := p.values.Append(bodies...); err != nil {
		p.Log.Error("values are lost", "values", len(bodies), "err", err)
	}
}

// internal answers the items about the proxy itself.
func (p *proxy) internal(it *item) (string, error) {
	if it.key.name == "zabbix" {
		switch it.key.param(0) {
		case "version":
			return p.dialect().announced(), nil
		case "items":
			return fmt.Sprint(len(p.snapshot().items)), nil
		case "hosts":
			return fmt.Sprint(len(p.snapshot().hosts)), nil
		}
	}
	return "", unsupported("internal item %s is not supported by this proxy", it.keyText)
}
