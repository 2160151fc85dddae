package main

import (
	"bytes"
	"encoding/json"
	"testing"
)

func Test24BasicAgentCtl(t *testing.T) {
	for _, test := range []struct {
		args []string
		want int
	}{
		{[]string{"-c", "getinfo.kernel"}, 0},
		{[]string{"-c", "getinfo.users", "-a", "-U root"}, 0},
		{[]string{"-c", "info.users", "-a", "-A"}, 0},
		{[]string{"-c", "getinfo.users", "-a", "-A -u"}, 2},
		{[]string{"-c", "sync.bash", "-a", "id"}, 2},
		{[]string{"-c", "getinfo.nothing"}, 2},
		{nil, 2},
	} {
		var out, problems bytes.Buffer
		if got := basicAgentCtl(t.Context(), test.args, &out, &problems); got != test.want {
			t.Errorf("%q: got %d, want %d: %s", test.args, got, test.want, problems.String())
		}
		if valid := json.Valid(out.Bytes()); valid != (test.want == 0) {
			t.Errorf("%q: printed %q", test.args, out.String())
		}
	}
}
