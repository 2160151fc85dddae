package probe

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"github.com/natrix-os/natrix/agent/command"
	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
	"golang.org/x/sys/unix"
)

// httpError gives an error of a request its kind.
func httpError(ctx context.Context, m marks, err error) error {
	var certificate *tls.CertificateVerificationError
	var alert tls.AlertError
	var record tls.RecordHeaderError
	var timeout net.Error
	var session *quic.TransportError
	var stream *http3.Error
	kind := command.ErrReceive
	switch {
	case errors.Is(err, command.ErrResolve):
		return err
	case errors.As(err, &certificate):
		return fmt.Errorf("%w: %w%s", command.ErrCertificate, certificate.Err, whose(certificate))
	case ctx.Err() != nil, errors.As(err, &timeout) && timeout.Timeout():
		kind = command.ErrTimeout
	case outdated(err):
		return fmt.Errorf("%w: the server has nothing newer than TLS 1.1, and the oldest that is accepted is TLS 1.2: %w", command.ErrTLS, err)
	case errors.As(err, &alert), errors.As(err, &record), errors.As(err, &session) && session.ErrorCode.IsCryptoError():
		kind = command.ErrTLS
	case errors.Is(err, unix.ECONNREFUSED):
		kind = command.ErrConnect
	case errors.Is(err, command.ErrConnect), errors.Is(err, command.ErrURL), errors.Is(err, command.ErrSend):
		return err
	case !m.connected.IsZero() && m.ready.IsZero():
		kind = command.ErrTLS
	case errors.As(err, &stream):
		kind = command.ErrHTTP3
	case strings.Contains(err.Error(), "stream error:"):
		kind = command.ErrHTTP2
	case errors.Is(err, io.ErrUnexpectedEOF):
		kind = command.ErrPartial
	case m.first.IsZero() && (errors.Is(err, io.EOF) || strings.Contains(err.Error(), "server closed")):
		kind = command.ErrEmptyReply
	case strings.Contains(err.Error(), "malformed"):
		kind = command.ErrWeirdReply
	}
	if errors.Is(err, kind) {
		return err
	}
	return fmt.Errorf("%w: %w", kind, err)
}

// outdated says that a server has no TLS version that is safe to use: it says so
// itself (RFC 8446, section 6.2), or answers with an older one.
func outdated(err error) bool {
	return strings.Contains(err.Error(), "protocol version not supported") || strings.Contains(err.Error(), "unsupported protocol version")
}

// whose describes the certificate that was not accepted.
func whose(err *tls.CertificateVerificationError) string {
	if len(err.UnverifiedCertificates) == 0 {
		return ""
	}
	c := err.UnverifiedCertificates[0]
	return fmt.Sprintf(" (subject %s, issuer %s, valid %s to %s)",
		c.Subject, c.Issuer, c.NotBefore.UTC().Format(time.DateOnly), c.NotAfter.UTC().Format(time.DateOnly))
}
