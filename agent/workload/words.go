package workload

import (
	"strings"

	"github.com/loadline/loadline/internal/schedule"
)

// wordList holds the words of synthetic prompts. With a space before it each is one token in the
// common vocabularies, as far as short everyday words are. So a prompt of n words is about n
// tokens: an approximation, and on purpose no more than that. The report uses the server's count.
const wordList = `able about above across action after again age ago air all almost along also always among
animal answer any area arm army around art ask away baby back bad ball bank base beach bear beat because bed
been before began behind below best better big bird black blood blue board boat body book both box boy bread
break bring brother brown build bus but buy call came camp can car care carry case cat catch cause center
chair chance change check child church circle city class clean clear clock close clothes cloud coast cold
color come cook cool copy corn corner cost could count country course cover cross cut dance dark day desk
deal dear deep did door down draw dream dress drink drive drop dry each early earth east easy eat edge egg
eight else end enough even ever every eye face fact fair fall family far farm fast father fear feed feel feet
fell few field fight fill final find fine finger fire first fish fit five floor flow fly food foot force
forest form forward four free fresh friend from front fruit full game garden gave get girl give glad glass
go gold gone good got great green ground group grow guess had hair half hand happy hard has hat have head
hear heart heat heavy held help her here high hill him his hit hold hole home hope horse hot hour house how
hundred ice idea iron island job join jump just keep kept key kid kind king kitchen knew know lake`

// numWords is the number of words: a power of two, so that eight bits choose one.
const numWords = 256

// wordTable holds the words, each with the space before it.
type wordTable [numWords]string

func newWordTable() *wordTable {
	var t wordTable
	for i, word := range strings.Fields(wordList)[:numWords] {
		t[i] = " " + word
	}
	return &t
}

// append appends n words, each chosen by eight bits of the stream from draw j on, with a space
// before each but the first. All of them are plain letters, so that the text is also the inside of a JSON string.
func (t *wordTable) append(b []byte, s schedule.Stream, j uint64, n int) []byte {
	start := len(b)
	for ; n > 0; j++ {
		bits := s.Uint64(j)
		for range min(n, 8) {
			b = append(b, t[bits&(numWords-1)]...)
			bits >>= 8
		}
		n -= min(n, 8)
	}
	if len(b) > start {
		b = append(b[:start], b[start+1:]...)
	}
	return b
}
