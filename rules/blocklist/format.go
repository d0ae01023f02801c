package blocklist

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"hash/crc32"
	"math/bits"
	"time"
)

// The file, all numbers little-endian:
//
//	header    64 bytes, see below
//	sources   JSON, an array of Source
//	table     slots of 8 bytes: the low half of the name's hash above its
//	          record's offset in names plus one; 0 is an empty slot
//	names     records: the length of a name, its kind and source, the name
//
// A name stands in the first free slot behind the one that its hash points to.
const (
	magic      = "NJBLOCK1"
	headerSize = 64
	slotSize   = 8
	recordHead = 2

	exceptionBit = 0x80 // in the second byte of a record, above the source's number
)

// header is what has to be known before a name can be looked up.
type header struct {
	base       uint64 // of the hash
	slots      uint32
	longest    uint32 // most slots to look at for one name
	names      uint32
	exceptions uint32
	blob       uint64 // bytes of names
	sources    uint32 // bytes of sources
	body       uint32 // checksum of table and names
	built      time.Time
}

// checksum is not prepared at start: most processes have no use for it.
func checksum(parts ...[]byte) uint32 {
	table := crc32.MakeTable(crc32.Castagnoli)
	var sum uint32
	for _, p := range parts {
		sum = crc32.Update(sum, table, p)
	}
	return sum
}

// encode returns header and sources.
func (h *header) encode(sources []Source) ([]byte, error) {
	text, err := json.Marshal(sources)
	if err != nil {
		return nil, err
	}
	h.sources = uint32(len(text))
	b := make([]byte, headerSize, headerSize+len(text))
	le := binary.LittleEndian
	copy(b, magic)
	le.PutUint64(b[8:], h.base)
	le.PutUint32(b[16:], h.slots)
	le.PutUint32(b[20:], h.longest)
	le.PutUint32(b[24:], h.names)
	le.PutUint32(b[28:], h.exceptions)
	le.PutUint64(b[32:], h.blob)
	le.PutUint32(b[40:], h.sources)
	le.PutUint32(b[44:], h.body)
	le.PutUint64(b[48:], uint64(h.built.UnixNano()))
	le.PutUint32(b[60:], checksum(b[:60], text))
	return append(b, text...), nil
}

var errNoFile = errors.New("not a compiled blocklist")

// decode reads what encode wrote, and returns the rest of the file as table
// and names. Everything that it returns is within data.
func (h *header) decode(data []byte) (sources []Source, table, blob []byte, err error) {
	if len(data) < headerSize || string(data[:len(magic)]) != magic {
		return nil, nil, nil, errNoFile
	}
	le := binary.LittleEndian
	*h = header{
		base: le.Uint64(data[8:]), slots: le.Uint32(data[16:]), longest: le.Uint32(data[20:]),
		names: le.Uint32(data[24:]), exceptions: le.Uint32(data[28:]), blob: le.Uint64(data[32:]),
		sources: le.Uint32(data[40:]), body: le.Uint32(data[44:]), built: time.Unix(0, int64(le.Uint64(data[48:]))),
	}
	rest := data[headerSize:]
	size := uint64(h.sources) + uint64(h.slots)*slotSize
	if h.slots == 0 || h.longest > h.slots || h.blob > uint64(len(rest)) || size != uint64(len(rest))-h.blob {
		return nil, nil, nil, errors.New("a compiled blocklist that was cut short")
	}
	text := rest[:h.sources]
	if checksum(data[:60], text) != le.Uint32(data[60:]) {
		return nil, nil, nil, errDamaged
	}
	if err := json.Unmarshal(text, &sources); err != nil {
		return nil, nil, nil, err
	}
	if len(sources) > MaxSources {
		return nil, nil, nil, errDamaged
	}
	return sources, rest[h.sources:size], rest[size:], nil
}

// prime is 2^61-1: a product is reduced by shifts.
const prime = 1<<61 - 1

// hashByte continues the hash of a name with the byte before: names are hashed
// from their end, so that those of all domains above a name come on the way.
//
// It is a polynomial in base, which is random for every file: whoever writes a
// list cannot choose names that collide. h and base are below prime, or the
// file is damaged and the hash finds nothing.
func hashByte(h, base uint64, c byte) uint64 {
	hi, lo := bits.Mul64(h, base)
	h = lo&prime + (hi<<3 | lo>>61) + uint64(c)
	h = h&prime + h>>61
	if h >= prime {
		h -= prime
	}
	return h
}

// slotOf returns the slot that a hash points to.
func slotOf(h uint64, slots uint32) uint32 {
	hi, _ := bits.Mul64(h<<3, uint64(slots))
	return uint32(hi)
}
