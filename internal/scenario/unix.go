package scenario

import "strings"

// unixScheme begins the address of a target that listens on a Unix socket:
//
//	unix:///run/model.sock
//	unix:///run/model.sock:/v1
const unixScheme = "unix://"

// MaxSocketPath bounds the path of a Unix socket, in bytes: Linux takes 107, others somewhat fewer.
const MaxSocketPath = 107

// UnixURL takes the address of a Unix socket apart: the socket's path, and the path to which those of requests
// are appended, which is empty or begins with a slash. It reports false for any other address; what it takes
// apart need not be valid.
func UnixURL(url string) (socket, base string, ok bool) {
	rest, ok := strings.CutPrefix(url, unixScheme)
	if !ok {
		return "", "", false
	}
	if i := strings.Index(rest, ":/"); i >= 0 {
		return rest[:i], rest[i+1:], true
	}
	return rest, "", true
}

// UnixFault tells what is wrong with the address of a Unix socket, and how to mend it; empty: nothing.
func UnixFault(url string) (fault, hint string) {
	const form = "write unix:///run/model.sock, or unix:///run/model.sock:/v1 with a path to which those of requests are appended"
	socket, base, _ := UnixURL(url)
	switch {
	case !strings.HasPrefix(socket, "/"):
		return "names no absolute path of a socket", form
	case len(socket) > MaxSocketPath:
		return "names a socket whose path is longer than the 107 bytes that systems take", "use a shorter path, for example by a link"
	case strings.HasSuffix(socket, "/"), strings.HasSuffix(socket, ":"):
		return "names a folder or ends with a colon", form
	case strings.ContainsAny(base, "?#"):
		return "must end with its path: the paths of requests are appended", "put a query into http.path"
	case strings.ContainsFunc(url, func(r rune) bool { return r <= ' ' || r == 0x7f }):
		return "holds a space or a control character", form
	}
	return "", ""
}
