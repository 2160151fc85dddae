package page

import (
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/tdewolff/parse/v2"
	"github.com/tdewolff/parse/v2/css"
)

const (
	maxRef   = 4 << 10 // bytes of a URL in a style sheet
	maxRules = 4000    // of a style sheet, and of a page, that refer to something
)

// styles is what a style sheet refers to.
type styles struct {
	imports []*url.URL
	rules   []rule
	faces   []face
}

// rule is a rule that refers to something if it applies.
type rule struct {
	selectors [][]string // any of them; each the words that all have to be in the document
	images    []*url.URL
	families  []string // fonts, lower case
}

// face is a font that style sheets define.
type face struct {
	family string // lower case
	src    *url.URL
	ranges [][2]rune // characters it is for; none is all
}

// applies reports whether the document has all words of one of the selectors.
// Whether it has them on the elements meant is not looked at.
func (r rule) applies(words map[string]bool) bool {
	return slices.ContainsFunc(r.selectors, func(needed []string) bool {
		return !slices.ContainsFunc(needed, func(word string) bool { return !words[word] })
	})
}

// covers reports whether the font is for any of the characters, or for ASCII.
func (f face) covers(runes map[rune]bool) bool {
	if len(f.ranges) == 0 {
		return true
	}
	for _, r := range f.ranges {
		if r[0] <= 'a' && 'a' <= r[1] {
			return true
		}
		for c := range runes {
			if r[0] <= c && c <= r[1] {
				return true
			}
		}
	}
	return false
}

// parseStyles reads a style sheet.
func parseStyles(sheet []byte, base *url.URL) styles { return parseCSS(sheet, base, false) }

// parseInline reads the declarations of an element's style, which always apply.
func parseInline(declarations []byte, base *url.URL) styles {
	return parseCSS(declarations, base, true)
}

func parseCSS(text []byte, base *url.URL, inline bool) styles {
	p := css.NewParser(parse.NewInputBytes(text), inline)
	c := cascade{base: base, urls: make(map[string]*url.URL)}
	if inline {
		c.rule.selectors = [][]string{nil}
	}
	for {
		grammar, _, data := p.Next()
		if grammar == css.ErrorGrammar && !p.HasParseError() {
			c.end()
			return c.styles
		}
		c.next(grammar, strings.ToLower(string(data)), p.Values())
	}
}

// cascade collects what a parser reads.
type cascade struct {
	styles
	base    *url.URL
	urls    map[string]*url.URL // by how they are written: sheets repeat themselves
	rule    rule
	face    *face    // that is being defined
	at      []string // rules with blocks that are open
	ignored int      // of them, those from which on nothing applies
}

func (c *cascade) next(grammar css.GrammarType, name string, values []css.Token) {
	switch grammar {
	case css.AtRuleGrammar:
		if name == "@import" && c.ignored == 0 {
			c.importing(values)
		}
	case css.BeginAtRuleGrammar:
		c.at = append(c.at, name)
		switch {
		case c.ignored > 0 || name == "@media" && !matches(plainText(values)) || name == "@page":
			c.ignored++
		case name == "@font-face":
			c.face = new(face)
		}
	case css.EndAtRuleGrammar:
		c.close()
	case css.QualifiedRuleGrammar, css.BeginRulesetGrammar:
		c.selectorList(values)
	case css.EndRulesetGrammar:
		c.end()
	case css.DeclarationGrammar:
		c.declaration(name, values)
	}
}

func (c *cascade) close() {
	if len(c.at) == 0 {
		return
	}
	c.at = c.at[:len(c.at)-1]
	if c.ignored > 0 {
		c.ignored--
	} else if c.face != nil {
		if c.face.family != "" && c.face.src != nil {
			c.faces = append(c.faces, *c.face)
		}
		c.face = nil
	}
}

// end closes a rule, and keeps it if it refers to anything.
func (c *cascade) end() {
	if len(c.rule.images)+len(c.rule.families) > 0 && len(c.rule.selectors) > 0 && len(c.rules) < maxRules {
		c.rules = append(c.rules, c.rule)
	}
	c.rule = rule{}
}

func (c *cascade) importing(values []css.Token) {
	for i, v := range values {
		if ref, ok := locator(v); ok {
			if u := fetchable(c.base, ref); u != nil && matches(plainText(values[i+1:])) {
				c.imports = append(c.imports, u)
			}
			return
		}
	}
}

// locator is the URL that a token is: url(...) or a string.
func locator(v css.Token) (string, bool) {
	switch v.TokenType {
	case css.StringToken:
		return unquoted(string(v.Data)), true
	case css.URLToken:
		inner := strings.TrimSuffix(string(v.Data)[len("url("):], ")")
		return unquoted(strings.TrimSpace(inner)), true
	}
	return "", false
}

// unquoted is a string without its quotes and escapes (CSS Syntax, section 4.3.7).
func unquoted(s string) string {
	if len(s) >= 2 && (s[0] == '"' || s[0] == '\'') {
		s = s[1 : len(s)-1]
	}
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for len(s) > 0 {
		if s[0] != '\\' {
			b.WriteByte(s[0])
			s = s[1:]
			continue
		}
		s = s[1:]
		n := 0
		for n < len(s) && n < 6 && strings.IndexByte("0123456789abcdefABCDEF", s[n]) >= 0 {
			n++
		}
		if n > 0 {
			c, _ := strconv.ParseUint(s[:n], 16, 32)
			b.WriteRune(rune(c))
			s = strings.TrimPrefix(s[n:], " ")
		}
	}
	return b.String()
}

