package command

import "errors"

// A row gives the number that one command's protocol uses for a kind of failure.
type row struct {
	kind error
	code int
}

// codes holds the numbers by command. They overlap between commands, because
// each follows the tool that the original client wrapped: its own numbers for
// ping, traceroute and dns, libcurl's (libcurl-errors(3)) for http.
var codes = map[string][]row{
	"ping": {
		{ErrUnreachable, 141},
	},
	"traceroute": {
		{ErrPermission, 100},
		{ErrResolve, 103},
	},
	"dns": {
		{ErrNoResolver, 105},
		{ErrParameter, 104},
		{ErrNoRecord, 103},
		{ErrTimeout, 102},
		{ErrResolve, 101},
	},
	"http": {
		{ErrUnsupported, 1},
		{ErrScheme, 1},
		{ErrURL, 3},
		{ErrParameter, 3},
		{ErrLink, 45},
		{ErrRedirects, 47},
		{ErrCertificate, 60},
		{ErrOwnCert, 58},
		{ErrAuthorities, 77},
		{ErrTLS, 35},
		{ErrTimeout, 28},
		{ErrResolve, 6},
		{ErrConnect, 7},
		{ErrUnreachable, 7},
		{ErrEmptyReply, 52},
		{ErrPartial, 18},
		{ErrSend, 55},
		{ErrReceive, 56},
		{ErrWeirdReply, 8},
		{ErrHTTP2, 92},
		{ErrAuth, 94},
		{ErrHTTP3, 95},
	},
	"performance": {
		{ErrURL, 120},
		{ErrUnsupported, 120},
		{ErrScheme, 120},
	},
}

// others holds the number of every failure that has no row of its own.
var others = map[string]int{
	"ping":       140,
	"traceroute": 102,
	"mtr":        102,
	"dns":        101,
	"http":       122,

	"performance": 122,
}

// unsupported is the number of a command that this terminal does not have
// (libcurl's CURLE_UNSUPPORTED_PROTOCOL).
const unsupported = 1

// Code is the errorcode of a failure of the command called name: never 0.
func Code(name string, err error) int {
	for _, r := range codes[name] {
		if errors.Is(err, r.kind) {
			return r.code
		}
	}
	if code, ok := others[name]; ok {
		return code
	}
	return unsupported
}
