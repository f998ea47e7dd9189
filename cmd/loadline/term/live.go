// Package term is the live view of a run: what WatchRun sends goes in, text comes out. State holds what is known and
// draws itself without clock or terminal; Live shows it on a terminal and reports the keys that ask for a stop.
package term

import (
	"context"
	"fmt"
	"io"
	"time"

	tea "charm.land/bubbletea/v2"

	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// Terminal is where a live view is drawn.
type Terminal struct {
	// Input gives the keys; nil: there are none.
	Input io.Reader
	// Output is drawn on.
	Output io.Writer
	// Environ holds the variables that say what the terminal can do, as NAME=value.
	Environ []string
	// Color allows colours.
	Color bool
}

// stopsWaiting bounds the presses that are remembered; the third one ends the process anyway.
const stopsWaiting = 4

// closeWait bounds the time that Close waits for the terminal to be given back.
const closeWait = 2 * time.Second

// Live is a view on a terminal. Its methods may be called by one goroutine.
type Live struct {
	program *tea.Program
	stops   chan struct{}
	done    chan error
}

// StartLive takes the terminal over and draws until Close. A goroutine runs until then.
func StartLive(ctx context.Context, t Terminal, h Header) *Live {
	l := &Live{stops: make(chan struct{}, stopsWaiting), done: make(chan error, 1)}
	m := model{state: NewState(h), stops: l.stops, color: t.Color, theme: NewTheme(t.Color, true)}
	const framesPerSecond = 10
	l.program = tea.NewProgram(m, tea.WithContext(ctx), tea.WithInput(t.Input), tea.WithOutput(t.Output),
		tea.WithEnvironment(t.Environ), tea.WithoutSignalHandler(), tea.WithFPS(framesPerSecond))
	go func() {
		_, err := l.program.Run()
		l.done <- err
	}()
	return l
}

// Show takes in one message of WatchRun.
func (l *Live) Show(m *pb.WatchRunResponse) { l.program.Send(watched{m}) }

// Stopping says how often a stop was asked for.
func (l *Live) Stopping(times int) { l.program.Send(stopping(times)) }

// Stops yields a value for each press of q or ctrl-c.
func (l *Live) Stops() <-chan struct{} { return l.stops }

// Close gives the terminal back and waits for that.
func (l *Live) Close() error {
	l.program.Quit()
	select {
	case err := <-l.done:
		return err
	case <-time.After(closeWait):
		l.program.Kill()
		return fmt.Errorf("the live view did not end within %s", closeWait)
	}
}

// The messages of the program that are ours.
type (
	watched  struct{ response *pb.WatchRunResponse }
	stopping int
)

// model ties a State to the terminal. Its state is a pointer: bubbletea calls Update and View on one goroutine.
type model struct {
	state         *State
	stops         chan<- struct{}
	color         bool
	theme         Theme
	width, height int
}

// Init asks whether the background is dark.
func (m model) Init() tea.Cmd { return tea.RequestBackgroundColor }

// Update takes in what happened.
func (m model) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case watched:
		m.state.Apply(msg.response)
	case stopping:
		m.state.Stopping(int(msg))
	case tea.WindowSizeMsg:
		m.width, m.height = msg.Width, msg.Height
	case tea.BackgroundColorMsg:
		m.theme = NewTheme(m.color, msg.IsDark())
	case tea.KeyPressMsg:
		if key := msg.String(); key == "q" || key == "ctrl+c" {
			select {
			case m.stops <- struct{}{}:
			default: // enough presses are on their way
			}
		}
	}
	return m, nil
}

// View draws on the alternate screen, so that what stood on the terminal is there again afterwards.
func (m model) View() tea.View {
	v := tea.NewView("")
	if m.width > 0 {
		v = tea.NewView(m.state.View(m.width, m.height, m.theme))
	}
	v.AltScreen = true
	return v
}
