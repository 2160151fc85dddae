package probe_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/natrix-os/natrix/agent/probe"
)

func ExampleProber_Performance() {
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprint(w, `<h1>Hello</h1>`)
		if r.URL.Path == "/" {
			fmt.Fprint(w, `<img src="/logo.png">`)
		}
	}))
	defer site.Close()

	p := probe.New()
	defer p.Close()
	r, err := p.Performance(context.Background(), site.URL, probe.DefaultPerformance())
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(r.Document.Status, r.Total() > 0)
	for _, one := range r.Resources {
		fmt.Println(one.Initiator, one.Status, one.Protocol)
	}
	// Output:
	// 200 true
	// img 200 http/1.1
}
