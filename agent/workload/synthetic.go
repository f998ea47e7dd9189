package workload

import (
	"github.com/loadline/loadline/internal/schedule"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// synthetic makes prompts of drawn lengths out of words. A prompt begins with the words of its
// group, which it shares with others, and goes on with words drawn from the arrival, so that a server's
// prefix cache finds nothing but the shared beginning.
type synthetic struct {
	words  *wordTable
	input  law
	output *law // nil: no limit is asked for
	// base is the workload's stream: a group's words follow from it and the group's number.
	base   schedule.Stream
	prefix uint64 // length of the shared beginning in tokens
	groups uint64
}

func (c *compiler) synthetic(where string, s *pb.Synthetic, base schedule.Stream) *synthetic {
	input, err := newLaw(s.GetInputTokens())
	if err != nil {
		c.problems.add("%s.input_tokens: %w", where, err)
	}
	return &synthetic{
		words: c.words, input: input, output: c.outputLaw(where, s.GetOutputTokens()), base: base,
		prefix: uint64(s.GetSharedPrefix().GetTokens()), groups: uint64(max(s.GetSharedPrefix().GetGroups(), 1)),
	}
}

// outputLaw compiles the law of the answer's length; nil: none is given.
func (c *compiler) outputLaw(where string, d *pb.Distribution) *law {
	if d == nil {
		return nil
	}
	l, err := newLaw(d)
	if err != nil {
		c.problems.add("%s.output_tokens: %w", where, err)
	}
	return &l
}

// appendPrompt appends the prompt: as the text of one message, or as a string.
func (s *synthetic) appendPrompt(b []byte, r *Request, chat bool) ([]byte, uint64) {
	if chat {
		b = append(b, openMessage...)
	}
	b = append(b, '"')
	b = s.appendWords(b, r.draws)
	b = append(b, '"')
	if chat {
		b = append(b, closeMessage...)
	}
	if s.output == nil {
		return b, 0
	}
	return b, s.output.draw(r.draws.Float64(drawOutput))
}

// appendWords appends the prompt's words. A prompt shorter than the shared beginning is a part of it.
func (s *synthetic) appendWords(b []byte, draws schedule.Stream) []byte {
	n := s.input.draw(draws.Float64(drawInput))
	shared := min(s.prefix, n)
	if shared > 0 {
		group := below(draws.Uint64(drawGroup), s.groups)
		b = s.words.append(b, schedule.NewStream(uint64(s.base), "prefix", group), 0, int(shared))
		if n > shared {
			b = append(b, ' ')
		}
	}
	return s.words.append(b, draws, drawWords, int(n-shared))
}
