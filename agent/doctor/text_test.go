package doctor

import (
	"bytes"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
)

var verb = regexp.MustCompile(`%(\[\d\])?[a-z]`)

func TestTextsAreCompleteInAllLanguages(t *testing.T) {
	for v, text := range texts {
		if _, named := stepNames[v.Step()]; !named {
			t.Errorf("verdict %d is about no step", v)
		}
		for l := range Language(languages) {
			if text.said[l] == "" {
				t.Errorf("verdict %d says nothing in language %d", v, l)
			}
			if advises, bad := text.advice[l] != "", text.state != Passed; advises != bad {
				t.Errorf("verdict %d in language %d: advises %v, want %v", v, l, advises, bad)
			}
			if strings.Contains(text.advice[l], "%s") {
				t.Errorf("the advice of verdict %d has arguments", v)
			}
		}
		english, chinese := verbs(text.said[English]), verbs(text.said[Chinese])
		if !slices.Equal(english, chinese) {
			t.Errorf("verdict %d: arguments %q in English, %q in Chinese", v, english, chinese)
		}
		if text.advice[Chinese] != "" && !strings.ContainsFunc(text.advice[Chinese], func(r rune) bool { return unicode.Is(unicode.Han, r) }) {
			t.Errorf("verdict %d: the advice is not Chinese: %s", v, text.advice[Chinese])
		}
	}
	for s := Link; s <= Queue; s++ {
		if len(stepNames[s][English]) == 0 || len(stepNames[s][Chinese]) == 0 {
			t.Errorf("step %d has no name", s)
		}
	}
}

// verbs are what a format does with its arguments, in their order.
func verbs(format string) []string {
	all := verb.FindAllString(format, -1)
	slices.SortStableFunc(all, func(a, b string) int {
		if a[1] == '[' && b[1] == '[' {
			return int(a[2]) - int(b[2])
		}
		return 0
	})
	for i := range all {
		all[i] = all[i][len(all[i])-1:]
	}
	return all
}

func TestWriteFitsTheTerminal(t *testing.T) {
	for v, text := range texts {
		var args []any
		for range verbs(text.said[English]) {
			args = append(args, "x")
		}
		for l := range Language(languages) {
			var b bytes.Buffer
			if err := (Finding{Step: v.Step(), State: text.state, Verdict: v, Args: args}).Write(&b, l); err != nil {
				t.Fatal(err)
			}
			for line := range strings.Lines(b.String()) {
				if n := columns(strings.TrimRight(line, "\n")); n > 80 {
					t.Errorf("verdict %d takes %d columns: %s", v, n, line)
				}
			}
		}
	}
}

func TestWriteSkipped(t *testing.T) {
	var b bytes.Buffer
	Finding{Step: TLS, State: Skipped, After: Connect}.Write(&b, English)
	Finding{Step: TLS, State: Skipped, After: Connect}.Write(&b, Chinese)
	Finding{Step: Queue, State: Skipped}.Write(&b, English)
	want := "tls       -     not examined: needs tcp\n" +
		"TLS       -     未检查：需先解决“连接”\n" +
		"queue     -     not examined: the time was over\n"
	if got := b.String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestExplain(t *testing.T) {
	var b bytes.Buffer
	c, err := Parse("0822-0739")
	if err != nil {
		t.Fatal(err)
	}
	c.Explain(&b, English)
	for _, want := range []string{"0822-0739\n", "tcp       FAIL  … refuses the connection\n", "clock     WARN  …; no answer from …\n", "link: wireless\n"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("got\n%s\nwant %q in it", b.String(), want)
		}
	}
}

func TestParseLanguage(t *testing.T) {
	for s, want := range map[string]Language{"en": English, "zh": Chinese, "zh_CN.UTF-8": Chinese, "EN": English} {
		if got, err := ParseLanguage(s); err != nil || got != want {
			t.Errorf("ParseLanguage(%q) = %v, %v, want %v", s, got, err, want)
		}
	}
	if _, err := ParseLanguage("tlh"); err == nil {
		t.Error("ParseLanguage(tlh) gives no error")
	}
}
