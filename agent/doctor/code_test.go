package doctor

import (
	"strings"
	"testing"

	"github.com/natrix-os/natrix/sysinfo/netif"
)

func TestCodesAreReadBack(t *testing.T) {
	for v, text := range texts {
		for _, kind := range kinds {
			c := Code{Kind: kind}
			switch text.state {
			case Failed:
				c.Failed = v
			case Warned:
				c.Warned = v
			}
			got, err := Parse(c.String())
			if err != nil || got != c {
				t.Errorf("Parse(%s) = %+v, %v, want %+v", c, got, err, c)
			}
		}
	}
}

// The code is on paper in help desks: it must never change.
func TestCodeIsStable(t *testing.T) {
	for want, c := range map[string]Code{
		"0000-0000": {Kind: netif.Other},
		"0211-0008": {Failed: CarrierNone, Kind: netif.Wired},
		"0822-0739": {Failed: ConnectRefused, Kind: netif.Wireless, Warned: ClockUnchecked},
		"1113-0009": {Failed: VHostNone, Kind: netif.Mobile},
	} {
		if got := c.String(); got != want {
			t.Errorf("%+v is %s, want %s", c, got, want)
		}
	}
}

func TestCheckDigitRevealsTypingErrors(t *testing.T) {
	right := strings.ReplaceAll(Code{Failed: ConnectRefused, Kind: netif.Wired, Warned: ClockUnchecked}.String(), "-", "")
	for i := range right {
		for d := '0'; d <= '9'; d++ {
			wrong := right[:i] + string(d) + right[i+1:]
			if _, err := Parse(wrong); (err == nil) != (wrong == right) {
				t.Errorf("Parse(%s) for %s: %v", wrong, right, err)
			}
		}
		if i > 0 && right[i] != right[i-1] {
			swapped := right[:i-1] + right[i:i+1] + right[i-1:i] + right[i+1:]
			if _, err := Parse(swapped); err == nil {
				t.Errorf("Parse(%s) takes swapped digits for %s", swapped, right)
			}
		}
	}
}

// The example of Damm's thesis.
func TestCheckIsDamms(t *testing.T) {
	if got := check("572"); got != 4 {
		t.Errorf("check(572) = %d, want 4", got)
	}
}

func TestParseRefuses(t *testing.T) {
	for _, s := range []string{"", "0211", "0211-000x", "02110-0008", "9991-0002"} {
		if c, err := Parse(s); err == nil {
			t.Errorf("Parse(%q) = %+v, want an error", s, c)
		}
	}
	if got, err := Parse("02 11.00 08"); err != nil || got.Failed != CarrierNone {
		t.Errorf("Parse with blanks = %+v, %v", got, err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("0211-0008")
	f.Add("\xff")
	f.Fuzz(func(t *testing.T, s string) {
		c, err := Parse(s)
		if err != nil {
			return
		}
		again, err := Parse(c.String())
		if err != nil || again != c {
			t.Errorf("Parse(%q) = %+v, which is %s, which is %+v, %v", s, c, c, again, err)
		}
		c.Explain(new(strings.Builder), Chinese)
	})
}
