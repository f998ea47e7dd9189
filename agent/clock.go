package agent

// now is the agent's time in nanoseconds: it never runs backwards. It is that of the run's clock, which goes on while the machine
// sleeps.
func (a *Agent) now() int64 { return a.time.Now() }

// leaseNow is the agent's time with every sleep of the machine counted: what leases are held against.
func (a *Agent) leaseNow() int64 { return a.time.Exact() }
