// Package torture is for tests: a whole cluster of the real state machines of both wings, on simulated time, over a
// network that fails by seed, against a target that counts.
package torture
