package pxe

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"time"

	"github.com/pin/tftp/v3"
)

// tftp serves the files by TFTP, to read only (RFC 1350, with the options of
// RFC 2347 to 2349).
func (s *server) tftp(conn net.PacketConn) listener {
	t := tftp.NewServer(s.sendTFTP, nil)
	t.SetTimeout(2 * time.Second) // with the retries below a dead client is given up after 10 s
	t.SetRetries(5)
	return listener{"TFTP", func() error {
		defer conn.Close()
		return t.Serve(conn)
	}, t.Shutdown}
}

func (s *server) sendTFTP(name string, to io.ReaderFrom) error {
	begin := time.Now()
	log := s.log.With("file", name, "by", "tftp")
	if transfer, ok := to.(tftp.OutgoingTransfer); ok {
		peer := transfer.RemoteAddr()
		log = log.With("addr", peer.IP.String())
	}
	c, err := s.files.open(name)
	if err != nil {
		log.Info("no such file")
		return errors.New("no such file")
	}
	defer c.close()
	n, err := to.ReadFrom(c)
	if err != nil {
		// Firmware begins to load only to learn the size, and breaks off.
		log.Debug("broken off", "bytes", n, "err", err)
		return err
	}
	log.Info("sent", "bytes", n, "in", time.Since(begin).Round(time.Millisecond))
	return nil
}

// http serves the files by HTTP.
func (s *server) http(l net.Listener) listener {
	h := &http.Server{
		Handler:           http.HandlerFunc(s.sendHTTP),
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    16 << 10,
	}
	return listener{"HTTP", func() error { return h.Serve(l) }, func() { h.Close() }}
}

func (s *server) sendHTTP(w http.ResponseWriter, r *http.Request) {
	begin := time.Now()
	log := s.log.With("file", r.URL.Path, "by", "http", "addr", r.RemoteAddr)
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		http.Error(w, "files are only read here", http.StatusMethodNotAllowed)
		return
	}
	c, err := s.files.open(r.URL.Path)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			log = log.With("err", err)
		}
		log.Info("no such file")
		http.NotFound(w, r)
		return
	}
	defer c.close()
	// UEFI takes a program for one by this type, whatever its name (UEFI
	// specification 2.10, section 24.7.2).
	w.Header().Set("Content-Type", "application/octet-stream")
	if r.URL.Path == "/"+efiFile {
		w.Header().Set("Content-Type", "application/efi")
	}
	http.ServeContent(w, r, "", c.at, c)
	if r.Method == http.MethodGet {
		log.Info("sent", "bytes", fmt.Sprint(c.size), "in", time.Since(begin).Round(time.Millisecond))
	}
}
