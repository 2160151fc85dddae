package command

import "errors"

// The kinds of failure that a server or a script tells apart. Probes wrap kind
// and cause; [Code] turns the kind into the number of the command's protocol.
var (
	ErrParameter   = errors.New("bad parameter")
	ErrUnsupported = errors.New("not a command of this terminal")
	ErrScheme      = errors.New("protocol not supported")
	ErrLink        = errors.New("no such link")
	ErrPermission  = errors.New("not permitted")
	ErrResolve     = errors.New("name not resolved")
	ErrNoResolver  = errors.New("no name server configured")
	ErrNoRecord    = errors.New("no such record")
	ErrUnreachable = errors.New("not reachable")
	ErrTimeout     = errors.New("timed out")
	ErrURL         = errors.New("bad URL")
	ErrConnect     = errors.New("no connection")
	ErrTLS         = errors.New("TLS handshake failed")
	ErrCertificate = errors.New("certificate not accepted")
	ErrAuthorities = errors.New("authorities not readable")
	ErrOwnCert     = errors.New("own certificate not usable")
	ErrRedirects   = errors.New("too many redirects")
	ErrEmptyReply  = errors.New("empty reply")
	ErrReceive     = errors.New("receiving failed")
	ErrSend        = errors.New("sending failed")
	ErrWeirdReply  = errors.New("not a reply of this protocol")
	ErrPartial     = errors.New("reply ended early")
	ErrHTTP2       = errors.New("HTTP/2 stream failed")
	ErrHTTP3       = errors.New("HTTP/3 stream failed")
	ErrAuth        = errors.New("challenge not answered")
	ErrInternal    = errors.New("internal error")
)
