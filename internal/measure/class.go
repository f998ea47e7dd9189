package measure

import (
	"strconv"
	"strings"
)

// Classes of failure, as metrics.md lists them. Statuses, codes and checks make their own
// through HTTPClass, GRPCClass and CheckClass.
const (
	ClassDNS               = "dns"
	ClassConnect           = "connect"
	ClassConnectTimeout    = "connect_timeout"
	ClassTLS               = "tls"
	ClassSend              = "send"
	ClassReset             = "reset"
	ClassFirstTokenTimeout = "first_token_timeout"
	ClassStallTimeout      = "stall_timeout"
	ClassTotalTimeout      = "total_timeout"
	ClassMalformed         = "malformed"
	ClassTruncated         = "truncated"
	ClassEmpty             = "empty"
	ClassOversized         = "oversized"
	ClassScript            = "script"
	ClassRefused           = "refused"
	// ClassCanceled is not a failure: the scenario or a person ended the request.
	ClassCanceled = "canceled"
)

// Beginnings of the classes that carry a number or a name.
const (
	httpPrefix  = "http_"
	grpcPrefix  = "grpc_"
	checkPrefix = "check_"
)

// HTTPClass is the class of an unexpected HTTP status.
func HTTPClass(status int) string { return httpPrefix + strconv.Itoa(status) }

// GRPCClass is the class of a gRPC status code other than OK: its name in lower case, as
// grpc_unavailable, or its number where gRPC has no such code.
func GRPCClass(code int) string {
	names := [...]string{
		"ok", "cancelled", "unknown", "invalid_argument", "deadline_exceeded", "not_found", "already_exists",
		"permission_denied", "resource_exhausted", "failed_precondition", "aborted", "out_of_range", "unimplemented",
		"internal", "unavailable", "data_loss", "unauthenticated",
	}
	if code < 0 || code >= len(names) {
		return grpcPrefix + strconv.Itoa(code)
	}
	return grpcPrefix + names[code]
}

// CheckClass is the class of a failed check.
func CheckClass(name string) string { return checkPrefix + name }

// Class is a class of failure and what it means.
type Class struct {
	// Name as it stands in reports and files; what stands in <> varies.
	Name string `json:"name"`
	// Meaning in plain words.
	Meaning string `json:"meaning"`
}

// Classes returns every class of failure, in the order of metrics.md.
func Classes() []Class {
	return []Class{
		{ClassDNS, "the target's name did not resolve"},
		{ClassConnect, "no connection: refused, unreachable"},
		{ClassConnectTimeout, "no connection ready within timeouts.connect"},
		{ClassTLS, "the TLS handshake or the certificate failed"},
		{ClassSend, "the request could not be written"},
		{ClassReset, "the connection broke while the answer was awaited or read"},
		{ClassFirstTokenTimeout, "no content within timeouts.first_token"},
		{ClassStallTimeout, "the answer went silent for timeouts.stall"},
		{ClassTotalTimeout, "not complete within timeouts.total"},
		{httpPrefix + "<status>", "an HTTP status that does not count as success"},
		{grpcPrefix + "<code>", "a gRPC status other than OK"},
		{ClassMalformed, "the answer breaks its protocol, its event stream or its JSON"},
		{ClassTruncated, "the stream ended without its terminal event or finish reason"},
		{ClassEmpty, "success without content"},
		{ClassOversized, "the answer met a limit on its size"},
		{checkPrefix + "<name>", "the answer failed that check"},
		{ClassScript, "the script of the session failed"},
		{ClassRefused, "the agent's guard forbids the target, or a ceiling of its owner is met"},
		{ClassCanceled, "ended by the scenario or a person, as planned; not a failure"},
	}
}

// Meaning explains a class as it stands in an outcome, such as "http_429"; empty if there is no
// such class.
func Meaning(class string) string {
	for _, c := range Classes() {
		prefix, _, varies := strings.Cut(c.Name, "<")
		if class == c.Name || varies && len(class) > len(prefix) && strings.HasPrefix(class, prefix) {
			return c.Meaning
		}
	}
	return ""
}
