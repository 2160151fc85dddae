package doctor

import (
	"errors"
	"fmt"
	"strings"

	"github.com/natrix-os/natrix/sysinfo/netif"
)

// Code is what a person reads out over a telephone: eight digits, which sound
// different from each other in every language.
//
//	0 4 1 1 - 0 7 3 5
//	└─┬─┘ │   └─┬─┘ └ check digit
//	  │   │     └ the first verdict that is only a warning; 000 for none
//	  │   └ kind of link: 1 wired, 2 wireless, 3 mobile, 0 anything else
//	  └ the verdict that keeps the terminal offline; 000 for none
//
// A verdict is the number of its step (two digits) and one digit for what was
// found. The check digit is Damm's: it reveals every single wrong digit and
// every two neighbours that were swapped.
type Code struct {
	Failed Verdict // 0 if nothing did
	Kind   netif.Kind
	Warned Verdict // 0 if nothing did
}

// Code sums the report up.
func (r Report) Code() Code {
	c := Code{Kind: r.Kind}
	if f, ok := r.first(Failed); ok {
		c.Failed = f.Verdict
	}
	if f, ok := r.first(Warned); ok {
		c.Warned = f.Verdict
	}
	return c
}

// kinds are the kinds of links by their digit.
var kinds = [...]netif.Kind{netif.Other, netif.Wired, netif.Wireless, netif.Mobile}

// String is the code as it is read out.
func (c Code) String() string {
	kind := 0
	for digit, k := range kinds {
		if k == c.Kind {
			kind = digit
		}
	}
	s := fmt.Sprintf("%03d%d%03d", int(c.Failed), kind, int(c.Warned))
	s += string('0' + check(s))
	return s[:4] + "-" + s[4:]
}

// Parse reads a code as people type it: blanks, hyphens and dots do not count.
func Parse(s string) (Code, error) {
	digits := strings.NewReplacer("-", "", " ", "", ".", "").Replace(s)
	if len(digits) != 8 || strings.Trim(digits, "0123456789") != "" {
		return Code{}, fmt.Errorf("%q is not a code: want eight digits", s)
	}
	if check(digits) != 0 {
		return Code{}, fmt.Errorf("%q has a wrong digit, or two that are swapped: have it read out again", s)
	}
	number := func(from, to int) (n int) {
		for _, d := range digits[from:to] {
			n = 10*n + int(d-'0')
		}
		return n
	}
	c := Code{Failed: Verdict(number(0, 3)), Warned: Verdict(number(4, 7))}
	kind := number(3, 4)
	if kind >= len(kinds) || !c.Failed.is(Failed) || !c.Warned.is(Warned) {
		return Code{}, errors.New("this version of natrix does not know the code: ask the natrix that printed it")
	}
	c.Kind = kinds[kind]
	return c, nil
}

// is reports whether v is no verdict, or one of the state.
func (v Verdict) is(s State) bool {
	t, known := texts[v]
	return v == 0 || known && t.state == s
}

// damm is the quasigroup of order 10 from H. M. Damm, "Total anti-symmetrische
// Quasigruppen" (2004).
var damm = [10][10]rune{
	{0, 3, 1, 7, 5, 9, 8, 6, 4, 2},
	{7, 0, 9, 2, 1, 5, 4, 8, 6, 3},
	{4, 2, 0, 6, 8, 7, 1, 3, 5, 9},
	{1, 7, 5, 0, 9, 8, 3, 4, 2, 6},
	{6, 1, 2, 3, 0, 4, 5, 9, 7, 8},
	{3, 6, 7, 4, 2, 0, 9, 5, 8, 1},
	{5, 8, 6, 9, 7, 2, 0, 1, 3, 4},
	{8, 9, 4, 5, 3, 6, 2, 0, 1, 7},
	{9, 4, 3, 8, 6, 1, 7, 2, 0, 5},
	{2, 5, 8, 1, 4, 3, 6, 7, 9, 0},
}

// check is the check digit of digits, and 0 for digits that end with theirs.
func check(digits string) rune {
	var interim rune
	for _, d := range digits {
		interim = damm[interim][d-'0']
	}
	return interim
}
