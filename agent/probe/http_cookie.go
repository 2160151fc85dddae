package probe

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/cookiejar"
	"net/url"
)

// Cookies are cookies as they are given: "name=value; name=value", or a JSON object.
type Cookies []*http.Cookie

// String is empty: a default has no cookies.
func (c *Cookies) String() string { return "" }

// Type names the syntax in the help.
func (c *Cookies) Type() string { return "cookies" }

// Set adds cookies. What is wrong with one is not repeated: it can be a secret.
func (c *Cookies) Set(s string) error {
	if !isObject(s) {
		cookies, err := http.ParseCookie(s)
		if err != nil {
			return errors.New("cookies are not of the form name=value; name=value")
		}
		*c = append(*c, cookies...)
		return nil
	}
	fields, err := members(s)
	if err != nil {
		return fmt.Errorf("cookies: %w", err)
	}
	for _, f := range fields {
		cookie := &http.Cookie{Name: f.name, Value: f.value}
		if cookie.Valid() != nil {
			return fmt.Errorf("cookie %q cannot be sent", f.name)
		}
		*c = append(*c, cookie)
	}
	return nil
}

// newJar holds the cookies of a command for the host of u; nil if there is nothing
// to hold. It takes those of responses if it is to use them.
func (e *exchange) newJar(u *url.URL) http.CookieJar {
	if len(e.params.Cookies) == 0 && !e.params.UseCookies {
		return nil
	}
	jar, _ := cookiejar.New(nil) // for the redirects of one command a list of public suffixes is not worth its size
	for _, c := range e.params.Cookies {
		c := *c
		c.Path = "/"
		jar.SetCookies(u, []*http.Cookie{&c})
	}
	return jar
}

// addCookies adds to a request the cookies that the jar has for it.
func (e *exchange) addCookies(request *http.Request, u *url.URL) {
	if e.jar == nil {
		return
	}
	for _, c := range e.jar.Cookies(u) {
		request.AddCookie(c)
	}
}

func (e *exchange) keepCookies(response *http.Response, u *url.URL) {
	if e.jar != nil && e.params.UseCookies {
		e.jar.SetCookies(u, response.Cookies())
	}
}
