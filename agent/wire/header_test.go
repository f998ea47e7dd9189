package wire

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/loadline/loadline/internal/scenario"
)

// What a scenario may set as a header, this package sends. Its own check is the last one before the
// connection and stands on its own: it also sees the headers that loadline sets.
func TestAHeaderThatAScenarioMaySetIsSent(t *testing.T) {
	name := rapid.OneOf(
		rapid.StringMatching(`[A-Za-z0-9!#$%&'*+.^_|~-]{1,8}`), rapid.StringOfN(rapid.RuneFrom([]rune("aZ0-:_ \t\né\x00")), 0, 4, -1),
		rapid.SampledFrom([]string{"Content-Length", "transfer-encoding", "TE", "te", "Upgrade", "Host", "Connection", "Expect", "Trailer", "keep-alive"}),
	)
	value := rapid.OneOf(rapid.String(), rapid.StringOf(rapid.RuneFrom([]rune("a \t\r\n\x00\x1f\x7f\u0080é"))))
	rapid.Check(t, func(t *rapid.T) {
		n, v := name.Draw(t, "name"), value.Draw(t, "value")
		if scenario.CheckHeaderName(n) != nil || scenario.CheckHeaderValue(v) != nil {
			return
		}
		if err := checkHeader(n, v); err != nil {
			t.Fatalf("a scenario may set %q: %q, and it is refused: %v", n, v, err)
		}
	})
}
