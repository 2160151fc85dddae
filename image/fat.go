package image

import (
	"encoding/binary"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"
	"unicode/utf16"
)

// volume is a FAT32 file system to be written (Microsoft Extensible Firmware
// Initiative FAT32 File System Specification, version 1.03). Files and
// directories are in one piece each, one behind the other in the order of their
// names, so that the same files give the same bytes.
type volume struct {
	label   string
	id      uint32
	start   int // where the partition begins on its disk, in sectors
	sectors int
	cluster int       // sectors in a cluster
	date    time.Time // of every file
	root    node
}

// node is a file or a directory.
type node struct {
	name     string
	dir      bool
	content  []byte  // of a file
	children []*node // of a directory, by name

	first uint32 // cluster, 0 for an empty file
}

const (
	fatReserved = 32 // sectors before the first table; 6 and 7 are copies of 0 and 1
	fatInfo     = 1
	fatBackup   = 6
	fatEntry    = 32 // bytes in an entry of a directory
	fatEnd      = 0x0fffffff
	minFAT32    = 65525 // clusters; with fewer, readers take it for FAT16
)

// add puts a file into the volume, and the directories that its path needs.
func (v *volume) add(name string, content []byte) error {
	dir := &v.root
	parts := strings.Split(path.Clean(name), "/")
	for _, part := range parts[:len(parts)-1] {
		next := dir.child(part)
		if next == nil {
			next = dir.insert(&node{name: part, dir: true})
		}
		if !next.dir {
			return fmt.Errorf("%s: %s is a file", name, part)
		}
		dir = next
	}
	last := parts[len(parts)-1]
	if dir.child(last) != nil {
		return fmt.Errorf("%s is there twice", name)
	}
	dir.insert(&node{name: last, content: content})
	return nil
}

// child finds a name as FAT does, whatever its case.
func (n *node) child(name string) *node {
	for _, c := range n.children {
		if strings.EqualFold(c.name, name) {
			return c
		}
	}
	return nil
}

func (n *node) insert(c *node) *node {
	i, _ := slices.BinarySearchFunc(n.children, c.name, func(c *node, name string) int { return strings.Compare(c.name, name) })
	n.children = slices.Insert(n.children, i, c)
	return c
}

// bytes writes the volume, up to the last cluster that is used: the rest of the
// partition may hold anything.
func (v *volume) bytes() ([]byte, error) {
	tableSectors, clusters := v.geometry()
	if clusters < minFAT32 {
		return nil, fmt.Errorf("FAT32 of %d clusters, want %d at least", clusters, minFAT32)
	}
	v.root.dir = true
	table := []uint32{0x0ffffff8, fatEnd} // media type and "cleanly unmounted"
	table = v.allocate(&v.root, table)
	if used := len(table) - 2; used > clusters {
		return nil, fmt.Errorf("the files take %d KiB of %d", used*v.cluster/2, clusters*v.cluster/2)
	}

	data := fatReserved + 2*tableSectors
	image := make([]byte, (data+(len(table)-2)*v.cluster)*sectorSize)
	boot, info := v.bootSector(tableSectors), v.infoSector(table, clusters)
	for _, at := range []int{0, fatBackup} {
		copy(image[at*sectorSize:], boot)
		copy(image[(at+fatInfo)*sectorSize:], info)
	}
	for copies := range 2 {
		at := image[(fatReserved+copies*tableSectors)*sectorSize:]
		for i, next := range table {
			binary.LittleEndian.PutUint32(at[4*i:], next)
		}
	}
	v.write(&v.root, nil, image[data*sectorSize:])
	return image, nil
}

// geometry returns the length of a table in sectors, and the number of clusters.
func (v *volume) geometry() (tableSectors, clusters int) {
	for {
		clusters = (v.sectors - fatReserved - 2*tableSectors) / v.cluster
		need := ((clusters+2)*4 + sectorSize - 1) / sectorSize
		if need <= tableSectors {
			return tableSectors, clusters
		}
		tableSectors = need
	}
}

