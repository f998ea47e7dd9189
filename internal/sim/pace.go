package sim

import (
	"math/rand/v2"
	"sync/atomic"
)

// pace says when tokens are ready.
type pace interface {
	// wait returns when at least n tokens of the answer are ready.
	wait(n int) error
	// cached is the number of prompt tokens that came from the prefix cache, once a token is ready.
	cached() int
	// close ends the interest in further tokens.
	close()
}

// fixedPace draws the times of one answer.
type fixedPace struct {
	law   FixedLaw
	rng   *rand.Rand
	sleep *sleeper
	// due is the working time of the last token drawn; at first that of the arrival.
	due  int64
	made int
}

func (p *fixedPace) wait(n int) error {
	for ; p.made < n; p.made++ {
		if p.made == 0 {
			p.due += p.law.TTFT.draw(p.rng)
		} else {
			p.due += p.law.ITL.draw(p.rng)
		}
	}
	_, err := p.sleep.until(p.sleep.clock.calendar.wall(p.due))
	return err
}

func (p *fixedPace) cached() int { return 0 }
func (p *fixedPace) close()      {}

// ticket is where a handler waits for the tokens of its sequence.
type ticket struct {
	seq     sequence
	batcher *batcher
	sleep   *sleeper
	// ready is the number of tokens made; refused says that the queue was full.
	ready   atomic.Int64
	refused atomic.Bool
	// wake has room for one, so that the engine never waits for a handler.
	wake chan struct{}
}

func (t *ticket) wait(n int) error {
	for t.ready.Load() < int64(n) {
		select {
		case <-t.wake:
		case <-t.sleep.gone:
			return t.sleep.ctx.Err()
		case <-t.sleep.stop:
			return errStopped
		}
		if t.refused.Load() {
			return errQueueFull
		}
	}
	return nil
}

func (t *ticket) cached() int { return t.seq.cached }

func (t *ticket) close() {
	if t.ready.Load() < int64(t.seq.output) && !t.refused.Load() {
		t.batcher.send(command{ticket: t, cancel: true})
	}
}

func (t *ticket) signal() {
	select {
	case t.wake <- struct{}{}:
	default:
	}
}
