package probe

import (
	"context"
	"errors"
	"math"
	"net/netip"
	"slices"
	"time"

	"github.com/natrix-os/natrix/agent/packet"
)

const (
	maxFlows      = 255                  // that differ in nothing but the source port
	flowPace      = 2 * time.Millisecond // between two packets of an enumeration
	flowsPerLink  = 2                    // through each router, to see whether links cross (MDA-Lite's phi)
	silentFlows   = 6                    // after which a hop that never answered is given up
	shareAnswered = 2                    // one answer to so many flows is expected of a hop that limits its rate
)

// Branch is a router at some distance on one or more of the paths.
type Branch struct {
	Addr  netip.Addr
	Name  string       // its address if it has none
	Flows int          // that were seen to pass it
	Next  []netip.Addr // routers seen after it, sorted
}

// branchOut adds the branches to hops, and further hops if some path is longer
// than the one that was walked. It follows MDA-Lite (Vermeulen et al.,
// Multilevel MDA-Lite Paris Traceroute, IMC 2018): flows are sent to all
// distances until none is likely, at most miss, to have a router that was not seen,
// and the same flows everywhere, which shows the links. Where links cross or
// load is shared unevenly that is not enough, and each router there gets as
// many flows as it takes to be sure of its own successors (node control of
// MDA, Augustin et al., 2007).
func branchOut(ctx context.Context, engine sender, target packet.Request, hops []Hop, miss float64, maxHops int) ([]Hop, error) {
	e := enumeration{target: target, miss: miss, maxHops: maxHops}
	for i, h := range hops {
		if len(h.RTTs()) > 0 {
			e.slowest = max(e.slowest, SpreadOf(h.RTTs()).Max)
			e.hops = make([]fan, i+1)
		}
	}
	if len(e.hops) == 0 {
		return hops, nil
	}
	e.target.Timeout = patience(e.slowest, target.Timeout)
	e.volley = newVolley(engine, maxFlows*maxHops, e.book)
	if err := e.run(ctx); err != nil {
		return hops, err
	}
	for len(hops) < len(e.hops) {
		hops = append(hops, Hop{TTL: len(hops) + 1, Probes: make([]HopProbe, len(hops[0].Probes))})
	}
	for i := range e.hops {
		hops[i].Branches, hops[i].Settled = e.branches(i), e.settled(i)
	}
	return hops, nil
}

// enumeration is a search for branches under way.
type enumeration struct {
	volley  *volley
	target  packet.Request
	miss    float64 // chance to overlook a router of a hop, at most
	maxHops int
	slowest time.Duration
	hops    []fan // by TTL, from 1
	err     error
}

// fan is what the flows met at one distance.
type fan struct {
	asked int             // flows 1 to asked have been sent
	seen  [maxFlows]sight // by flow, from 1
}

// sight is the answer to one flow.
type sight struct {
	addr netip.Addr // zero: none
	end  bool       // the flow goes no further
}

// run sends until no hop wants more flows.
func (e *enumeration) run(ctx context.Context) error {
	for {
		wants := e.wants()
		sent := 0
		for i := range wants {
			for e.hops[i].asked < wants[i] {
				e.hops[i].asked++
				if e.ended(i, e.hops[i].asked) {
					continue
				}
				e.target.TTL, e.target.Flow = i+1, uint16(e.hops[i].asked)
				e.target.Tag = uint64(i)<<16 | uint64(e.hops[i].asked)
				e.volley.send(e.target)
				sent++
				if err := e.volley.until(ctx, time.Now().Add(flowPace)); err != nil {
					return err
				}
			}
		}
		if err := errors.Join(e.volley.rest(ctx, never), e.err); err != nil || sent == 0 {
			return err
		}
		e.extend()
	}
}

func (e *enumeration) book(x packet.Result) {
	switch {
	case x.Err != nil:
		e.err = x.Err
	case x.Reply.Kind != packet.NoReply && !x.Reply.Duplicate:
		e.hops[x.Tag>>16].seen[x.Tag&0xffff-1] = sight{x.Reply.From, final(x.Reply, e.target.Dst)}
	}
}

// extend looks one hop further while some flow goes on after the last.
func (e *enumeration) extend() {
	goesOn := func(s sight) bool { return s.addr.IsValid() && !s.end }
	if last := e.hops[len(e.hops)-1]; len(e.hops) < e.maxHops && slices.ContainsFunc(last.seen[:], goesOn) {
		e.hops = append(e.hops, fan{})
	}
}

// ended reports whether a flow is known to end before hop i.
func (e *enumeration) ended(i, flow int) bool {
	return slices.ContainsFunc(e.hops[:i], func(f fan) bool { return f.seen[flow-1].end })
}