// allocate gives n and all below it their clusters.
func (v *volume) allocate(n *node, table []uint32) []uint32 {
	size := len(n.content)
	if n.dir {
		size = fatEntry * n.entries()
	}
	if count := (size + v.clusterSize() - 1) / v.clusterSize(); count > 0 {
		n.first = uint32(len(table))
		for i := range count - 1 {
			table = append(table, n.first+uint32(i)+1)
		}
		table = append(table, fatEnd)
	}
	for _, c := range n.children {
		table = v.allocate(c, table)
	}
	return table
}

func (v *volume) clusterSize() int { return v.cluster * sectorSize }

// entries is how many entries a directory has: the label in the root or the
// two dots elsewhere, and for each file its own and those of a long name.
func (n *node) entries() int {
	count := 2
	for _, c := range n.children {
		count += 1 + longEntries(c.name)
	}
	return count
}

// write writes n and all below it to the clusters in data.
func (v *volume) write(n, parent *node, data []byte) {
	if n.first > 0 {
		content := n.content
		if n.dir {
			content = v.directory(n, parent)
		}
		copy(data[int(n.first-2)*v.clusterSize():], content)
	}
	for _, c := range n.children {
		v.write(c, n, data)
	}
}

// Attributes of directory entries.
const (
	attrLabel   = 0x08
	attrDir     = 0x10
	attrArchive = 0x20
	attrLong    = 0x0f
)

// directory is the content of a directory.
func (v *volume) directory(n, parent *node) []byte {
	var out []byte
	if parent == nil {
		out = v.entry(out, [11]byte([]byte(fmt.Sprintf("%-11s", v.label))), attrLabel, 0, 0)
	} else {
		up := parent.first
		if parent == &v.root {
			up = 0 // the root's number is not written down
		}
		out = v.entry(out, [11]byte([]byte(".          ")), attrDir, n.first, 0)
		out = v.entry(out, [11]byte([]byte("..         ")), attrDir, up, 0)
	}
	short := make(map[[11]byte]bool)
	for _, c := range n.children {
		name := shortName(c.name, short)
		short[name] = true
		out = append(out, longName(c.name, name)...)
		attr := byte(attrArchive)
		if c.dir {
			attr = attrDir
		}
		out = v.entry(out, name, attr, c.first, len(c.content))
	}
	return out
}

func (v *volume) entry(out []byte, name [11]byte, attr byte, first uint32, size int) []byte {
	at := v.date.UTC()
	day := uint16(max(at.Year()-1980, 0)<<9 | int(at.Month())<<5 | at.Day())
	second := uint16(at.Hour()<<11 | at.Minute()<<5 | at.Second()/2)
	le := binary.LittleEndian
	out = append(append(out, name[:]...), attr, 0, 0)
	out = le.AppendUint16(le.AppendUint16(out, second), day) // created
	out = le.AppendUint16(out, day)                          // read
	out = le.AppendUint16(out, uint16(first>>16))            //
	out = le.AppendUint16(le.AppendUint16(out, second), day) // written
	return le.AppendUint32(le.AppendUint16(out, uint16(first)), uint32(size))
}

// plainShort reports whether a name is one that needs no long form.
func plainShort(name string) bool {
	base, ext, _ := strings.Cut(name, ".")
	return base != "" && len(base) <= 8 && len(ext) <= 3 && !strings.HasSuffix(name, ".") && name == shortChars(base)+dotted(ext)
}

func dotted(ext string) string {
	if ext == "" {
		return ""
	}
	return "." + shortChars(ext)
}

// shortChars keeps what a short name may hold, in capitals.
func shortChars(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'A' && r <= 'Z', r >= '0' && r <= '9', strings.ContainsRune("!#$%&'()-@^_`{}~", r):
			return r
		case r >= 'a' && r <= 'z':
			return r - 'a' + 'A'
		}
		return -1
	}, s)
}

