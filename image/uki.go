package image

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// ukiSection is a part of a unified kernel image.
type ukiSection struct {
	name    string
	content []byte
}

// unify appends sections to systemd's stub, which together are a program of
// UEFI that starts the kernel in it (uapi-group.org, Unified Kernel Image; the
// format is that of Microsoft's PE, whose names the offsets are of).
func unify(stub []byte, sections []ukiSection) ([]byte, error) {
	const (
		entry       = 40          // bytes of a section's header
		initialized = 0x4000_0040 // data, and readable
	)
	le := binary.LittleEndian
	if len(stub) < 0x40 || string(stub[:2]) != "MZ" {
		return nil, errors.New("the stub is not a program of UEFI")
	}
	coff := int(le.Uint32(stub[0x3c:])) + 4
	if coff+20+112 > len(stub) || string(stub[coff-4:coff]) != "PE\x00\x00" {
		return nil, errors.New("the stub has no PE header")
	}
	optional := coff + 20
	table := optional + int(le.Uint16(stub[coff+16:])) // SizeOfOptionalHeader
	count := int(le.Uint16(stub[coff+2:]))             // NumberOfSections
	inMemory := int(le.Uint32(stub[optional+32:]))     // SectionAlignment
	inFile := int(le.Uint32(stub[optional+36:]))       // FileAlignment
	headers := int(le.Uint32(stub[optional+60:]))      // SizeOfHeaders
	last := table + (count-1)*entry
	if count == 0 || inMemory == 0 || inFile == 0 || table+(count+len(sections))*entry > min(headers, len(stub)) {
		return nil, fmt.Errorf("the stub has no room for %d sections", len(sections))
	}
	address := int(le.Uint32(stub[last+12:])) + int(le.Uint32(stub[last+8:])) // VirtualAddress, VirtualSize

	out := append([]byte(nil), stub...)
	for i, s := range sections {
		out = append(out, make([]byte, roundUp(len(out), inFile)-len(out))...)
		address = roundUp(address, inMemory)
		header := out[table+(count+i)*entry:]
		copy(header[:8], s.name)
		le.PutUint32(header[8:], uint32(len(s.content)))
		le.PutUint32(header[12:], uint32(address))
		le.PutUint32(header[16:], uint32(roundUp(len(s.content), inFile)))
		le.PutUint32(header[20:], uint32(len(out)))
		le.PutUint32(header[36:], initialized)
		out = append(out, s.content...)
		address += len(s.content)
	}
	out = append(out, make([]byte, roundUp(len(out), inFile)-len(out))...)
	le.PutUint16(out[coff+2:], uint16(count+len(sections)))
	le.PutUint32(out[optional+56:], uint32(roundUp(address, inMemory))) // SizeOfImage
	le.PutUint32(out[optional+64:], 0)                                  // CheckSum, which firmware does not look at
	return out, nil
}

func roundUp(n, to int) int { return (n + to - 1) / to * to }
