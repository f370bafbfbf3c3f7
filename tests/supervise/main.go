// supervise LOGFILE COMMAND [ARG ...]
//
// Runs the command with its output appended to the log file, prints its process id, and kills it when standard input
// closes. So nothing outlives a test that is killed: whatever happens to the parent, the pipe closes.
//
// A module of its own, without dependencies: one of these stands beside every process of the test bed, and as a part of
// the control plane's binary each would take 88 MB and a tenth of a second.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
)

func main() {
	args := os.Args[1:]
	if len(args) < 2 {
		fail("usage: supervise LOGFILE COMMAND [ARG ...]")
	}
	log, err := os.OpenFile(args[0], os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		fail(err)
	}
	command := exec.Command(args[1], args[2:]...)
	command.Stdout, command.Stderr = log, log
	if err := command.Start(); err != nil {
		fail(err)
	}
	fmt.Println(command.Process.Pid)

	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		_ = command.Process.Kill()
	}()

	err = command.Wait()
	var exit *exec.ExitError
	switch {
	case err == nil:
		os.Exit(0)
	case errors.As(err, &exit) && exit.ExitCode() >= 0:
		os.Exit(exit.ExitCode())
	case errors.As(err, &exit): // ended by a signal: as a shell would say it
		os.Exit(128 + int(exit.Sys().(syscall.WaitStatus).Signal()))
	default:
		fail(err)
	}
}

func fail(what any) {
	fmt.Fprintln(os.Stderr, "supervise:", what)
	os.Exit(125)
}
