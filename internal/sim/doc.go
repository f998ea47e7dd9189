// Package sim simulates a model endpoint whose truth is known. It speaks the OpenAI chat and
// completions protocols (streamed or not) and a plain echo, times its tokens by a law, injects
// faults on demand, and counts what it really did, so that what a load generator reports can be
// held against it.
//
// The way of one request:
//
//  1. A handler numbers it, draws its fault (Fault) and reads its body. The request began when it reached the machine: where the
//     kernel stamps what it receives, it does not matter when the handler was let run.
//  2. A pace says when each token is ready: the fixed law draws the times (Distribution), the
//     batching law gets them from the engine, a pure state machine that one goroutine drives.
//  3. The stream renders the tokens as events and writes them; every write waits while the server
//     is frozen (calendar).
//  4. The ledger notes the instant of every write. Truth reads it.
//
// Engine, prefix cache, calendar, capacity, faults and distributions do no I/O and read no clock.
package sim