// shortName is a name's own short form, or else one that nothing in the
// directory has.
func shortName(name string, taken map[[11]byte]bool) [11]byte {
	base, ext := name, ""
	if dot := strings.LastIndexByte(name, '.'); dot > 0 {
		base, ext = name[:dot], name[dot+1:]
	}
	base, ext = shortChars(base), shortChars(ext)
	ext = ext[:min(len(ext), 3)]
	if plainShort(name) {
		return packShort(base, ext)
	}
	for n := 1; ; n++ {
		tail := fmt.Sprintf("~%d", n)
		short := packShort(base[:min(len(base), 8-len(tail))]+tail, ext)
		if !taken[short] {
			return short
		}
	}
}

func packShort(base, ext string) [11]byte {
	return [11]byte([]byte(fmt.Sprintf("%-8s%-3s", base, ext)))
}

const longChars = 13 // in each entry of a long name

func longEntries(name string) int {
	if plainShort(name) {
		return 0
	}
	return (len(utf16.Encode([]rune(name))) + longChars - 1) / longChars
}

// longName is the entries of a long name, the last part first. Each has a sum
// over the short name that they belong to.
func longName(name string, short [11]byte) []byte {
	var sum byte
	for _, c := range short {
		sum = sum>>1 | sum<<7
		sum += c
	}
	chars := utf16.Encode([]rune(name))
	count := longEntries(name)
	if len(chars) < count*longChars {
		chars = append(chars, 0)
	}
	for len(chars) < count*longChars {
		chars = append(chars, 0xffff)
	}
	var out []byte
	for i := count; i > 0; i-- {
		part := chars[(i-1)*longChars : i*longChars]
		order := byte(i)
		if i == count {
			order |= 0x40
		}
		out = appendChars(append(out, order), part[:5])
		out = append(out, attrLong, 0, sum)
		out = append(appendChars(out, part[5:11]), 0, 0)
		out = appendChars(out, part[11:])
	}
	return out
}

func appendChars(out []byte, chars []uint16) []byte {
	for _, c := range chars {
		out = binary.LittleEndian.AppendUint16(out, c)
	}
	return out
}

// bootSector is the BIOS parameter block. Nothing boots from its code.
func (v *volume) bootSector(tableSectors int) []byte {
	b := make([]byte, sectorSize)
	le := binary.LittleEndian
	copy(b, "\xeb\x58\x90NATRIX  ")
	le.PutUint16(b[11:], sectorSize)
	b[13] = byte(v.cluster)
	le.PutUint16(b[14:], fatReserved)
	b[16] = 2              // tables
	b[21] = 0xf8           // media type: a disk
	b[24], b[26] = 63, 255 // sectors and heads of a geometry that nobody uses
	le.PutUint32(b[28:], uint32(v.start))
	le.PutUint32(b[32:], uint32(v.sectors))
	le.PutUint32(b[36:], uint32(tableSectors))
	le.PutUint32(b[44:], v.root.first)
	le.PutUint16(b[48:], fatInfo)
	le.PutUint16(b[50:], fatBackup)
	b[64], b[66] = 0x80, 0x29 // drive, and that what follows is there
	le.PutUint32(b[67:], v.id)
	copy(b[71:], fmt.Sprintf("%-11s", v.label))
	copy(b[82:], "FAT32   ")
	b[510], b[511] = 0x55, 0xaa
	return b
}

// infoSector tells how many clusters are free, and where.
func (v *volume) infoSector(table []uint32, clusters int) []byte {
	b := make([]byte, sectorSize)
	le := binary.LittleEndian
	copy(b, "RRaA")
	copy(b[484:], "rrAa")
	le.PutUint32(b[488:], uint32(clusters-len(table)+2))
	le.PutUint32(b[492:], uint32(len(table)))
	b[510], b[511] = 0x55, 0xaa
	return b
}
