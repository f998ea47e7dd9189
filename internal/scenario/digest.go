package scenario

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"math"
	"slices"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"

	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// digestVersion is hashed first. It changes when the canonical form does, so that two forms never
// yield one digest for two meanings.
const digestVersion = "loadline scenario 2\n"

// Digest is the SHA-256 of what a scenario means: its message with defaults filled in, in a
// canonical form, and the digests of its files sorted by path. Neither the spelling (YAML, JSON,
// order of keys, comments, blanks in an objective) nor the order of maps and files matters. The
// scenario is not changed.
func Digest(s *pb.Scenario, files []*pb.FileDigest) [32]byte {
	s = clone(s)
	Normalize(s)
	b := appendMessage([]byte(digestVersion), s.ProtoReflect())
	sorted := slices.Clone(files)
	slices.SortFunc(sorted, func(x, y *pb.FileDigest) int {
		return cmp.Or(strings.Compare(x.GetPath(), y.GetPath()), slices.Compare(x.GetSha256(), y.GetSha256()))
	})
	for i, f := range sorted {
		if i > 0 && f.GetPath() == sorted[i-1].GetPath() && slices.Equal(f.GetSha256(), sorted[i-1].GetSha256()) {
			continue // one file named twice
		}
		b = appendBytes(b, []byte(f.GetPath()))
		b = appendBytes(b, f.GetSha256())
	}
	return sha256.Sum256(b)
}

// appendMessage appends a message in canonical form: the number of populated fields, then each
// with its number, ascending. Unlike the wire form of protobuf, whose order and spelling are not
// specified, two equal messages always have one form, and two unequal ones never share it.
func appendMessage(b []byte, m protoreflect.Message) []byte {
	type field struct {
		fd protoreflect.FieldDescriptor
		v  protoreflect.Value
	}
	var fields []field
	written := messageForm(m.Descriptor()).GetExpression()
	m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		if !written || fd.Name() != "expression" { // its meaning stands in the other fields
			fields = append(fields, field{fd, v})
		}
		return true
	})
	slices.SortFunc(fields, func(x, y field) int { return cmp.Compare(x.fd.Number(), y.fd.Number()) })
	b = binary.AppendUvarint(b, uint64(len(fields)))
	for _, f := range fields {
		b = binary.AppendUvarint(b, uint64(f.fd.Number()))
		b = appendField(b, f.fd, f.v)
	}
	return b
}

func appendField(b []byte, fd protoreflect.FieldDescriptor, v protoreflect.Value) []byte {
	switch {
	case fd.IsList():
		l := v.List()
		b = binary.AppendUvarint(b, uint64(l.Len()))
		for i := range l.Len() {
			b = appendSingle(b, fd, l.Get(i))
		}
		return b
	case fd.IsMap():
		m := v.Map()
		b = binary.AppendUvarint(b, uint64(m.Len()))
		for _, k := range sortedKeys(m) {
			b = appendBytes(b, []byte(k))
			b = appendSingle(b, fd.MapValue(), m.Get(protoreflect.ValueOfString(k).MapKey()))
		}
		return b
	}
	return appendSingle(b, fd, v)
}

// sortedKeys lists the keys of a map in byte order; all maps of the schema have text for keys.
func sortedKeys(m protoreflect.Map) []string {
	keys := make([]string, 0, m.Len())
	m.Range(func(k protoreflect.MapKey, _ protoreflect.Value) bool {
		keys = append(keys, k.String())
		return true
	})
	slices.Sort(keys)
	return keys
}

func appendSingle(b []byte, fd protoreflect.FieldDescriptor, v protoreflect.Value) []byte {
	switch fd.Kind() {
	case protoreflect.MessageKind, protoreflect.GroupKind:
		return appendMessage(b, v.Message())
	case protoreflect.StringKind:
		return appendBytes(b, []byte(v.String()))
	case protoreflect.BytesKind:
		return appendBytes(b, v.Bytes())
	case protoreflect.BoolKind:
		if v.Bool() {
			return append(b, 1)
		}
		return append(b, 0)
	case protoreflect.EnumKind:
		return binary.AppendVarint(b, int64(v.Enum()))
	case protoreflect.DoubleKind, protoreflect.FloatKind:
		return binary.BigEndian.AppendUint64(b, math.Float64bits(v.Float()+0)) // −0 is 0
	case protoreflect.Uint32Kind, protoreflect.Uint64Kind, protoreflect.Fixed32Kind, protoreflect.Fixed64Kind:
		return binary.AppendUvarint(b, v.Uint())
	}
	return binary.AppendVarint(b, v.Int())
}

func appendBytes(b, s []byte) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}
