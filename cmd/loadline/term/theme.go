package term

import "charm.land/lipgloss/v2"

// Theme is how the parts of the view look. The zero value uses no colour and no attribute at all.
type Theme struct {
	title, label, value, good, bad, warn, chart, bar, rest lipgloss.Style
}

// NewTheme returns the theme for a dark or light background, or the plain one.
func NewTheme(color, dark bool) Theme {
	if !color {
		return Theme{}
	}
	pick := lipgloss.LightDark(dark)
	paint := func(light, dark string) lipgloss.Style {
		return lipgloss.NewStyle().Foreground(pick(lipgloss.Color(light), lipgloss.Color(dark)))
	}
	return Theme{
		title: lipgloss.NewStyle().Bold(true),
		label: paint("#5f6b7a", "#8b98a9"),
		value: lipgloss.NewStyle(),
		good:  paint("#1a7f37", "#56d364"),
		bad:   paint("#cf222e", "#ff7b72").Bold(true),
		warn:  paint("#9a6700", "#e3b341"),
		chart: paint("#0969da", "#79c0ff"),
		bar:   paint("#0969da", "#388bfd"),
		rest:  paint("#d0d7de", "#30363d"),
	}
}
