package main

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/loadline/loadline/cmd/loadline/trust"
)

// Bounds of what certs makes.
const (
	defaultDays = 365
	maxDays     = 3650
	maxHosts    = 64
	// soon is how long before its end a certificate is warned of.
	soon = 14 * 24 * time.Hour
)

// certsOptions are the flags of certs.
type certsOptions struct {
	dir   string
	hosts []string
	days  int
}

func (a *app) certsCommand() *cobra.Command {
	o := &certsOptions{}
	cmd := &cobra.Command{
		Use:   "certs init|agent NAME|client NAME",
		Short: "Make the credentials of a cluster",
		Long: `Make the credentials of a cluster, in folders that --tls-dir takes.

init makes a private authority and the coordinator's credentials; agent NAME those of the agent of that name; client NAME
those of somebody who starts and stops runs. A folder goes to the machine that it is for, over a way that nobody else reads.
ca.key stays where it was made: whoever has it can make credentials. What is there already is never replaced.`,
		Example: `  loadline certs init --host coordinator.example --host 10.0.0.5
  loadline certs agent a1
  loadline certs client alice --days 30`,
		RunE: action(func(_ context.Context, args []string) error { return a.makeCerts(o, args, time.Now()) }),
	}
	f := a.newFlags(cmd, variablePrefix)
	f.text(&o.dir, "dir", "certs", "folder `DIR` of the authority and of what it makes")
	f.list(&o.hosts, "host", "init: name or address `HOST` under which the coordinator is reached, besides localhost, 127.0.0.1 and ::1; repeatable")
	f.number(&o.days, "days", defaultDays, "number `N` of days that the credentials are valid")
	return cmd
}

// makeCerts is the command certs.
func (a *app) makeCerts(o *certsOptions, args []string, now time.Time) error {
	usage := badInput("say what to make: loadline certs init, loadline certs agent NAME or loadline certs client NAME")
	if len(args) == 0 {
		return usage
	}
	what, rest := args[0], args[1:]
	switch {
	case o.days < 1 || o.days > maxDays:
		return badInput("--days %d: between 1 and %d", o.days, maxDays)
	case len(o.hosts) > maxHosts:
		return badInput("--host: at most %d", maxHosts)
	case what != "init" && len(o.hosts) > 0:
		return badInput("--host is for init: only the coordinator is reached by others")
	case what == "init" && len(rest) == 0:
		return a.initCerts(o, now)
	case (what == "agent" || what == "client") && len(rest) == 1:
		authority, err := trust.OpenAuthority(o.dir, now)
		if err != nil {
			return badInput("%w", err)
		}
		return a.makeOne(authority, o, trust.Identity{Role: trust.Role(what), Name: rest[0]}, now)
	default:
		return usage
	}
}

func (a *app) initCerts(o *certsOptions, now time.Time) error {
	authority, err := trust.NewAuthority(o.dir, now)
	if err != nil {
		return badInput("%w", err)
	}
	fmt.Fprintf(a.stdout, "authority in %s; keep %s to yourself\n", o.dir, filepath.Join(o.dir, "ca.key"))
	return a.makeOne(authority, o, trust.Identity{Role: trust.Coordinator, Name: string(trust.Coordinator)}, now)
}

func (a *app) makeOne(authority *trust.Authority, o *certsOptions, id trust.Identity, now time.Time) error {
	folder, err := authority.Make(trust.Order{
		Identity: id, Hosts: slices.Concat([]string{"localhost", "127.0.0.1", "::1"}, o.hosts), Valid: time.Duration(o.days) * 24 * time.Hour,
	}, now)
	if err != nil {
		return badInput("%w", err)
	}
	option := "--tls-dir " + folder
	switch id.Role {
	case trust.Coordinator:
		fmt.Fprintf(a.stdout, "coordinator:  loadline coordinator %s\n", option)
	case trust.Agent:
		fmt.Fprintf(a.stdout, "agent %s:  loadline agent %s --coordinator HOST:PORT\n", id.Name, option)
	default:
		fmt.Fprintf(a.stdout, "client %s:  loadline run FILE %s --coordinator HOST:PORT\n", id.Name, option)
	}
	return nil
}

// credentialsOf reads the credentials of a process in its role; nil: there are none.
func credentialsOf(folder string, role trust.Role) (*trust.Credentials, error) {
	if folder == "" {
		return nil, nil
	}
	c, err := trust.Read(folder, role, time.Now())
	if err != nil {
		return nil, fmt.Errorf("--tls-dir: %w", err)
	}
	return c, nil
}

// warnOfEnd logs that credentials are about to end.
func warnOfEnd(log *slog.Logger, c *trust.Credentials, now time.Time) {
	if c != nil && c.Ends.Sub(now) < soon {
		log.Warn("the credentials end soon; make new ones in time with: loadline certs", "end", c.Ends)
	}
}
