package report

import (
	"fmt"

	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// maxChanges bounds the changes that the text names; summary.json has all.
const maxChanges = 20

// changes tells what happened to the run while it was played: "epoch 3 at 41.2 s: agent a2 lost, its share goes to a1, a3".
func changes(p *page, s *pb.Summary) {
	all := s.GetChanges()
	for i, ch := range all[:min(len(all), maxChanges)] {
		title := ""
		if i == 0 {
			title = "changes"
		}
		p.item(title, plain, Clean(fmt.Sprintf("epoch %d at %.1f s: %s", ch.GetEpoch(), ch.GetAtSeconds(), ch.GetText())))
	}
	if more := len(all) - maxChanges; more > 0 {
		p.item("", faint, plural(more, "further change")+" in summary.json")
	}
}

// marks tells of the instants that a program has marked.
func marks(p *page, s *pb.Summary) {
	all := s.GetMarks()
	for i, m := range all[:min(len(all), maxChanges)] {
		title := ""
		if i == 0 {
			title = "marks"
		}
		p.item(title, plain, Clean(fmt.Sprintf("%.1f s: %s", m.GetAtSeconds(), m.GetText())))
	}
	if more := len(all) - maxChanges; more > 0 {
		p.item("", faint, plural(more, "further mark")+" in summary.json")
	}
}
