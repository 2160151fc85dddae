package report

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"net/netip"
	"time"
)

// STUN, RFC 8489: a Binding request without attributes, sent again as section
// 6.2.1 has it, though less often, and the XOR-MAPPED-ADDRESS of its answer.
const (
	stunBinding    = 0x0001
	stunSuccess    = 0x0101
	stunCookie     = 0x2112A442
	stunHeader     = 20
	stunXORAddress = 0x0020
	stunFirstWait  = 500 * time.Millisecond
)

type stunID [12]byte

// askSTUN asks a server, given as host:port.
func askSTUN(ctx context.Context, server string, d dial) (netip.Addr, error) {
	conn, err := d(ctx, "udp", server)
	if err != nil {
		return netip.Addr{}, err
	}
	defer conn.Close()
	var id stunID
	rand.Read(id[:])
	request := stunRequest(id)
	answer := make([]byte, 1500)
	for pause := stunFirstWait; ctx.Err() == nil; pause *= 2 {
		if _, err := conn.Write(request); err != nil {
			return netip.Addr{}, err
		}
		until := time.Now().Add(pause)
		if deadline, ok := ctx.Deadline(); ok && deadline.Before(until) {
			until = deadline
		}
		conn.SetReadDeadline(until)
		for {
			n, err := conn.Read(answer)
			if err != nil {
				break // time to ask again
			}
			if a, ok := parseSTUN(answer[:n], id); ok {
				return a, nil
			}
		}
	}
	return netip.Addr{}, errors.New("no answer")
}

func stunRequest(id stunID) []byte {
	b := binary.BigEndian.AppendUint16(nil, stunBinding)
	b = binary.BigEndian.AppendUint16(b, 0) // length of the attributes
	b = binary.BigEndian.AppendUint32(b, stunCookie)
	return append(b, id[:]...)
}

// parseSTUN finds the address in the answer to request id (RFC 8489, 14.2).
func parseSTUN(b []byte, id stunID) (netip.Addr, bool) {
	if len(b) < stunHeader || binary.BigEndian.Uint16(b) != stunSuccess || !bytes.Equal(b[8:stunHeader], id[:]) {
		return netip.Addr{}, false
	}
	key := b[4:stunHeader] // cookie and id, which the address is XORed with
	for attrs := b[stunHeader:]; len(attrs) >= 4; {
		kind, size := binary.BigEndian.Uint16(attrs), int(binary.BigEndian.Uint16(attrs[2:]))
		value := attrs[4:]
		if size > len(value) {
			break
		}
		if kind == stunXORAddress && size >= 8 {
			plain := bytes.Clone(value[4:size])
			for i := range min(len(plain), len(key)) {
				plain[i] ^= key[i]
			}
			a, ok := netip.AddrFromSlice(plain)
			return a.Unmap(), ok
		}
		attrs = value[min(len(value), (size+3)&^3):] // attributes are padded to 4 bytes
	}
	return netip.Addr{}, false
}
