package report

import (
	"fmt"

	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// maxChanges bounds the changes that the text names; summary.json has all.
const maxChanges = 20

// changes tells what happened to the run while it was played: "epoch 3 at 41.2 s: agent a2 lost, its share goes to a1, a3".
func changes(p *page, s *pb.Summary) {
	listed(p, "change", s.GetChanges(), func(ch *pb.ChangeSummary) string {
		return fmt.Sprintf("epoch %d at %.1f s: %s", ch.GetEpoch(), ch.GetAtSeconds(), ch.GetText())
	})
}

// marks tells of the instants that a program has marked.
func marks(p *page, s *pb.Summary) {
	listed(p, "mark", s.GetMarks(), func(m *pb.MarkSummary) string {
		return fmt.Sprintf("%.1f s: %s", m.GetAtSeconds(), m.GetText())
	})
}

// listed shows the first things of one kind, a line each, and how many there are besides.
func listed[T any](p *page, kind string, all []T, line func(T) string) {
	title := kind + "s"
	for _, one := range all[:min(len(all), maxChanges)] {
		p.item(title, plain, Clean(line(one)))
		title = ""
	}
	if more := len(all) - maxChanges; more > 0 {
		p.item("", faint, plural(more, "further "+kind)+" in summary.json")
	}
}