func plainText(values []css.Token) string {
	var b strings.Builder
	for _, v := range values {
		b.Write(v.Data)
	}
	return strings.TrimSpace(b.String())
}

// selectorList takes the selectors of a rule, one by one.
func (c *cascade) selectorList(values []css.Token) {
	if c.ignored > 0 {
		return
	}
	nested, from := 0, 0
	for i, v := range values {
		nested += nesting(v)
		if v.TokenType == css.CommaToken && nested == 0 {
			c.selector(values[from:i])
			from = i + 1
		}
	}
	c.selector(values[from:])
}

// nesting is how a token changes the depth of brackets.
func nesting(v css.Token) int {
	switch v.TokenType {
	case css.FunctionToken, css.LeftParenthesisToken, css.LeftBracketToken:
		return 1
	case css.RightParenthesisToken, css.RightBracketToken:
		return -1
	}
	return 0
}

// attention is the pseudo-classes of what somebody points at or types into.
var attention = []string{"hover", "focus", "focus-visible", "focus-within", "active", "visited", "target", "checked"}

// selector notes the words of one selector. What a pseudo-class or an attribute
// says is not looked at; a selector for the pointer or the keyboard does not apply.
func (c *cascade) selector(values []css.Token) {
	needed := []string{}
	nested := 0
	before := ""
	for _, v := range values {
		word := string(v.Data)
		nested += nesting(v)
		switch {
		case nested > 0:
		case v.TokenType == css.HashToken:
			needed = append(needed, word)
		case v.TokenType == css.IdentToken && before == ".":
			needed = append(needed, "."+word)
		case v.TokenType == css.IdentToken && before == ":":
			if slices.Contains(attention, word) {
				return
			}
		case v.TokenType == css.IdentToken:
			needed = append(needed, strings.ToLower(word))
		}
		before = word
	}
	c.rule.selectors = append(c.rule.selectors, needed)
}

func (c *cascade) declaration(name string, values []css.Token) {
	if c.ignored > 0 {
		return
	}
	if c.face != nil {
		c.describe(name, values)
		return
	}
	if name == "font-family" || name == "font" {
		c.rule.families = append(c.rule.families, families(values)...)
		return
	}
	for _, v := range values {
		if v.TokenType != css.URLToken {
			continue
		}
		ref, _ := locator(v)
		if u := c.fetchable(ref); ref != "" && ref[0] != '#' && u != nil {
			c.rule.images = append(c.rule.images, u)
		}
	}
}

func (c *cascade) fetchable(ref string) *url.URL {
	if len(ref) > maxRef {
		return nil // data, or nothing that a server would take
	}
	u, known := c.urls[ref]
	if !known {
		u = fetchable(c.base, ref)
		c.urls[ref] = u
	}
	return u
}

// families are the names in a font's declaration. Sizes and weights in a
// shorthand are among them: no font is called so.
func families(values []css.Token) []string {
	var names []string
	words := []string{}
	flush := func() {
		if len(words) > 0 {
			names = append(names, strings.ToLower(strings.Join(words, " ")))
		}
		words = nil
	}
	for _, v := range values {
		switch v.TokenType {
		case css.StringToken:
			words = append(words, unquoted(string(v.Data)))
		case css.IdentToken:
			words = append(words, string(v.Data))
		case css.CommaToken:
			flush()
		case css.NumberToken, css.DimensionToken, css.PercentageToken:
			words = nil
		}
	}
	flush()
	return names
}

// describe takes a declaration of a font: of its sources the first that
// browsers take, preferably WOFF2.
func (c *cascade) describe(name string, values []css.Token) {
	switch name {
	case "font-family":
		if names := families(values); len(names) > 0 {
			c.face.family = names[0]
		}
	case "unicode-range":
		c.face.ranges = ranges(plainText(values))
	case "src":
		for i, v := range values {
			ref, _ := locator(v)
			u := fetchable(c.base, ref)
			if v.TokenType != css.URLToken || ref == "" || u == nil || strings.HasSuffix(u.Path, ".eot") {
				continue
			}
			newest := strings.HasSuffix(u.Path, ".woff2") || strings.Contains(plainText(upToComma(values[i+1:])), "woff2")
			if c.face.src == nil || newest {
				c.face.src = u
			}
			if newest {
				return
			}
		}
	}
}

func upToComma(values []css.Token) []css.Token {
	if i := slices.IndexFunc(values, func(v css.Token) bool { return v.TokenType == css.CommaToken }); i >= 0 {
		return values[:i]
	}
	return values
}

// ranges reads a unicode-range: U+26, U+0-7F, U+4??.
func ranges(s string) [][2]rune {
	var all [][2]rune
	for part := range strings.SplitSeq(strings.ToUpper(s), ",") {
		from, to, span := strings.Cut(strings.TrimPrefix(strings.TrimSpace(part), "U+"), "-")
		if !span {
			to = strings.ReplaceAll(from, "?", "F")
			from = strings.ReplaceAll(from, "?", "0")
		}
		first, err1 := strconv.ParseUint(from, 16, 31)
		last, err2 := strconv.ParseUint(to, 16, 31)
		if err1 == nil && err2 == nil {
			all = append(all, [2]rune{rune(first), rune(last)})
		}
	}
	return all
}
