package measure

// Rates returns the rates and shares of metrics.md. The span is that of the phases that are not
// discarded, on coordinator time.
func Rates() []Definition {
	return []Definition{
		{"offered_rate", UnitPerSecond, "", "arrivals due in the span / span", "Open load only."},
		{"achieved_rate", UnitPerSecond, "", "sessions started in the span / span", ""},
		{"requests_per_second", UnitPerSecond, "", "requests completed successfully in the span / span", ""},
		{"input_tokens_per_second", UnitPerSecond, "", "input tokens of those / span", ""},
		{"output_tokens_per_second", UnitPerSecond, "", "output tokens of those / span", "In objectives: rate(output_tokens)."},
		{"goodput_per_second", UnitPerSecond, "", "of those, the requests that met every bound under good / span", ""},
		{"goodput_share", UnitShare, "", "the same requests / requests that were due", ""},
		{"error_rate", UnitShare, "", "failed / (failed + succeeded)", "Arrivals without an answer are shown apart: they are not the target's errors."},
	}
}

// Counts returns the counters that stand beside the distributions.
func Counts() []Definition {
	return []Definition{
		{"coalesced", UnitCount, "", "content events that shared a read with the one before", "Their gap in itl is 0."},
		{"content_events", UnitCount, "", "events with non-empty content", "A role-only chunk, an empty delta, a comment, a usage trailer and [DONE] are not content."},
		{"over_range", UnitCount, "", "values above one hour", "Recorded at the top, never dropped."},
		{"stamps_dropped", UnitCount, "", "reads whose kernel stamp was not used", "The wall clock, which stamps are on, was set during the run; such a second has no read_lag, ttft_wire and itl_wire."},
		{"connections_new", UnitCount, "", "requests that opened a connection", ""},
		{"connections_reused", UnitCount, "", "requests on a connection that was there already", ""},
		{"connections_stale", UnitCount, "", "kept connections found dead before anything was written to them", "Another one was taken each time, and no request failed by it."},
		{"bytes_in, bytes_out", UnitCount, "", "bytes of answers and of requests, headers included", ""},
	}
}
