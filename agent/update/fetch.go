package update

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/natrix-os/natrix/sysinfo/netif"
)

// patience is how a download deals with a bad line.
type patience struct {
	stall  time.Duration // a connection that brings nothing for so long is given up
	pause  time.Duration // before the first new attempt; twice as long each time up to most
	most   time.Duration
	giveUp time.Duration // without a byte
}

var ordinaryPatience = patience{stall: 30 * time.Second, pause: time.Second, most: 30 * time.Second, giveUp: 15 * time.Minute}

// Open opens an update by its path or its URL, which is downloaded through
// link, or as the routes say if link is "". A download that is cut off goes on
// where it was (RFC 9110, section 14), until ctx ends or nothing has come for a
// quarter of an hour.
func Open(ctx context.Context, source, link string) (io.ReadCloser, error) {
	scheme, _, isURL := strings.Cut(source, "://")
	switch {
	case !isURL:
		return os.Open(source)
	case scheme != "http" && scheme != "https":
		return nil, fmt.Errorf("%s: want a path, or a URL with http or https", source)
	}
	dialer := netif.Dialer(link, netip.Addr{})
	dialer.Timeout = 20 * time.Second
	transport := &http.Transport{
		DialContext:           dialer.DialContext,
		TLSHandshakeTimeout:   20 * time.Second,
		ResponseHeaderTimeout: 30 * time.Second,
		DisableCompression:    true, // positions are those of the file
		ForceAttemptHTTP2:     true,
	}
	return &download{ctx: ctx, client: &http.Client{Transport: transport}, url: source, patience: ordinaryPatience}, nil
}

// download reads a file over as many connections as it takes.
type download struct {
	ctx      context.Context
	client   *http.Client
	url      string
	patience patience

	at   int64  // where the next byte is from
	tag  string // of the file: its ETag or when it was modified
	body io.ReadCloser
	stop context.CancelFunc // of body
}

// final is what another attempt would not mend.
type final struct{ error }

// Read returns io.EOF where the server says that the file ends.
func (d *download) Read(p []byte) (int, error) {
	last := time.Now()
	for pause := d.patience.pause; ; pause = min(2*pause, d.patience.most) {
		n, err := d.once(p)
		d.at += int64(n)
		if n > 0 || errors.Is(err, io.EOF) {
			return n, err
		}
		switch {
		case d.ctx.Err() != nil:
			return 0, context.Cause(d.ctx)
		case errors.As(err, &final{}) || time.Since(last) >= d.patience.giveUp:
			return 0, fmt.Errorf("download: %w", err)
		}
		select {
		case <-time.After(pause):
		case <-d.ctx.Done():
		}
	}
}

// once reads from the connection that there is, or from a new one. What comes
// with an error is kept all the same.
func (d *download) once(p []byte) (int, error) {
	if d.body == nil {
		if err := d.connect(); err != nil {
			return 0, err
		}
	}
	stalled := time.AfterFunc(d.patience.stall, d.stop)
	n, err := d.body.Read(p)
	stalled.Stop()
	if err == nil && n > 0 {
		return n, nil
	}
	if !errors.Is(err, io.EOF) {
		d.hangUp()
		return n, err
	}
	if n > 0 {
		return n, nil // the end comes with the next
	}
	return 0, io.EOF
}

// connect asks for what is missing.
func (d *download) connect() error {
	ctx, stop := context.WithCancel(d.ctx)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, d.url, nil)
	if err != nil {
		stop()
		return final{err}
	}
	if d.at > 0 {
		request.Header.Set("Range", fmt.Sprintf("bytes=%d-", d.at))
		if d.tag != "" {
			request.Header.Set("If-Range", d.tag)
		}
	}
	response, err := d.client.Do(request)
	if err != nil {
		stop()
		return err
	}
	d.body, d.stop = response.Body, stop
	if err := d.take(response); err != nil {
		d.hangUp()
		return err
	}
	return nil
}

// take checks that an answer goes on where the last one ended.
func (d *download) take(r *http.Response) error {
	switch {
	case r.StatusCode == http.StatusOK && d.at == 0:
		if d.tag = r.Header.Get("ETag"); d.tag == "" || strings.HasPrefix(d.tag, "W/") { // a weak one is no use here
			d.tag = r.Header.Get("Last-Modified")
		}
		return nil
	case r.StatusCode == http.StatusPartialContent && strings.HasPrefix(r.Header.Get("Content-Range"), fmt.Sprintf("bytes %d-", d.at)):
		return nil
	case r.StatusCode == http.StatusOK || r.StatusCode == http.StatusPartialContent:
		return final{fmt.Errorf("cut off after %d bytes, and the server does not go on from there: the file has changed, or it serves no ranges", d.at)}
	case r.StatusCode >= 500 || r.StatusCode == http.StatusTooManyRequests || r.StatusCode == http.StatusRequestTimeout:
		return fmt.Errorf("%s: %s", d.url, r.Status)
	}
	return final{fmt.Errorf("%s: %s", d.url, r.Status)}
}

func (d *download) hangUp() {
	d.stop()
	d.body.Close()
	d.body = nil
}

// Close ends the download.
func (d *download) Close() error {
	if d.body != nil {
		d.hangUp()
	}
	d.client.CloseIdleConnections()
	return nil
}
