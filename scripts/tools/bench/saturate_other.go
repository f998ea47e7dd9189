//go:build !linux

package main

import (
	"context"
	"errors"
	"io"
	"os/exec"
)

func runSaturator(context.Context, io.Writer, []string) error {
	return errors.New("the saturation server needs Linux")
}

func withParent(*exec.Cmd) {}
