package page

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
)

func TestScan(t *testing.T) {
	for _, test := range []struct{ document, want string }{
		{`<link rel=stylesheet href=a.css>`, "link https://www.example.com/dir/a.css high blocks"},
		{`<link rel=stylesheet media=print href=a.css>`, "link https://www.example.com/dir/a.css low"},
		{`<link rel=stylesheet media="screen and (max-width: 600px)" href=a.css>`, "link https://www.example.com/dir/a.css low"},
		{`<link rel=icon href=a.ico><link rel=canonical href=b>`, ""},
		{`<link rel=preload as=font href=f.woff2>`, "link https://www.example.com/dir/f.woff2 high idle"},
		{`<script src="//cdn.example.net/a.js#x"></script>`, "script https://cdn.example.net/a.js high blocks"},
		{`<script async src=/a.js></script>`, "script https://www.example.com/a.js low"},
		{`<script type=module src=/a.js></script>`, "script https://www.example.com/a.js low deferred"},
		{`<script nomodule src=/a.js></script><script type="text/template" src=/b></script><script>"<img src=c>"</script>`, ""},
		{`<img src=a.png>`, "img https://www.example.com/dir/a.png medium"},
		{`<img src=a.png width=16 height=16>`, "img https://www.example.com/dir/a.png low"},
		{`<img src=a.png loading=lazy><img src="data:image/gif;base64,AAAA"><img src="ftp://x/y">`, ""},
		{`<img src=a.png srcset="b.png 640w, c.png 1280w, d.png 2560w">`, "img https://www.example.com/dir/c.png medium"},
		{`<img srcset="b.png 640w, c.png 1280w" sizes="(max-width: 900px) 100vw, 50vw">`, "img https://www.example.com/dir/b.png medium"},
		{`<img srcset="b.png 2x, c.png">`, "img https://www.example.com/dir/c.png medium"},
		{`<picture><source media="(max-width: 600px)" srcset=a><source type=image/x-odd srcset=b><source type=image/webp srcset=c><img src=d></picture>`, "img https://www.example.com/dir/c medium"},
		{`<base href="/x/"><img src=a>`, "img https://www.example.com/x/a medium"},
		{`<noscript><img src=a></noscript><template><template></template><img src=b></template><!-- <img src=c> -->`, ""},
		{`<iframe src=f></iframe><iframe srcdoc=x src=g></iframe>`, "iframe https://www.example.com/dir/f high"},
		{`<style>@import "a.css"; p{background:url(b.png)}</style>`, "css https://www.example.com/dir/a.css low, css https://www.example.com/dir/b.png low"},
		{`<p style="background: url('b.png')">`, "css https://www.example.com/dir/b.png low"},
	} {
		var got []string
		for _, r := range refs(t, test.document) {
			line := fmt.Sprintf("%s %v %s", r.initiator, r.url, map[priority]string{low: "low", medium: "medium", high: "high"}[r.priority])
			flags := map[string]bool{" blocks": r.blocks, " deferred": r.deferred, " idle": r.idle}
			for _, name := range slices.Sorted(maps.Keys(flags)) {
				if flags[name] {
					line += name
				}
			}
			got = append(got, line)
		}
		if joined := strings.Join(got, ", "); joined != test.want {
			t.Errorf("%s\n got %s\nwant %s", test.document, joined, test.want)
		}
	}
}

func TestStyles(t *testing.T) {
	seen := map[string]bool{"html": true, "body": true, "h1": true, ".on": true, "#top": true}
	for _, test := range []struct{ sheet, want string }{
		{`body { background: url(a.png), url("b.png") }`, "a.png b.png"},
		{`.off { background: url(a.png) }`, ""},
		{`.off, h1.on#top { background: url(a.png) }`, "a.png"},
		{`h1:hover { background: url(a.png) } h1:not(.off)::after { content: url(b.png) }`, "b.png"},
		{`@media print { body { background: url(a.png) } } @media (min-width: 800px) { body { background: url(b.png) } }`, "b.png"},
		{`@supports (display: grid) { body { background: url(a.png) } }`, "a.png"},
		{`body { background: url(#fragment); mask: url(data:x) } h1 { background: url(  c.png  ) }`, "c.png"},
		{`@font-face { font-family: "A B"; src: url(a.woff), url(a.woff2) } h1 { font: italic 1em/1.5 "a b", serif }`, "a.woff2"},
		{`@font-face { font-family: A; src: url(a.woff2) } .off { font-family: A }`, ""},
		{`@font-face { font-family: A; src: url(a.woff2); unicode-range: U+4E00-9FFF } body { font-family: A }`, ""},
		{`@font-face { font-family: A; src: url(a.woff2); unicode-range: U+00?? } body { font-family: A }`, "a.woff2"},
		{`@import url(a.css); @import "b.css" print; body{}`, "a.css"},
	} {
		found := parseStyles([]byte(test.sheet), home)
		var got []string
		for _, u := range found.imports {
			got = append(got, u.Path)
		}
		named := make(map[string]bool)
		for _, r := range found.rules {
			if !r.applies(seen) {
				continue
			}
			for _, u := range r.images {
				got = append(got, u.Path)
			}
			for _, name := range r.families {
				named[name] = true
			}
		}
		for _, f := range found.faces {
			if named[f.family] && f.covers(nil) {
				got = append(got, f.src.Path)
			}
		}
		if joined := strings.ReplaceAll(strings.Join(got, " "), "/dir/", ""); joined != test.want {
			t.Errorf("%s\n got %s\nwant %s", test.sheet, joined, test.want)
		}
	}
}
