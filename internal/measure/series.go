package measure

// Series is one metric's name. The numbers equal those of the schema's enum Series and never change.
type Series uint8

// The series of metrics.md. Durations are recorded in microseconds.
const (
	Lateness Series = iota + 1
	Connect
	Send
	Wait
	TTFT
	TTFTService
	TTFO
	ITL
	MaxITL
	TPOT
	E2E
	E2EService
	E2EFailed
	Session
	InputTokens
	OutputTokens
	TokensPerEvent
	DNS
	TLS
	Receive
	ReadLag
	TTFTWire
	ITLWire
	RoundTrip

	// NumSeries is one more than the highest series: the length of an array indexed by series.
	NumSeries
)

// Units of series and rates, as they stand in summary.json.
const (
	UnitMicros         = "us"
	UnitTokens         = "tokens"
	UnitTokensPerEvent = "tokens_per_1000_events"
	UnitPerSecond      = "per_second"
	UnitShare          = "share"
	UnitCount          = "count"
)

// Definition says what a metric's name means.
type Definition struct {
	// Name as it stands in objectives, reports and files.
	Name string `json:"name"`
	// Unit of its values.
	Unit string `json:"unit"`
	// Per says what yields one value; empty where the metric is one number.
	Per string `json:"per,omitempty"`
	// Formula in the instants and counts of metrics.md.
	Formula string `json:"formula"`
	// Notes for people; may be empty.
	Notes string `json:"notes,omitempty"`
}

// definitions is indexed by series; it is never changed. A number without a name is no series.
var definitions = [NumSeries]Definition{
	Lateness:       {"lateness", UnitMicros, "session start", "dispatched − due", "The generator's own delay; large values make a run invalid. A missed arrival adds how late it was when it was given up."},
	Connect:        {"connect", UnitMicros, "new connection", "connected − dispatched", "Name lookup, TCP and TLS together."},
	Send:           {"send", UnitMicros, "request", "sent − connected", ""},
	Wait:           {"wait", UnitMicros, "request", "first byte − sent", ""},
	TTFT:           {"ttft", UnitMicros, "streamed request", "first token − due", "The headline: holds every wait a user would feel."},
	TTFTService:    {"ttft_service", UnitMicros, "streamed request", "first token − dispatched", "What most other tools call TTFT."},
	TTFO:           {"ttfo", UnitMicros, "streamed request", "first non-reasoning content − due", "Equals ttft where there is no reasoning."},
	ITL:            {"itl", UnitMicros, "gap", "instant of content event i − instant of event i−1", "All gaps pooled, none averaged away. Events that come out of one read are 0 apart."},
	MaxITL:         {"max_itl", UnitMicros, "streamed request with a gap", "largest gap of the stream", "Shows stalls."},
	TPOT:           {"tpot", UnitMicros, "streamed request with 2 or more output tokens", "(last token − first token) / (output tokens − 1)", ""},
	E2E:            {"e2e", UnitMicros, "succeeded request", "end − due", ""},
	E2EService:     {"e2e_service", UnitMicros, "succeeded request", "end − dispatched", ""},
	E2EFailed:      {"e2e_failed", UnitMicros, "failed request", "end − due", "Failures stay out of every other latency series but lateness, connect and read_lag."},
	Session:        {"session", UnitMicros, "session", "end of the last request − due of the session", "Sessions that ended well."},
	InputTokens:    {"input_tokens", UnitTokens, "request", "tokens of the prompt", "Where their number is known."},
	OutputTokens:   {"output_tokens", UnitTokens, "request", "tokens of the answer", "From the server's usage block, else the number of content events."},
	TokensPerEvent: {"tokens_per_event", UnitTokensPerEvent, "streamed request", "output tokens / content events × 1000", "Above 1000, events hold several tokens and itl must be read so."},
	DNS:            {"dns", UnitMicros, "lookup of the target's name", "addresses known − lookup begun", "Part of connect. Addresses are kept for 5 s, so most new connections need no lookup."},
	TLS:            {"tls", UnitMicros, "new connection with TLS", "handshake done − handshake begun", "Part of connect."},
	Receive:        {"receive", UnitMicros, "succeeded request", "end − first byte", ""},
	ReadLag:        {"read_lag", UnitMicros, "read of a first byte or of content", "our instant after the read − the kernel's stamp of the last segment it took", "The generator's own delay in taking what had come; large values make a run invalid. HTTP/1.1, HTTP/2 and gRPC on Linux; absent where the system gives no stamps."},
	TTFTWire:       {"ttft_wire", UnitMicros, "streamed request", "the kernel's stamp of the first token − dispatched", "ttft_service without read_lag. Only with capture.wire."},
	ITLWire:        {"itl_wire", UnitMicros, "gap", "the kernel's stamp of content event i − that of content event i−1", "itl without read_lag. Only with capture.wire."},
	RoundTrip:      {"round_trip", UnitMicros, "message answered in a gRPC stream of both directions", "message i of the answer − message i of the request begun to be sent", "For services that answer each message in turn; others say little with it."},
}

// All returns the series in the order of their numbers.
func All() []Series {
	all := make([]Series, 0, NumSeries-1)
	for s := Lateness; s < NumSeries; s++ {
		if definitions[s].Name != "" {
			all = append(all, s)
		}
	}
	return all
}

// SeriesByName returns the series of that name, and whether there is one.
func SeriesByName(name string) (Series, bool) {
	for _, s := range All() {
		if definitions[s].Name == name {
			return s, true
		}
	}
	return 0, false
}

// Definition returns everything that is to be said about s; empty for a number that is no series.
func (s Series) Definition() Definition {
	if s >= NumSeries {
		return Definition{}
	}
	return definitions[s]
}

// Name is the name in objectives, reports and files.
func (s Series) Name() string { return s.Definition().Name }

// String is Name.
func (s Series) String() string { return s.Name() }

// Unit is "us", "tokens" or "tokens_per_1000_events".
func (s Series) Unit() string { return s.Definition().Unit }

// Per says what yields one value of the series.
func (s Series) Per() string { return s.Definition().Per }

// Formula says how a value comes about.
func (s Series) Formula() string { return s.Definition().Formula }

// Notes adds what a reader should know; may be empty.
func (s Series) Notes() string { return s.Definition().Notes }
