package run

import (
	"fmt"
	"strings"
	"testing"
)

// TestDetailNamesSomeOfMany keeps what is said at every step short, however many agents there are.
func TestDetailNamesSomeOfMany(t *testing.T) {
	var roster []Member
	for i := range 1000 {
		roster = append(roster, Member{ID: ID{Agent: fmt.Sprintf("a%03d", i), Incarnation: 1}, Weight: 1})
	}
	m, _ := New(Config{}, roster, 0)
	if got := m.Detail(); !strings.HasPrefix(got, "waiting until ready: a000, a001") || !strings.HasSuffix(got, "a019 and 980 more") {
		t.Errorf("detail = %q", got)
	}
	for _, r := range roster[2:] {
		m.Step(Ready{ID: r.ID}, 1)
	}
	if got := m.Detail(); got != "waiting until ready: a000, a001" {
		t.Errorf("detail = %q", got)
	}
}
