package guard

import (
	"cmp"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
)

// Limits on redaction.
const (
	// maxSecrets bounds the secrets of one agent.
	maxSecrets = 256
	// minSecret is the shortest secret that is masked: a shorter one stands in every other word.
	minSecret = 4
	// minForm is the shortest part of a coded secret, or of one cut off at a text's end, that is masked.
	minForm = 6
	// maxText bounds a text, in bytes; the rest is cut off.
	maxText = 64 << 10
	// mask stands where a secret stood.
	mask = "***"
)

// Redactor masks known secrets in texts: as they are, in Base64 (wherever in a longer text they
// stood when it was coded), percent-encoded, quoted and in hexadecimal. The zero value is ready. Safe for use by
// many goroutines; masking takes no lock.
type Redactor struct {
	masks atomic.Pointer[masks]
	mu    sync.Mutex
	known map[string]bool
	forms []string // of all that are known, longest first
}

// masks is what a redactor looks for.
type masks struct {
	forms    []string // longest first
	replacer *strings.Replacer
}

// Add makes a secret known. It fails when there are more than 256 of them.
func (r *Redactor) Add(secret string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.known[secret] {
		return nil
	}
	if len(r.known) == maxSecrets {
		return fmt.Errorf("more than %d different secrets", maxSecrets)
	}
	if r.known == nil {
		r.known = map[string]bool{}
	}
	r.known[secret] = true
	r.forms = append(slices.Clone(r.forms), forms(secret)...)
	slices.SortFunc(r.forms, func(a, b string) int {
		return cmp.Or(cmp.Compare(len(b), len(a)), cmp.Compare(a, b))
	})
	r.forms = slices.Compact(r.forms)
	var pairs []string
	for _, form := range r.forms {
		pairs = append(pairs, form, mask)
	}
	r.masks.Store(&masks{forms: r.forms, replacer: strings.NewReplacer(pairs...)})
	return nil
}

// Redact gives the text with every known secret masked, also one that the end of the text cuts off. A text
// of more than 64 KiB is cut.
func (r *Redactor) Redact(text string) string {
	m := r.masks.Load()
	if m == nil || text == "" {
		return text
	}
	return m.cutOff(m.replacer.Replace(text[:min(len(text), maxText)]))
}

// cutOff masks the beginning of a secret at the end of a text: whoever shortened it did not know.
func (m *masks) cutOff(text string) string {
	for _, form := range m.forms {
		for at := max(0, len(text)-len(form)+1); len(form) >= minForm; at++ {
			next := strings.Index(text[at:], form[:minForm])
			if next < 0 {
				break
			}
			if at += next; strings.HasPrefix(form, text[at:]) {
				return text[:at] + mask
			}
		}
	}
	return text
}

// forms are the ways in which a secret may stand in a text.
func forms(secret string) []string {
	if len(secret) < minSecret {
		return nil
	}
	quoted, _ := json.Marshal(secret) // a string always can be
	coded := []string{
		url.QueryEscape(secret), url.PathEscape(secret), lowerEscapes(url.QueryEscape(secret)), lowerEscapes(url.PathEscape(secret)),
		inner(strconv.Quote(secret)), inner(string(quoted)),
		hex.EncodeToString([]byte(secret)), strings.ToUpper(hex.EncodeToString([]byte(secret))),
	}
	for _, encoding := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
		for before := range 3 {
			coded = append(coded, base64Core(encoding, secret, before))
		}
	}
	all := []string{secret}
	for _, form := range coded {
		if len(form) >= minForm {
			all = append(all, form)
		}
	}
	return all
}

// base64Core is what the Base64 of any text that holds the secret has in it, given how many bytes stand
// before it modulo 3: the digits that the secret alone decides.
func base64Core(encoding *base64.Encoding, secret string, before int) string {
	digits := encoding.EncodeToString(append(make([]byte, before), secret...))
	first := (8*before + 5) / 6 // digits that bits before the secret have a part in
	last := 8 * (before + len(secret)) / 6
	return digits[first:max(first, last)]
}

// lowerEscapes writes the hexadecimal digits of percent-encoding in lower case.
func lowerEscapes(text string) string {
	b := []byte(text)
	for i := 0; i+2 < len(b); i++ {
		if b[i] == '%' {
			copy(b[i+1:], strings.ToLower(string(b[i+1:i+3])))
			i += 2
		}
	}
	return string(b)
}

// inner is a quoted text without its quotes.
func inner(text string) string { return text[1 : len(text)-1] }
