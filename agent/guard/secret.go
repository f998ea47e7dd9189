package guard

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"
	"strings"

	"github.com/loadline/loadline/agent/workload"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// MaxSecret bounds one secret, in bytes.
const MaxSecret = 64 << 10

// ReadFunc reads a regular file of at most limit bytes and gives its mode.
type ReadFunc func(path string, limit int64) ([]byte, fs.FileMode, error)

// Secrets looks secrets up in the environment and in files and tells the redactor each of them
// before it is handed out. A trailing line end of a file is cut off. Refused are values that are empty,
// longer than 64 KiB or hold control characters, and files that everybody on the machine may read. Errors
// name the variable or the file and what to do, and never hold anything of the value.
func Secrets(env func(name string) (string, bool), read ReadFunc, r *Redactor) workload.Secrets {
	return func(ref *pb.SecretRef) (string, error) {
		var name, value string
		var err error
		switch ref.WhichSource() {
		case pb.SecretRef_Env_case:
			name = "environment variable " + ref.GetEnv()
			value, err = fromEnvironment(env, ref.GetEnv())
		case pb.SecretRef_File_case:
			name = "file " + ref.GetFile()
			value, err = fromFile(read, ref.GetFile())
		default:
			return "", errors.New("a secret needs env or file")
		}
		if err == nil {
			err = checkSecret(value)
		}
		if err == nil {
			err = r.Add(value)
		}
		if err != nil {
			return "", fmt.Errorf("%s: %w", name, err)
		}
		return value, nil
	}
}

func fromEnvironment(env func(string) (string, bool), name string) (string, error) {
	value, ok := env(name)
	if !ok {
		return "", errors.New("is not set; set it where the agent runs")
	}
	return value, nil
}

func fromFile(read ReadFunc, path string) (string, error) {
	// One line end may follow the longest secret.
	data, mode, err := read(path, MaxSecret+int64(len("\r\n")))
	if err != nil {
		return "", err
	}
	if mode.Perm()&0o004 != 0 && runtime.GOOS != "windows" { // which has no such bits
		return "", fmt.Errorf("everybody may read it (mode %04o); run: chmod o-rwx %s", mode.Perm(), path)
	}
	return strings.TrimSuffix(strings.TrimSuffix(string(data), "\n"), "\r"), nil
}

func checkSecret(value string) error {
	switch {
	case value == "":
		return errors.New("is empty")
	case len(value) > MaxSecret:
		return fmt.Errorf("is longer than %d bytes", MaxSecret)
	case strings.ContainsFunc(value, func(c rune) bool { return c < ' ' || c == 0x7f }):
		return errors.New("holds a control character, such as a line end within it, and cannot be sent")
	}
	return nil
}

// ReadFile is a ReadFunc that reads the files of the machine.
func ReadFile(path string, limit int64) ([]byte, fs.FileMode, error) {
	info, err := os.Stat(path) // first, for opening a pipe would wait
	if err != nil {
		return nil, 0, errors.Unwrap(err)
	}
	if !info.Mode().IsRegular() {
		return nil, 0, errors.New("is not a regular file")
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, 0, errors.Unwrap(err)
	}
	defer func() { _ = file.Close() }() // nothing was written
	data, err := io.ReadAll(io.LimitReader(file, limit+1))
	if err != nil {
		return nil, 0, errors.Unwrap(err)
	}
	if int64(len(data)) > limit {
		return nil, 0, fmt.Errorf("is longer than %d bytes", limit)
	}
	return data, info.Mode(), nil
}
