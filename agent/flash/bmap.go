package flash

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// blockMap is the file that bmaptool writes and reads, in the version 2.0 of
// its format.
type blockMap struct {
	Version      string `xml:"version,attr"`
	ImageSize    string
	BlockSize    string
	ChecksumType string
	FileChecksum string `xml:"BmapFileChecksum"`
	Ranges       []struct {
		Sum    string `xml:"chksum,attr"`
		Blocks string `xml:",chardata"`
	} `xml:"BlockMap>Range"`
}

// parseMap reads a block map: the size of the image, and what is used of it.
func parseMap(text []byte) (size int64, spans []span, err error) {
	var m blockMap
	if err := xml.Unmarshal(text, &m); err != nil {
		return 0, nil, fmt.Errorf("not a block map: %w", err)
	}
	if !strings.HasPrefix(m.Version, "2.") || strings.TrimSpace(m.ChecksumType) != "sha256" {
		return 0, nil, fmt.Errorf("a block map of version %.20q with sums by %.20q: want 2.0 and sha256", m.Version, m.ChecksumType)
	}
	own := strings.TrimSpace(m.FileChecksum)
	if len(own) != 2*sha256.Size || fmt.Sprintf("%x", sha256.Sum256(bytes.Replace(text, []byte(own), bytes.Repeat([]byte("0"), len(own)), 1))) != own {
		return 0, nil, errors.New("the block map is damaged: its own sum is another")
	}
	size, err = number(m.ImageSize)
	if err != nil {
		return 0, nil, err
	}
	block, err := number(m.BlockSize)
	if err != nil || block < 512 || block > 1<<20 {
		return 0, nil, fmt.Errorf("blocks of %.20q bytes: want 512 to 1 MiB", m.BlockSize)
	}
	for _, r := range m.Ranges {
		s, err := parseRange(r.Blocks, r.Sum, block, size)
		if err != nil {
			return 0, nil, err
		}
		if n := len(spans); n == 0 && s.at != 0 || n > 0 && s.at < spans[n-1].at+spans[n-1].len {
			return 0, nil, fmt.Errorf("range %.40q: ranges begin at 0 and follow each other", r.Blocks)
		}
		spans = append(spans, s)
	}
	if len(spans) == 0 {
		return 0, nil, errors.New("the block map lists nothing")
	}
	return size, spans, nil
}

// parseRange reads blocks such as "5" or "8-20" of an image.
func parseRange(blocks, sum string, block, size int64) (span, error) {
	from, to, several := strings.Cut(blocks, "-")
	if !several {
		to = from
	}
	first, err := number(from)
	if err != nil {
		return span{}, err
	}
	last, err := number(to)
	if err != nil {
		return span{}, err
	}
	s := span{}
	if s.sum, err = hex.DecodeString(sum); err != nil || len(s.sum) != sha256.Size {
		return span{}, fmt.Errorf("range %.40q has no sum", blocks)
	}
	if last < first || last >= (size+block-1)/block {
		return span{}, fmt.Errorf("range %.40q is not in the image", blocks)
	}
	s.at = first * block
	s.len = min((last+1)*block, size) - s.at
	return s, nil
}

// number reads one of at most 8 TiB.
func number(text string) (int64, error) {
	n, err := strconv.ParseUint(strings.TrimSpace(text), 10, 43)
	if err != nil {
		return 0, fmt.Errorf("%.40q is not a number of bytes or blocks", text)
	}
	return int64(n), nil
}
