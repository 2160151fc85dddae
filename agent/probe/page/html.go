package page

import (
	"io"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/html"
)

// A reference is something that a document or a style sheet has a browser fetch.
type reference struct {
	url       *url.URL
	initiator string
	kind      kind
	priority  priority
	head      bool // in the document's head: what is drawn waits for it if it blocks
	blocks    bool // the parser, as a script, or rendering, as a style sheet
	deferred  bool // runs when the document has been parsed
	idle      bool // the load event does not wait for it
}

type kind int

const (
	other kind = iota
	script
	sheet
	image
	font
	frame
)

// priority is how soon browsers ask for something.
type priority int

const (
	low priority = iota // also: no more than a few at a time while the head is blocked
	medium
	high
)

const (
	maxToken  = 1 << 20 // bytes of one tag, script or comment
	maxRunes  = 4096    // different characters noted of a document
	boosted   = 5       // images that Chromium asks for sooner than the others
	smallArea = 10000   // pixels of an image too small for that
)

// A document is what has been seen of an HTML document so far, to tell which
// rules of its style sheets apply.
type document struct {
	words map[string]bool // element names, .classes and #ids
	runes map[rune]bool
}

// scanner reads a document as it arrives, as browsers' preload scanners do.
type scanner struct {
	base    *url.URL
	found   func(reference)
	styled  func(styles)
	seen    func(word string)
	text    func(rune)
	body    bool
	skip    string // element whose content counts for nothing: noscript, template
	depth   int    // of that element within itself
	picture bool   // a source of the picture has been chosen
	inside  bool   // a picture
	images  int
}

// scan reports what a document refers to, in its order.
func (s *scanner) scan(r io.Reader) error {
	z := html.NewTokenizer(r)
	z.SetMaxBuf(maxToken)
	raw := "" // element whose text the next token is
	for {
		switch z.Next() {
		case html.ErrorToken:
			if err := z.Err(); err != io.EOF {
				return err
			}
			return nil
		case html.TextToken:
			s.chars(raw, z.Raw())
			raw = ""
		case html.StartTagToken, html.SelfClosingTagToken:
			name, more := z.TagName()
			tag := string(name)
			raw = tag
			attrs := make(map[string]string)
			for more {
				var key, value []byte
				key, value, more = z.TagAttr()
				if _, twice := attrs[string(key)]; !twice {
					attrs[string(key)] = string(value)
				}
			}
			if !s.skipped(tag, 1) {
				s.tag(tag, attrs)
			}
		case html.EndTagToken:
			name, _ := z.TagName()
			raw = ""
			if !s.skipped(string(name), -1) && string(name) == "picture" {
				s.inside = false
			}
		}
	}
}

// skipped follows the elements whose content a browser that runs scripts ignores.
func (s *scanner) skipped(tag string, step int) bool {
	if s.skip == "" {
		if step > 0 && (tag == "noscript" || tag == "template") {
			s.skip, s.depth = tag, 1
		}
		return s.skip != ""
	}
	if tag == s.skip {
		if s.depth += step; s.depth == 0 {
			s.skip = ""
		}
	}
	return true
}

func (s *scanner) chars(element string, text []byte) {
	switch {
	case s.skip != "" || element == "script":
	case element == "style":
		s.styled(parseStyles(text, s.base))
	default:
		for len(text) > 0 {
			c, n := utf8.DecodeRune(text)
			if c >= utf8.RuneSelf && c != utf8.RuneError {
				s.text(c)
			}
			text = text[n:]
		}
	}
}

