package scenario

import (
	"strconv"
	"strings"
)

// path names a field from the root, as load[1].open.rate. The root is nil.
type path struct {
	up   *path
	text string
}

func (p *path) String() string {
	if p == nil {
		return ""
	}
	return p.text
}

// field is the path of a member of a message.
func (p *path) field(name string) *path {
	if p == nil {
		return &path{text: name}
	}
	return &path{up: p, text: p.text + "." + name}
}

// index is the path of an element of a list.
func (p *path) index(i int) *path {
	return &path{up: p, text: p.String() + "[" + strconv.Itoa(i) + "]"}
}

// key is the path of an entry of a map; a key with odd characters stands in brackets and quotes.
func (p *path) key(k string) *path {
	if isPlainKey(k) {
		return p.field(k)
	}
	return &path{up: p, text: p.String() + "[" + strconv.Quote(k) + "]"}
}

func isPlainKey(k string) bool {
	return k != "" && strings.Trim(k, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") == ""
}
