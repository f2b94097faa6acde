// Command demo shows acrpromote's main job to a person: it starts a simulated
// Azure on loopback, runs the real program in it step by step as an agent
// would, and then checks everything it has told against the registries' own
// state and the proxies' own logs. It decides nothing that the program
// decides, and it is the only command that may reach the simulators.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"time"
)

const usage = `usage: demo [-v] [--keep DIR] PROGRAM

Runs PROGRAM (acrpromote) in a simulated Azure and checks what came of it.
Needs Go on the PATH: the image that moves is the program, built for Linux.

  -v, --verbose  show the program's whole output at every step
  --keep DIR     keep each step's result.json, summary and log in DIR
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	os.Exit(start(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// start is the exit code: 0 if every claim holds, 1 if one does not or the
// story broke, 2 for an invocation that cannot be understood.
func start(ctx context.Context, arguments []string, stdout, stderr io.Writer) int {
	var verbose bool
	flags := flag.NewFlagSet("demo", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.BoolVar(&verbose, "v", false, "")
	flags.BoolVar(&verbose, "verbose", false, "")
	keep := flags.String("keep", "", "")
	if err := flags.Parse(arguments); err != nil || flags.NArg() != 1 {
		if errors.Is(err, flag.ErrHelp) {
			fmt.Fprint(stdout, usage)
			return 0
		}
		if err == nil {
			err = errors.New("name one program to run")
		}
		fmt.Fprintf(stderr, "demo: %v.\n\n%s", err, usage)
		return 2
	}
	holds, err := demonstrate(ctx, flags.Arg(0), *keep, newScreen(stdout, verbose))
	if err != nil {
		fmt.Fprintf(stderr, "demo: %v\n", err)
	}
	if err != nil || !holds {
		return 1
	}
	return 0
}

// demonstrate builds the image, tells the story, and reports whether every claim
// of it holds.
func demonstrate(ctx context.Context, path, keep string, screen *screen) (holds bool, err error) {
	scratch, err := os.MkdirTemp("", "acrpromote-demo-")
	if err != nil {
		return false, err
	}
	defer os.RemoveAll(scratch)
	folder := filepath.Join(scratch, "steps")
	if keep != "" {
		folder = keep
	}
	program, err := openProgram(ctx, path, folder)
	if err != nil {
		return false, err
	}
	binaries, err := compile(ctx, program, scratch, screen)
	if err != nil {
		return false, err
	}
	began := time.Now()
	image, err := buildImage(program.version, binaries)
	if err != nil {
		return false, err
	}
	env, err := openEnvironment(scratch)
	if err != nil {
		return false, err
	}
	defer env.close()
	story := newStory(env, image, program, screen)
	if err := story.tell(ctx); err != nil {
		return false, err
	}
	return story.end(time.Since(began)), nil
}
