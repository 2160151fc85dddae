package shell

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"unicode/utf8"

	"github.com/google/shlex"
	"github.com/spf13/cobra"
)

// key handles the keys that the line editor leaves to its owner: Tab, the
// question mark, and Ctrl-D in its disguise.
func (s *session) key(ctx context.Context, line string, pos int, key rune) (string, int, bool) {
	switch key {
	case '\t':
		line, pos = s.complete(ctx, line, pos)
		return line, pos, true
	case '?':
		return line, pos, s.explain(ctx, line[:pos])
	case endKey:
		if line == "" {
			fmt.Fprintln(s.screen, "exit leaves the shell, help lists the commands")
		} else if pos < len(line) {
			_, size := utf8.DecodeRuneInString(line[pos:])
			line = line[:pos] + line[pos+size:]
		}
		return line, pos, true
	}
	return "", 0, false
}

// complete extends the word before pos as far as all candidates agree, and
// shows them if that is no further.
func (s *session) complete(ctx context.Context, line string, pos int) (string, int) {
	head, tail := line[:pos], line[pos:]
	words, last, ok := lastWord(head)
	if !ok {
		return line, pos
	}
	found, space := s.candidates(ctx, words, last)
	common := commonPrefix(found)
	switch {
	case len(found) == 0:
		return line, pos
	case len(found) == 1 && space:
		common += " "
	case len(found) > 1 && common == last:
		s.show(found)
	}
	head = head[:len(head)-len(last)] + common
	return head + tail, len(head)
}

// explain shows what could stand behind the blank before the cursor. It is
// false where a question mark is part of a word.
func (s *session) explain(ctx context.Context, head string) bool {
	words, last, ok := lastWord(head)
	if !ok || last != "" {
		return false
	}
	found, _ := s.candidates(ctx, words, "")
	if len(words) > 0 && words[0] == "natrix" {
		words = words[1:]
	}
	if c, _, err := s.tree().Find(words); err == nil && len(words) > 0 {
		fmt.Fprintf(s.screen, "%s: %s\n", strings.TrimSuffix(strings.TrimPrefix(c.UseLine(), "natrix "), " [flags]"), c.Short)
		if c.Runnable() && len(found) == 0 {
			fmt.Fprint(s.screen, c.LocalFlags().FlagUsages())
		}
	}
	s.show(found)
	return true
}

// lastWord splits off the word that is being typed. It is not ok inside quotes,
// where the word is not what stands in the line.
func lastWord(head string) (words []string, last string, ok bool) {
	words, err := shlex.Split(head)
	if err != nil {
		return nil, "", false
	}
	if len(words) == 0 || strings.HasSuffix(head, " ") {
		return words, "", true
	}
	last = words[len(words)-1]
	return words[:len(words)-1], last, strings.HasSuffix(head, last)
}

// candidate is a word that could stand there.
type candidate struct {
	word, about string
}

// candidates asks cobra, as the completion scripts of other shells do. With
// space, a blank may follow the word.
func (s *session) candidates(ctx context.Context, words []string, last string) (found []candidate, space bool) {
	defer func() {
		if recover() != nil { // a completion that crashes completes nothing
			found = nil
		}
	}()
	root := s.tree()
	if len(words) > 0 && words[0] == root.Name() {
		words = words[1:]
	}
	var out bytes.Buffer
	root.SetArgs(append(append([]string{cobra.ShellCompRequestCmd}, words...), last))
	root.SetOut(&out)
	root.SetErr(io.Discard)
	if err := root.ExecuteContext(ctx); err != nil {
		return nil, false
	}
	var directive cobra.ShellCompDirective
	for line := range strings.Lines(out.String()) {
		line = strings.TrimSuffix(line, "\n")
		if number, ok := strings.CutPrefix(line, ":"); ok {
			n, _ := strconv.Atoi(number)
			directive = cobra.ShellCompDirective(n)
			continue
		}
		word, about, _ := strings.Cut(line, "\t")
		if strings.HasPrefix(word, last) && !strings.HasPrefix(word, "_activeHelp_") {
			found = append(found, candidate{word, about})
		}
	}
	return found, directive&(cobra.ShellCompDirectiveNoSpace|cobra.ShellCompDirectiveError) == 0
}

func commonPrefix(found []candidate) string {
	if len(found) == 0 {
		return ""
	}
	common := found[0].word
	for _, c := range found[1:] {
		for !strings.HasPrefix(c.word, common) {
			common = common[:len(common)-1]
		}
	}
	return common
}

// show lists candidates above the line that is being typed.
func (s *session) show(found []candidate) {
	var b bytes.Buffer
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, c := range found {
		fmt.Fprintf(w, "%s\t%s\n", c.word, c.about)
	}
	w.Flush()
	var fitting strings.Builder
	for line := range strings.Lines(b.String()) {
		if r := []rune(strings.TrimRight(line, " \n")); len(r) >= s.width && s.width > 2 {
			line = string(r[:s.width-2]) + "…\n"
		}
		fitting.WriteString(line)
	}
	io.WriteString(s.screen, fitting.String())
}