// wants is the number of flows that each hop should have been sent. Hops next
// to each other get the same, so that every flow shows links.
func (e *enumeration) wants() []int {
	own := make([]int, len(e.hops))
	for i := range e.hops {
		own[i] = e.enough(i)
	}
	for i := range len(own) - 1 {
		more := e.more(i)
		own[i], own[i+1] = max(own[i], e.hops[i].asked+more), max(own[i+1], e.hops[i+1].asked+more)
	}
	wants := slices.Clone(own)
	for i := range wants {
		wants[i] = min(max(own[max(i-1, 0)], own[i], own[min(i+1, len(own)-1)]), maxFlows)
	}
	return wants
}

// enough is the number of flows after which the routers of hop i are all
// known, or would be if they answered.
func (e *enumeration) enough(i int) int {
	routers, answered, live := e.census(i)
	need := e.need(routers)
	if answered >= need || live >= need*shareAnswered || answered == 0 && live >= silentFlows {
		return e.hops[i].asked
	}
	return e.hops[i].asked + need - answered
}

// settled reports whether the routers of hop i are all known.
func (e *enumeration) settled(i int) bool {
	routers, answered, _ := e.census(i)
	return answered >= e.need(routers)
}

// need is how many answers it takes to know that there are no more routers.
func (e *enumeration) need(routers int) int { return stoppingPoint(max(routers, 1), e.miss) }

// census counts the routers of hop i, the flows that met one of them, and the
// flows sent that did not end before.
func (e *enumeration) census(i int) (routers, answered, live int) {
	f := &e.hops[i]
	met := make(map[netip.Addr]bool)
	for flow := 1; flow <= f.asked; flow++ {
		if e.ended(i, flow) {
			continue
		}
		live++
		if s := f.seen[flow-1]; s.addr.IsValid() {
			met[s.addr] = true
			answered++
		}
	}
	return len(met), answered, live
}

// more is how many further flows hops i and i+1 need for the links between them.
func (e *enumeration) more(i int) int {
	links := e.links(i)
	if len(links) < 2 {
		return 0
	}
	uneven, lacking := crossed(links), 0
	for _, l := range links {
		need := flowsPerLink
		if uneven {
			need = stoppingPoint(len(l.next), e.miss)
		}
		lacking = max(lacking, need-l.flows)
	}
	return lacking
}

// link is what is known of the ways on from one router.
type link struct {
	flows int // seen at the router and after it
	next  map[netip.Addr]bool
}

// links is the ways on from the routers of hop i to hop i+1.
func (e *enumeration) links(i int) map[netip.Addr]*link {
	links := make(map[netip.Addr]*link)
	for flow, s := range e.hops[i].seen {
		if !s.addr.IsValid() || s.end || i+1 >= len(e.hops) {
			continue
		}
		next := e.hops[i+1].seen[flow]
		if !next.addr.IsValid() {
			continue
		}
		if links[s.addr] == nil {
			links[s.addr] = &link{next: make(map[netip.Addr]bool)}
		}
		links[s.addr].flows++
		links[s.addr].next[next.addr] = true
	}
	return links
}

// crossed reports whether links are such that routers of a hop need not be
// equally likely: a router is reached from several that share load, or routers
// have different numbers of ways on.
func crossed(links map[netip.Addr]*link) bool {
	least, most, total := math.MaxInt, 0, 0
	all := make(map[netip.Addr]bool)
	for _, l := range links {
		least, most = min(least, len(l.next)), max(most, len(l.next))
		total += len(l.next)
		for addr := range l.next {
			all[addr] = true
		}
	}
	return most > 1 && (total > len(all) || least != most)
}

// branches is the routers of hop i by address.
func (e *enumeration) branches(i int) []Branch {
	flows := make(map[netip.Addr]int)
	for _, s := range e.hops[i].seen {
		if s.addr.IsValid() {
			flows[s.addr]++
		}
	}
	links := e.links(i)
	var branches []Branch
	for addr, n := range flows {
		b := Branch{Addr: addr, Flows: n}
		if l := links[addr]; l != nil {
			for next := range l.next {
				b.Next = append(b.Next, next)
			}
			slices.SortFunc(b.Next, netip.Addr.Compare)
		}
		branches = append(branches, b)
	}
	slices.SortFunc(branches, func(a, b Branch) int { return a.Addr.Compare(b.Addr) })
	return branches
}

// stoppingPoint is how many flows must have met k routers, and no other, for
// the chance that there are more to be at most miss: what k+1 equally likely
// routers would make of so many flows is to leave one of them out.
func stoppingPoint(k int, miss float64) int {
	for n := k + 1; ; n++ {
		if overlooked(k+1, n) <= miss {
			return n
		}
	}
}

// overlooked is the chance that n flows leave out one or more of k equally
// likely routers, by inclusion and exclusion.
func overlooked(k, n int) float64 {
	chance, ways, sign := 0.0, 1.0, 1.0
	for i := 1; i < k; i++ {
		ways *= float64(k-i+1) / float64(i)
		chance += sign * ways * math.Pow(1-float64(i)/float64(k), float64(n))
		sign = -sign
	}
	return chance
}
