package probe

import (
	"cmp"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/icholy/digest"
	"github.com/natrix-os/natrix/agent/command"
	"golang.org/x/net/http/httpguts"
)

// maxChallenges is how often an origin may ask: a nonce can be too old, but
// not every time.
const maxChallenges = 3

// credential is what a request shows to be let in. The zero credential is nothing.
type credential struct {
	kind   string // as in HTTPParams.AuthType
	secret string // as in HTTPParams.AuthUser
}

// validAuth refuses what cannot be sent before anything is. What it is is not
// repeated.
func validAuth(params HTTPParams) error {
	var err error
	switch {
	case params.AuthType == "oauth1" && params.AuthUser != "":
		_, err = parseOAuth(params.AuthUser)
	case params.AuthType == "oauth2" && !httpguts.ValidHeaderFieldValue(params.AuthUser):
		err = errors.New("the token cannot be sent")
	}
	if err != nil {
		return fmt.Errorf("%w: auth_user: %w", command.ErrParameter, err)
	}
	return nil
}

// authFor is what to show at a URL: what the parameters say is for the first
// origin alone, and so is what the first URL says; another may have its own.
// A token is of no use for the user and password in a URL.
func (e *exchange) authFor(u, first *url.URL) credential {
	kind, secret := e.params.AuthType, ""
	if origin(u) == origin(first) {
		if secret = e.params.AuthUser; secret != "" {
			return credential{kind, secret}
		}
		secret = credentials(first)
	}
	if secret = cmp.Or(credentials(u), secret); secret == "" {
		return credential{}
	}
	if kind != "digest" {
		kind = "basic"
	}
	return credential{kind, secret}
}

// authorize shows a credential with a request.
func (e *exchange) authorize(request *http.Request, auth credential) error {
	if auth.secret == "" {
		return nil
	}
	value := ""
	switch auth.kind {
	case "basic":
		value = "Basic " + base64.StdEncoding.EncodeToString([]byte(auth.secret)) // RFC 7617
	case "oauth2":
		value = "Bearer " + auth.secret // RFC 6750, section 2.1
	case "oauth1":
		signer, err := parseOAuth(auth.secret)
		if err != nil {
			return err
		}
		value = signer.header(request, e.params.OAuthSignature, e.body, newStamp())
	case "digest":
		if e.challenge == nil {
			return nil // the server first has to ask
		}
		answer, err := e.digest(request, auth)
		if err != nil {
			return fmt.Errorf("%w: %w", command.ErrAuth, err)
		}
		value = answer
	}
	request.Header.Set("Authorization", value)
	return nil
}

// digest answers the origin's challenge (RFC 7616).
func (e *exchange) digest(request *http.Request, auth credential) (string, error) {
	user, password, _ := strings.Cut(auth.secret, ":")
	e.answered++
	answer, err := digest.Digest(e.challenge, digest.Options{
		Method: request.Method, URI: request.URL.RequestURI(), GetBody: request.GetBody, Count: e.answered, Username: user, Password: password,
	})
	if err != nil {
		return "", err
	}
	return answer.String(), nil
}

// challenged says that a response is a challenge which has not been answered
// yet, or whose answer was only too late. It is not a result but the first half
// of one.
func (e *exchange) challenged(response *http.Response, auth credential) bool {
	if response.StatusCode != http.StatusUnauthorized || auth.kind != "digest" {
		return false
	}
	challenge, err := digest.FindChallenge(response.Header)
	if err != nil || e.challenge != nil && (!challenge.Stale || e.asked >= maxChallenges) {
		return false
	}
	e.challenge, e.answered = challenge, 0
	e.asked++
	return true
}
