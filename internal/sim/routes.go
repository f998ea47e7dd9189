package sim

import (
	"encoding/json"
	"io"
	"net/http"
	"strconv"
)

func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/chat/completions", s.serve(routeChat, (*exchange).chat))
	mux.HandleFunc("POST /v1/completions", s.serve(routeCompletions, (*exchange).completions))
	mux.HandleFunc("/echo", s.serve(routeEcho, (*exchange).echo))
	mux.HandleFunc("GET /v1/models", s.models)
	mux.HandleFunc("GET /health", s.health)
	mux.HandleFunc("GET /truth", s.getTruth)
	mux.HandleFunc("GET /truth/arrivals", s.getArrivals)
	mux.HandleFunc("GET /truth/requests", s.getRequests)
	mux.HandleFunc("POST /truth/reset", s.postReset)
	mux.HandleFunc("/", notFound)
	return mux
}

// echo answers with the body of the request after a delay by Config.Echo.
func (x *exchange) echo() error {
	if law := x.server.cfg.Echo; !law.zero() {
		calendar := &x.sleep.clock.calendar
		due := calendar.wall(calendar.working(x.begun) + law.draw(x.rng()))
		if _, err := x.sleep.until(due); err != nil {
			return err
		}
	}
	kind := x.r.Header.Get("Content-Type")
	if kind == "" {
		kind = "application/octet-stream"
	}
	return x.document(kind, x.body)
}

// models lists the one model.
func (s *Server) models(w http.ResponseWriter, r *http.Request) {
	if !s.thaw(r) {
		return
	}
	if !s.authorized(r) {
		reply(w, http.StatusUnauthorized, errorText("invalid_request_error", "Incorrect API key provided.", http.StatusUnauthorized))
		return
	}
	type model struct {
		ID      string `json:"id"`
		Object  string `json:"object"`
		Created int64  `json:"created"`
		OwnedBy string `json:"owned_by"`
	}
	list := struct {
		Object string  `json:"object"`
		Data   []model `json:"data"`
	}{"list", []model{{s.modelName(""), "model", s.clock.base.Unix(), "loadline"}}}
	reply(w, http.StatusOK, encode(list))
}

func (s *Server) health(w http.ResponseWriter, r *http.Request) {
	if s.thaw(r) {
		reply(w, http.StatusOK, []byte(`{"status":"ok"}`))
	}
}

// thaw waits for the end of a freeze; false: the request ended first.
func (s *Server) thaw(r *http.Request) bool {
	sleep := sleeper{clock: s.clock, ctx: r.Context(), gone: r.Context().Done(), stop: s.stop}
	defer sleep.close()
	_, err := sleep.thaw()
	return err == nil
}

// The routes of the truth answer in a freeze too: they are the instrument, not the server.

func (s *Server) getTruth(w http.ResponseWriter, _ *http.Request) {
	reply(w, http.StatusOK, encode(s.Truth()))
}

// getArrivals writes one JSON object a line.
func (s *Server) getArrivals(w http.ResponseWriter, r *http.Request) {
	writeLines(w, s.Arrivals(r.URL.Query().Get("run")))
}

// getRequests writes one JSON object a line.
func (s *Server) getRequests(w http.ResponseWriter, r *http.Request) {
	if s.cfg.Requests == 0 {
		reply(w, http.StatusNotFound, errorText("invalid_request_error", "No requests are kept one by one; start with loadline sim --requests N.", http.StatusNotFound))
		return
	}
	writeLines(w, s.Requests(r.URL.Query().Get("run")))
}

func writeLines[T any](w http.ResponseWriter, list []T) {
	w.Header().Set("Content-Type", "application/x-ndjson")
	enc := json.NewEncoder(w)
	for i := range list {
		if enc.Encode(&list[i]) != nil {
			return // the client went away
		}
	}
}

func (s *Server) postReset(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, http.MaxBytesReader(w, r.Body, MaxHeader)) // a body says nothing here
	s.ResetTruth()
	w.WriteHeader(http.StatusNoContent)
}

func notFound(w http.ResponseWriter, r *http.Request) {
	reply(w, http.StatusNotFound, errorText("invalid_request_error", "There is no "+r.Method+" "+r.URL.Path+" here.", http.StatusNotFound))
}

// reply answers outside of the measured routes.
func reply(w http.ResponseWriter, status int, body []byte) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body) // the client went away
}

// modelName is the model that an answer names.
func (s *Server) modelName(asked string) string {
	switch {
	case s.cfg.Model != "":
		return s.cfg.Model
	case asked != "":
		return asked
	default:
		return "sim"
	}
}
