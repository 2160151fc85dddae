// Package agent is the terminal: it builds the core, opens the doors and keeps
// them open.
package agent
