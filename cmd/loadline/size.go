package main

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// units are those of sizes, the largest first.
var units = [...]struct {
	name  string
	bytes float64
}{{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"B", 1}}

// parseSize reads a size as people write it, 20GiB or 512 MiB, of at least one byte; the flag stands in the error.
func parseSize(flag, text string) (int64, error) {
	number, factor := strings.TrimSpace(text), 1.0
	for _, u := range units {
		if rest, ok := strings.CutSuffix(number, u.name); ok {
			number, factor = strings.TrimSpace(rest), u.bytes
			break
		}
	}
	n, err := strconv.ParseFloat(number, 64)
	if n *= factor; err != nil || !(n >= 1) || n >= math.MaxInt64 {
		return 0, fmt.Errorf("--%s %q: write a size above 0, as 512MiB or 20GiB", flag, text)
	}
	return int64(n), nil
}

// sizeText is a size for people.
func sizeText(n int64) string {
	for _, u := range units {
		if float64(n) >= u.bytes {
			return strconv.FormatFloat(float64(n)/u.bytes, 'f', min(1, int(u.bytes-1)), 64) + " " + u.name
		}
	}
	return "0 B"
}