func (s *scanner) tag(tag string, a map[string]string) {
	s.seen(tag)
	for class := range strings.FieldsSeq(a["class"]) {
		s.seen("." + class)
	}
	if a["id"] != "" {
		s.seen("#" + a["id"])
	}
	if style := a["style"]; strings.Contains(style, "url(") || strings.Contains(style, "font") {
		s.styled(parseInline([]byte(style), s.base))
	}
	switch tag {
	case "base":
		if u := fetchable(s.base, a["href"]); a["href"] != "" && u != nil {
			s.base = u
		}
	case "body":
		s.body = true
	case "link":
		s.link(a)
	case "script":
		s.script(a)
	case "picture":
		s.inside, s.picture = true, false
	case "source":
		s.source(a)
	case "img":
		s.img(a)
	case "iframe", "frame":
		if a["loading"] != "lazy" && a["srcdoc"] == "" {
			s.refer(a["src"], reference{initiator: tag, kind: frame, priority: high})
		}
	case "embed", "audio", "video":
		if a["preload"] != "none" {
			s.refer(a["src"], reference{initiator: tag, priority: low, idle: tag != "embed"})
		}
		s.refer(a["poster"], reference{initiator: tag, kind: image})
	case "object":
		s.refer(a["data"], reference{initiator: tag})
	case "input":
		if strings.EqualFold(a["type"], "image") {
			s.refer(a["src"], reference{initiator: tag, kind: image})
		}
	case "image":
		s.refer(first(a["href"], a["xlink:href"]), reference{initiator: tag, kind: image})
	}
}

func first(a ...string) string {
	return a[max(0, slices.IndexFunc(a, func(s string) bool { return s != "" }))]
}

func (s *scanner) refer(ref string, r reference) {
	if ref = strings.TrimSpace(ref); ref == "" {
		return
	}
	if r.url = fetchable(s.base, ref); r.url == nil {
		return
	}
	r.head = !s.body
	s.found(r)
}

func (s *scanner) link(a map[string]string) {
	rel := strings.Fields(strings.ToLower(a["rel"]))
	_, disabled := a["disabled"]
	switch {
	case slices.Contains(rel, "stylesheet") && !disabled:
		applies := matches(a["media"]) && !slices.Contains(rel, "alternate")
		r := reference{initiator: "link", kind: sheet, priority: low}
		if applies {
			r.priority, r.blocks = high, true
		}
		s.refer(a["href"], r)
	case slices.Contains(rel, "modulepreload"):
		s.refer(a["href"], reference{initiator: "link", kind: script, priority: high, idle: true})
	case slices.Contains(rel, "preload") && matches(a["media"]):
		s.preload(a)
	}
}

func (s *scanner) preload(a map[string]string) {
	r := reference{initiator: "link", idle: true}
	href := a["href"]
	switch strings.ToLower(a["as"]) {
	case "style":
		r.priority = high
	case "script":
		r.kind, r.priority = script, high
	case "font":
		r.kind, r.priority = font, high
	case "image":
		r.kind = image
		href = first(candidate(a["imagesrcset"], a["imagesizes"]), href)
	case "fetch":
		r.priority = high
	default:
		return
	}
	s.refer(href, r)
}

func (s *scanner) script(a map[string]string) {
	kindOf := strings.ToLower(strings.TrimSpace(a["type"]))
	module := kindOf == "module"
	if _, old := a["nomodule"]; old || kindOf != "" && !module && !strings.Contains(kindOf, "javascript") && !strings.Contains(kindOf, "ecmascript") {
		return
	}
	_, async := a["async"]
	_, deferred := a["defer"]
	r := reference{initiator: "script", kind: script}
	switch {
	case async:
	case deferred || module:
		r.deferred = true
	default:
		r.priority, r.blocks = high, true
	}
	s.refer(a["src"], r)
}

// source is a candidate for the images of a picture; the first that suits is taken.
func (s *scanner) source(a map[string]string) {
	if !s.inside || s.picture || !matches(a["media"]) || !drawable(a["type"]) {
		return
	}
	if ref := candidate(a["srcset"], a["sizes"]); ref != "" {
		s.picture = true
		s.image(ref, a)
	}
}

// drawable reports whether browsers draw a media type; "" is not known to be another.
func drawable(media string) bool {
	media, _, _ = strings.Cut(strings.ToLower(media), ";")
	return media == "" || slices.Contains([]string{"image/avif", "image/webp", "image/png", "image/jpeg", "image/gif", "image/svg+xml"}, strings.TrimSpace(media))
}

func (s *scanner) img(a map[string]string) {
	if s.inside && s.picture {
		return
	}
	s.image(first(candidate(a["srcset"], a["sizes"]), a["src"]), a)
}

