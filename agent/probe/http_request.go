package probe

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/natrix-os/natrix/agent/command"
)

// request is the next request. It has what libcurl adds of its own accord, but
// for its name, and what the parameters say.
func (e *exchange) request(ctx context.Context, u *url.URL, trusted bool, auth credential) (*http.Request, error) {
	if u.Path == "" {
		u.Path = "/"
	}
	request, err := http.NewRequestWithContext(ctx, e.method, withoutUser(u).String(), strings.NewReader(e.body))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", command.ErrURL, err)
	}
	if e.body == "" {
		request.Body, request.GetBody, request.ContentLength = nil, nil, 0
	} else {
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	request.Header.Set("User-Agent", userAgent)
	request.Header.Set("Accept", "*/*")
	for name, values := range e.params.Header.Header {
		if !trusted && private(name) {
			continue
		}
		request.Header[http.CanonicalHeaderKey(name)] = values
		if strings.EqualFold(name, "host") {
			request.Host = values[0]
		}
	}
	e.addCookies(request, u)
	return request, e.authorize(request, auth)
}

// private tells the fields that libcurl, too, keeps from where redirects lead.
func private(name string) bool {
	return slices.Contains([]string{"Authorization", "Cookie", "Host"}, http.CanonicalHeaderKey(name))
}
