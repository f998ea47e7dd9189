package scenario_test

import (
	"encoding/hex"
	"strconv"
	"strings"
	"testing"
)

func hexOf(sum [32]byte) string { return hex.EncodeToString(sum[:]) }

// setPath changes a plain tree as an override such as load[0].open.rate=5 does. It is simple: for
// paths whose parents are there.
func setPath(t *testing.T, doc any, set string) any {
	t.Helper()
	where, value, _ := strings.Cut(set, "=")
	parts := strings.FieldsFunc(where, func(r rune) bool { return r == '.' || r == '[' || r == ']' })
	at := doc
	for i, part := range parts {
		last := i == len(parts)-1
		switch v := at.(type) {
		case map[string]any:
			if last {
				v[part] = tree(t, []byte(value))
			} else if v[part] == nil {
				v[part] = map[string]any{}
			}
			at = v[part]
		case []any:
			n, err := strconv.Atoi(part)
			if err != nil {
				t.Fatal(err)
			}
			if last {
				v[n] = tree(t, []byte(value))
			}
			at = v[n]
		default:
			t.Fatalf("%s: no %s", set, part)
		}
	}
	return doc
}
