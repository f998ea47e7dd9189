package judge

import (
	"math"
	"strconv"
	"strings"
	"time"
)

// Units of values, as they stand in a summary.
const (
	UnitMicros    = "us"
	UnitShare     = "share"
	UnitPerSecond = "per_second"
	UnitTokens    = "tokens"
	UnitTokensPer = "tokens_per_1000_events"
)

// Quantity writes a value for people, with its unit and three significant digits: "1.24 s",
// "640 µs", "0.12%", "1,250/s".
func Quantity(v float64, unit string) string {
	switch {
	case math.IsInf(v, 0) || math.IsNaN(v):
		return "infinite"
	case unit == UnitMicros:
		return duration(v)
	case unit == UnitShare:
		return digits(v*100) + "%"
	case unit == UnitPerSecond:
		return digits(v) + "/s"
	default:
		return digits(v)
	}
}

// Figure writes a value as Quantity does, with the zeros at the end of a duration from 1 ms on,
// so that figures stand well below each other.
func Figure(v float64, unit string) string {
	if unit != UnitMicros || v < 999.5 || v >= 120e6 || math.IsNaN(v) {
		return Quantity(v, unit)
	}
	scale, name := 1e6, " s"
	if v < 999_500 {
		scale, name = 1e3, " ms"
	}
	return strconv.FormatFloat(v/scale, 'f', max(0, 2-exponent(v/scale)), 64) + name
}

// duration writes microseconds. The unit changes where the rounded figure would have four digits.
func duration(us float64) string {
	switch {
	case us < 999.5:
		return digits(us) + " µs"
	case us < 999_500:
		return digits(us/1e3) + " ms"
	case us < 120e6:
		return digits(us/1e6) + " s"
	default:
		return (time.Duration(us) * time.Microsecond).Round(time.Second).String()
	}
}

// digits writes v with three significant digits, with all of them before the point, and with
// commas between thousands.
func digits(v float64) string {
	if v == 0 {
		return "0"
	}
	places := max(0, 2-exponent(v))
	text := strconv.FormatFloat(v, 'f', min(places, 9), 64)
	if strings.Contains(text, ".") {
		text = strings.TrimRight(strings.TrimRight(text, "0"), ".")
	}
	return group(text)
}

// exponent is the power of ten of v rounded to three digits. It goes through the decimal form,
// which is the same on every processor; a logarithm need not be.
func exponent(v float64) int {
	_, text, _ := strings.Cut(strconv.FormatFloat(v, 'e', 2, 64), "e")
	n, _ := strconv.Atoi(text)
	return n
}

// Count writes a whole number with commas between thousands.
func Count(n uint64) string { return group(strconv.FormatUint(n, 10)) }

func group(text string) string {
	whole, rest, found := strings.Cut(text, ".")
	sign := ""
	if strings.HasPrefix(whole, "-") {
		sign, whole = "-", whole[1:]
	}
	var b strings.Builder
	for i, c := range whole {
		if i > 0 && (len(whole)-i)%3 == 0 {
			b.WriteByte(',')
		}
		b.WriteRune(c)
	}
	if found {
		return sign + b.String() + "." + rest
	}
	return sign + b.String()
}

// number writes a count with its noun.
func number(n uint64, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return Count(n) + " " + noun + "s"
}
