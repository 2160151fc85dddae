package doctor

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"
)

const (
	width  = 79 // columns of a terminal, the last of which some do not take well
	margin = 16 // columns before what is said
)

// Write prints a finding: one line for the step, and what to do.
func (f Finding) Write(w io.Writer, l Language) error {
	said, advice := f.texts(l)
	head := pad(stepNames[f.Step][l], 10) + pad(stateNames[f.State][l], margin-10)
	_, err := io.WriteString(w, head+wrap(said)+"\n")
	if advice != "" && err == nil {
		_, err = io.WriteString(w, pad("", margin-3)+"-> "+wrap(advice)+"\n")
	}
	return err
}

// texts are what is the case and what to do.
func (f Finding) texts(l Language) (said, advice string) {
	switch {
	case f.State != Skipped:
		t := texts[f.Verdict]
		return fmt.Sprintf(t.said[l], f.Args...), t.advice[l]
	case f.After != 0:
		return fmt.Sprintf(skippedAfter[l], stepNames[f.After][l]), ""
	default:
		return skippedTime[l], ""
	}
}

// WriteSum prints what follows from all findings, and the code.
func (r Report) WriteSum(w io.Writer, l Language) error {
	sum := online[l]
	if f, ok := r.Failed(); ok {
		sum = fmt.Sprintf(offline[l], stepNames[f.Step][l])
	} else if _, ok := r.first(Skipped); ok {
		sum = notDone[l]
	}
	_, err := fmt.Fprintf(w, "\n%s\n%s\n", sum, fmt.Sprintf(codeIs[l], r.Code()))
	return err
}

// Explain prints what a code says.
func (c Code) Explain(w io.Writer, l Language) error {
	var b strings.Builder
	fmt.Fprintln(&b, c)
	for _, v := range []Verdict{c.Failed, c.Warned} {
		if v == 0 {
			continue
		}
		t := texts[v]
		fmt.Fprintf(&b, "%s%s%s\n", pad(stepNames[v.Step()][l], 10), pad(stateNames[t.state][l], margin-10), wrap(blank(t.said[l])))
		fmt.Fprintf(&b, "%s-> %s\n", pad("", margin-3), wrap(t.advice[l]))
	}
	if c.Failed == 0 {
		fmt.Fprintln(&b, explainFine[l])
	}
	fmt.Fprintln(&b, fmt.Sprintf(explainLink[l], string(c.Kind)))
	_, err := io.WriteString(w, b.String())
	return err
}

// blank puts dots where a text has arguments, which a code does not carry.
func blank(format string) string {
	return strings.NewReplacer("%[1]s", "…", "%[2]d", "…", "%s", "…", "%d", "…", "%v", "…", "%q", "…").Replace(format)
}

// columns is how wide a terminal shows s: Chinese takes two for a character.
func columns(s string) (n int) {
	for _, r := range s {
		n++
		if r >= 0x2e80 {
			n++
		}
	}
	return n
}

func pad(s string, to int) string { return s + strings.Repeat(" ", max(1, to-columns(s))) }

// wrap breaks a text behind words so that it fits right of the margin. Chinese
// has no blanks and may be broken anywhere.
func wrap(s string) string {
	var lines []string
	line := ""
	for _, word := range words(s) {
		if columns(line)+columns(strings.TrimRight(word, " ")) > width-margin && line != "" {
			lines = append(lines, strings.TrimRight(line, " "))
			line = ""
		}
		line += word
	}
	lines = append(lines, line)
	return strings.Join(lines, "\n"+strings.Repeat(" ", margin))
}

// words splits a text where a line may end, with the blanks at the ends of the
// words. Chinese punctuation does not begin a line.
func words(s string) []string {
	var all []string
	last := ""
	for _, r := range s {
		wide := r >= 0x2e80 && !strings.ContainsRune("，。；：、）”", r)
		if wide && last != "" || strings.HasSuffix(last, " ") && r != ' ' {
			all = append(all, last)
			last = ""
		}
		last += string(r)
	}
	return append(all, last)
}

// MarshalJSON writes the report for scripts, in English.
func (r Report) MarshalJSON() ([]byte, error) {
	type step struct {
		Step    string  `json:"step"`
		State   string  `json:"state"` // ok, warn, fail or skipped
		Verdict int     `json:"verdict"`
		Said    string  `json:"said"`
		Advice  string  `json:"advice,omitempty"`
		Took    float64 `json:"took_ms"`
	}
	_, offline := r.Failed()
	document := struct {
		Offline bool   `json:"offline"`
		Code    string `json:"code"`
		Steps   []step `json:"steps"`
	}{offline, r.Code().String(), nil}
	for _, f := range r.Findings {
		said, advice := f.texts(English)
		state := strings.ToLower(stateNames[f.State][English])
		if f.State == Skipped {
			state = "skipped"
		}
		document.Steps = append(document.Steps, step{stepNames[f.Step][English], state, int(f.Verdict), said, advice, ms(f.Took)})
	}
	return json.Marshal(document)
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
