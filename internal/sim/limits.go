package sim

import "time"

// Limits on what comes from outside and on what is kept.
const (
	// MaxBody bounds the body of a request, in bytes.
	MaxBody = 64 << 20
	// MaxHeader bounds the header of a request, in bytes.
	MaxHeader = 64 << 10
	// MaxConcurrent bounds the requests in progress; one more is answered 503.
	MaxConcurrent = 100_000
	// MaxTokens bounds the tokens of one answer; a request for more is answered 400.
	MaxTokens = 1_000_000
	// MaxFaults bounds the faults of a configuration.
	MaxFaults = 64
	// MaxEndless bounds the bytes of an endless line.
	MaxEndless = 1 << 30
	// MaxDelay bounds every duration of a configuration.
	MaxDelay = 24 * time.Hour
	// MaxKV bounds the tokens of a simulated cache.
	MaxKV = 100_000_000
	// MaxBatch bounds the sequences of a simulated batch.
	MaxBatch = 100_000
	// MaxArrivals bounds the arrivals remembered over all runs; later ones are counted as dropped.
	MaxArrivals = 4 << 20
	// MaxRequests bounds the requests whose instants are kept one by one.
	MaxRequests = 1 << 20
	// MaxRuns bounds the runs told apart; arrivals of later ones are counted as dropped.
	MaxRuns = 1_000
	// MaxName bounds model, key, run and phase names, in bytes.
	MaxName = 256

	// arrivalSlot and arrivalSlots give the span of the arrival counts: ten minutes.
	arrivalSlot  = 100 * time.Millisecond
	arrivalSlots = 6_000

	// headerTimeout, bodyTimeout, writeTimeout and idleTimeout bound what a peer may make the
	// server wait for.
	headerTimeout = 30 * time.Second
	bodyTimeout   = 60 * time.Second
	writeTimeout  = 60 * time.Second
	idleTimeout   = 2 * time.Minute
	// shutdownGrace bounds the wait for handlers, which end by themselves once told to.
	shutdownGrace = 500 * time.Millisecond

	// defaultEndless is the length of an endless line that names none.
	defaultEndless = 64 << 20
	// maxStreams is the number of streams a client may hold on one HTTP/2 connection.
	maxStreams = 10_000
)