// image is an image that is in view, as far as can be told without a layout:
// the load event does not wait for those that are loaded lazily.
func (s *scanner) image(ref string, a map[string]string) {
	if strings.EqualFold(a["loading"], "lazy") {
		return
	}
	r := reference{initiator: "img", kind: image}
	width, werr := strconv.Atoi(a["width"])
	height, herr := strconv.Atoi(a["height"])
	small := werr == nil && herr == nil && width*height < smallArea
	if s.images < boosted && !small {
		s.images++
		r.priority = medium
	}
	if a["fetchpriority"] == "high" {
		r.priority = high
	}
	s.refer(ref, r)
}

// candidate is the image of a srcset that a browser takes on a screen of one
// device pixel per pixel: the smallest that is large enough, else the largest.
func candidate(srcset, sizes string) string {
	want := float64(slotWidth(sizes))
	best, bestSize := "", 0.0
	for len(srcset) > 0 {
		srcset = strings.TrimLeft(srcset, " \t\n\f\r,")
		end := strings.IndexAny(srcset, " \t\n\f\r")
		if end < 0 {
			end = len(srcset)
		}
		ref := srcset[:end]
		srcset = srcset[end:]
		descriptor := ""
		if bare := strings.TrimRight(ref, ","); bare != ref {
			ref = bare // a comma at the end of the URL: no descriptor
		} else {
			descriptor, srcset, _ = strings.Cut(srcset, ",")
		}
		size := density(strings.TrimSpace(descriptor), want)
		if ref != "" && (best == "" || size >= 1 && (bestSize < 1 || size < bestSize) || bestSize < 1 && size > bestSize) {
			best, bestSize = ref, size
		}
	}
	return best
}

// density is the image pixels for each pixel of the screen.
func density(descriptor string, slot float64) float64 {
	if descriptor == "" {
		return 1
	}
	n, err := strconv.ParseFloat(descriptor[:len(descriptor)-1], 64)
	if err != nil {
		return 0
	}
	if strings.HasSuffix(descriptor, "w") {
		return n / slot
	}
	return n
}

// slotWidth is the pixels that an image gets by its sizes attribute.
func slotWidth(sizes string) int {
	for part := range strings.SplitSeq(sizes, ",") {
		part = strings.TrimSpace(part)
		length := part
		if i := strings.LastIndexByte(part, ')'); i >= 0 {
			if length = strings.TrimSpace(part[i+1:]); !matches(part[:i+1]) {
				continue
			}
		}
		if px, ok := pixels(length); ok {
			return px
		}
	}
	return Width
}

// pixels is a length in pixels, where it can be told without a layout.
func pixels(length string) (int, bool) {
	for unit, factor := range map[string]float64{"px": 1, "vw": Width / 100.0, "em": 16, "rem": 16} {
		if number, found := strings.CutSuffix(length, unit); found {
			if n, err := strconv.ParseFloat(strings.TrimSpace(number), 64); err == nil && n >= 1e-3 && n < 1e5 {
				return max(1, int(n*factor)), true
			}
		}
	}
	return 0, false
}

// matches reports whether a media query list applies to the viewport, as far
// as it speaks of type, width, orientation and colour scheme.
func matches(media string) bool {
	media = strings.ToLower(strings.TrimSpace(media))
	if media == "" {
		return true
	}
	for query := range strings.SplitSeq(media, ",") {
		if matchesOne(strings.TrimSpace(query)) {
			return true
		}
	}
	return false
}

func matchesOne(query string) bool {
	query, not := strings.CutPrefix(query, "not ")
	applies := true
	for part := range strings.SplitSeq(query, " and ") {
		part = strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(part), "only "))
		applies = applies && feature(strings.TrimSuffix(strings.TrimPrefix(part, "("), ")"))
	}
	return applies != not
}

func feature(f string) bool {
	name, value, _ := strings.Cut(f, ":")
	value = strings.TrimSpace(value)
	px, known := pixels(value)
	switch strings.TrimSpace(name) {
	case "print", "speech":
		return false
	case "min-width":
		return !known || Width >= px
	case "max-width":
		return !known || Width <= px
	case "orientation":
		return value == "landscape"
	case "prefers-color-scheme":
		return value == "light"
	case "-webkit-min-device-pixel-ratio", "min-resolution", "min-device-pixel-ratio":
		return strings.HasPrefix(value, "1") && !strings.HasPrefix(value, "1.") && !strings.HasPrefix(value, "19")
	}
	return true
}
