package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// flags adds flags to a command and remembers their names, so that each of them has an environment variable too.
type flags struct {
	cmd    *cobra.Command
	prefix string // of the environment variables
	names  []string
	lists  map[string]bool
}

// Beginnings of the environment variables. The simulator has its own, since it runs beside the runs that load it; and
// calibrate, since the address of runs is not meant to be loaded to its limit.
const (
	variablePrefix          = "LOADLINE_"
	simVariablePrefix       = "LOADLINE_SIM_"
	calibrateVariablePrefix = "LOADLINE_CALIBRATE_"
)

// newFlags begins the flags of a command. It is called once a command, after its Use is set. The prefix goes before
// the flag's name in its environment variable.
func (a *app) newFlags(cmd *cobra.Command, prefix string) *flags {
	cmd.Flags().SortFlags = false
	f := &flags{cmd: cmd, prefix: prefix, lists: map[string]bool{}}
	a.flags[cmd.Name()] = f
	return f
}

func (f *flags) text(p *string, name, value, usage string) {
	f.names = append(f.names, name)
	f.cmd.Flags().StringVar(p, name, value, usage)
}

func (f *flags) list(p *[]string, name, usage string) {
	f.names, f.lists[name] = append(f.names, name), true
	f.cmd.Flags().StringArrayVar(p, name, nil, usage)
}

func (f *flags) yes(p *bool, name, usage string) {
	f.names = append(f.names, name)
	f.cmd.Flags().BoolVar(p, name, false, usage)
}

func (f *flags) number(p *int, name string, value int, usage string) {
	f.names = append(f.names, name)
	f.cmd.Flags().IntVar(p, name, value, usage)
}

func (f *flags) uint(p *uint64, name string, value uint64, usage string) {
	f.names = append(f.names, name)
	f.cmd.Flags().Uint64Var(p, name, value, usage)
}

func (f *flags) duration(p *time.Duration, name string, value time.Duration, usage string) {
	f.names = append(f.names, name)
	f.cmd.Flags().DurationVar(p, name, value, usage)
}

// given reports whether a flag was set, on the command line or by the environment.
func (f *flags) given(name string) bool { return f.cmd.Flags().Changed(name) }

// variable is the environment variable of a flag.
func (f *flags) variable(flag string) string {
	return f.prefix + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// fromEnvironment sets the flags that are not on the command line and have a variable that is not empty.
func (a *app) fromEnvironment(cmd *cobra.Command) error {
	f := a.flags[cmd.Name()]
	if f == nil {
		return nil
	}
	var problems []error
	for _, name := range f.names {
		value, ok := a.env(f.variable(name))
		if !ok || value == "" || f.given(name) {
			continue
		}
		values := []string{value}
		if f.lists[name] {
			values = strings.Split(strings.TrimSuffix(value, "\n"), "\n")
		}
		for _, v := range values {
			if err := cmd.Flags().Set(name, v); err != nil {
				problems = append(problems, fmt.Errorf("environment variable %s: %w", f.variable(name), err))
			}
		}
	}
	return errors.Join(problems...)
}

// flagError adds to cobra's finding on a flag the name that was likely meant.
func (a *app) flagError(cmd *cobra.Command, err error) error {
	// Declared where it is used: pflag's error for a flag that does not exist.
	var unknown interface{ GetSpecifiedName() string }
	if errors.As(err, &unknown) {
		if near := nearest(unknown.GetSpecifiedName(), a.names(cmd)); near != "" {
			err = fmt.Errorf("%w; did you mean --%s?", err, near)
		}
	}
	return badInput("%w\nSee %q", err, cmd.CommandPath()+" --help")
}

func (a *app) names(cmd *cobra.Command) []string {
	if f := a.flags[cmd.Name()]; f != nil {
		return f.names
	}
	return nil
}

// nearest is the name with the fewest changed, added or missing letters, up to a third of its length; empty: none is near.
func nearest(name string, names []string) string {
	best, distance := "", 0
	for _, n := range names {
		d := editDistance(name, n)
		if d <= max(1, len(n)/3) && (best == "" || d < distance) {
			best, distance = n, d
		}
	}
	return best
}

// editDistance is that of Levenshtein, in bytes.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
