// Package chaos puts a terminal through what happens to it in the field, and
// accounts for every command at the end: the agent is killed, the broker is
// killed, and what lies between them is cut, stalled, reset, slowed down and
// spoilt, all at random moments.
//
//	go test ./agent/chaos -chaos 10m -v
//
// runs it for ten minutes; in a row of other tests it takes one.
package chaos
