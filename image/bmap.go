package image

import (
	"compress/gzip"
	"crypto/sha256"
	"fmt"
	"os"
	"strings"

	"github.com/natrix-os/natrix/agent/medium"
)

// blockSize is the unit of a block map. Everything on the disk begins at a
// multiple of it, but for GRUB's core, which shares the first block.
const blockSize = 4096

// mapped is a range of blocks with the sum of its bytes.
type mapped struct {
	first, last int
	sum         string
}

// blocks are the parts of the disk that are not holes.
func (d disk) blocks() []mapped {
	var out []mapped
	for i := 0; i < len(d); i++ {
		first := d[i].sector * sectorSize / blockSize
		var content []byte
		for ; i < len(d) && d[i].sector*sectorSize/blockSize <= first+len(content)/blockSize; i++ {
			at := d[i].sector*sectorSize - first*blockSize
			content = append(content, make([]byte, max(at-len(content), 0))...)
			content = append(content[:at], d[i].content...)
		}
		i--
		content = append(content, make([]byte, -len(content)&(blockSize-1))...)
		out = append(out, mapped{first, first + len(content)/blockSize - 1, fmt.Sprintf("%x", sha256.Sum256(content))})
	}
	return out
}

// saveMap writes a block map, with which bmaptool writes only what is used
// (version 2.0 of its format).
func (d disk) saveMap(name string) error {
	return replaceFile(name, d.blockMap())
}

// blockMap is the map. The sum over the file is made with zeros in its place.
func (d disk) blockMap() []byte {
	const zeros = "0000000000000000000000000000000000000000000000000000000000000000"
	var ranges strings.Builder
	count := 0
	for _, m := range d.blocks() {
		place := fmt.Sprintf("%d-%d", m.first, m.last)
		if m.first == m.last {
			place = fmt.Sprint(m.first)
		}
		fmt.Fprintf(&ranges, "        <Range chksum=%q> %s </Range>\n", m.sum, place)
		count += m.last - m.first + 1
	}
	const size = medium.End * sectorSize
	text := fmt.Sprintf(`<?xml version="1.0" ?>
<bmap version="2.0">
    <ImageSize> %d </ImageSize>
    <BlockSize> %d </BlockSize>
    <BlocksCount> %d </BlocksCount>
    <MappedBlocksCount> %d </MappedBlocksCount>
    <ChecksumType> sha256 </ChecksumType>
    <BmapFileChecksum> %s </BmapFileChecksum>
    <BlockMap>
%s    </BlockMap>
</bmap>
`, size, blockSize, size/blockSize, count, zeros, ranges.String())
	return []byte(strings.Replace(text, zeros, fmt.Sprintf("%x", sha256.Sum256([]byte(text))), 1))
}

// saveCompressed writes the whole disk in a form that the Raspberry Pi Imager
// and bmaptool unpack as they write.
func (d disk) saveCompressed(name string) error {
	f, err := os.Create(name + ".new")
	if err != nil {
		return err
	}
	defer f.Close()
	z := gzip.NewWriter(f)
	if _, err := d.WriteTo(z); err != nil {
		return err
	}
	if err := z.Close(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(name+".new", name)
}
