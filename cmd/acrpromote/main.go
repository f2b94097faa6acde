// Command acrpromote promotes container images between registries after they have
// been approved in the run of Azure Pipelines that it is part of.
package main

import (
	"context"
	"errors"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	azurelog "github.com/Azure/azure-sdk-for-go/sdk/azcore/log"

	"acrpromote/internal/agent"
	"acrpromote/internal/outcome"
	"acrpromote/internal/run"
)

// version is set by the build.
var version = "dev"

// abandonGrace is how long the program may take to shut down after its launcher has
// ended.
const abandonGrace = 3 * time.Second

// softMemoryLimit makes the garbage collector run more often instead of taking more
// memory, unless what is in use needs it: responses that are made to take memory leave
// much garbage. A lower GOMEMLIMIT holds.
const softMemoryLimit = 88 << 20

func main() {
	if debug.SetMemoryLimit(-1) > softMemoryLimit {
		debug.SetMemoryLimit(softMemoryLimit)
	}
	os.Exit(start(os.Args[1:], os.Environ(), os.Stdin, os.Stdout, os.Stderr))
}

// start reads the configuration, runs the action and returns the exit code.
func start(args, environ []string, stdin io.Reader, stdout, stderr io.Writer) int {
	config, usage := agent.Read(args, environ)
	if usage == nil && config.IsHelp() {
		printHelp(config, stdout)
		return outcome.Done.ExitCode()
	}
	// With AZURE_SDK_GO_LOGGING the library would log requests itself.
	azurelog.SetListener(nil)
	if err := config.Scrub(); err != nil {
		usage = errors.Join(usage, err)
	}
	if usage == nil && config.Action == agent.Check {
		return check(config, stdout, stderr)
	}
	if usage == nil && config.Action == agent.Code {
		return code(config, stdout, stderr)
	}
	if usage == nil && config.Action == agent.Report {
		return show(config, stdout, stderr)
	}
	if config.Action == agent.Init {
		return initialize(config, usage, stdin, agent.NewLog(stdout, false))
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if config.InPipeline {
		var abandon context.CancelFunc
		ctx, abandon = context.WithCancel(ctx)
		defer abandon()
		go agent.WatchLauncher(stdin, func() {
			// Nobody reads the output any more.
			signal.Ignore(syscall.SIGPIPE)
			abandon()
			time.Sleep(abandonGrace)
			os.Exit(outcome.Cancelled.ExitCode())
		})
	}
	return run.Run(ctx, config, usage, version, stdout, stderr)
}

func printHelp(c *agent.Config, stdout io.Writer) {
	log := agent.NewLog(stdout, false)
	switch c.Action {
	case agent.Version:
		log.Line("acrpromote " + version)
		return
	case agent.Completion:
		log.Text(agent.CompletionText(c.Shell))
		return
	}
	log.Text(agent.HelpText(c.HelpTopic, width(c)))
}

// width returns the width of the terminal.
func width(c *agent.Config) int {
	if n := int(c.Terminal.Columns); n > 0 {
		return n
	}
	return 100
}
