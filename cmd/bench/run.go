package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"time"

	"acrpromote/internal/maxrss"
)

// effort is what one run took, over all calls of the program.
type effort struct {
	Wall   float64 `json:"wallSeconds"`
	CPU    float64 `json:"cpuSeconds"` // user and system
	Memory int64   `json:"peakBytes"`  // resident, of the largest call
}

// do runs the calls one after the other.
func do(ctx context.Context, home string, calls []command) (effort, error) {
	var sum effort
	for _, c := range calls {
		e, err := call(ctx, home, c)
		sum.Wall += e.Wall
		sum.CPU += e.CPU
		sum.Memory = max(sum.Memory, e.Memory)
		if err != nil {
			return sum, err
		}
	}
	return sum, nil
}

func call(ctx context.Context, home string, c command) (effort, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	process, said := c.process(ctx, home)
	began := time.Now()
	if err := process.Start(); err != nil {
		return effort{}, err
	}
	memory := maxrss.Watch(process.Process.Pid)
	err := process.Wait()
	e := effort{Wall: time.Since(began).Seconds()}
	e.Memory = memory(process.ProcessState)
	e.CPU = (process.ProcessState.UserTime() + process.ProcessState.SystemTime()).Seconds()
	if err != nil {
		return e, fmt.Errorf("%w: %s", err, last(said.String(), 600))
	}
	return e, nil
}

// process prepares the program, with a home of its own, and returns what it
// will have printed.
func (c command) process(ctx context.Context, home string) (*exec.Cmd, *bytes.Buffer) {
	var said bytes.Buffer
	process := exec.CommandContext(ctx, c.args[0], c.args[1:]...)
	process.Env = append([]string{"HOME=" + home, "TMPDIR=" + home}, c.environment...)
	process.Dir = home
	process.Stdout, process.Stderr = &said, &said
	process.WaitDelay = time.Second
	return process, &said
}

func newHome(folder string) (string, error) { return os.MkdirTemp(folder, "home-") }
