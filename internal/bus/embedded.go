package bus

import (
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// startTimeout bounds the start of the embedded server.
const startTimeout = 10 * time.Second

// Embedded is a NATS server within this process. It has no listener: only Option reaches it.
type Embedded struct {
	server *server.Server
}

// StartEmbedded starts the server. Stop ends it.
func StartEmbedded() (*Embedded, error) {
	s, err := server.NewServer(&server.Options{
		ServerName: "loadline-embedded",
		DontListen: true,
		NoSigs:     true, // signals are the command's business
		NoLog:      true,
		MaxPayload: MaxMessage + 64<<10,
	})
	if err != nil {
		return nil, fmt.Errorf("create the embedded bus: %w", err)
	}
	s.Start()
	if !s.ReadyForConnections(startTimeout) {
		s.Shutdown()
		return nil, errors.New("the embedded bus did not become ready")
	}
	return &Embedded{server: s}, nil
}

// Option makes Connect reach this server within the process.
func (e *Embedded) Option() nats.Option { return nats.InProcessServer(e.server) }

// Stop ends the server and waits until it is gone.
func (e *Embedded) Stop() {
	e.server.Shutdown()
	e.server.WaitForShutdown()
}
