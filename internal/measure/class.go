package measure

import "strconv"

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

// HTTPClass is the class of an unexpected HTTP status.
func HTTPClass(status int) string { return "http_" + strconv.Itoa(status) }

// CheckClass is the class of a failed check.
func CheckClass(name string) string { return "check_" + name }
