// Bench measures how fast images are copied from one registry to another: by
// acrpromote, by others of its field, and by a floor program that makes only
// the requests that cannot be left out. It runs whole programs and looks at
// them from outside; of acrpromote itself it knows nothing but the command
// line.
//
//	bench [flags]         measure, and write bench.md, bench.json and bench.svg
//	bench -kill [flags]   kill each program at each request, and write kill-sweep.md
//	bench floor [flags]   the floor program
//
// Reading order: cases and image (what is copied), registry, proxy, scan and
// trust (between whom), contestant, floor and run (by whom), measure, check
// and fanout (how), table, goals and chart (the report); apart from these
// kill, killgate, killlook and killtable (what is left of a run that was killed).
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

var networks = []network{
	{Name: "loopback"},
	{Name: "30ms", Trip: 30 * time.Millisecond},
	{Name: "30ms-50MiB", Trip: 30 * time.Millisecond, Speed: 50 * mib},
	{Name: "tls", TLS: true},
}

// Without -full: what tells most in a few minutes.
const (
	quickCases    = "a,b,f"
	quickNetworks = "loopback,30ms,30ms-50MiB"
	quickTime     = 5 * time.Minute
	fullTime      = 90 * time.Minute
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	var err error
	if len(os.Args) > 1 && os.Args[1] == "floor" {
		err = runFloor(os.Args[2:])
	} else {
		err = measure(ctx, os.Args[1:])
	}
	stop()
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func measure(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	var p programs
	registry := flags.String("registry", "", "the CNCF registry's program")
	flags.StringVar(&p.ours, "acrpromote", "", "the program to measure; empty leaves it out, as with the following")
	flags.StringVar(&p.crane, "crane", "", "the peer crane")
	flags.StringVar(&p.regctl, "regctl", "", "the peer regctl")
	flags.StringVar(&p.oras, "oras", "", "the peer oras")
	flags.StringVar(&p.skopeo, "skopeo", "", "the peer skopeo")
	versions := flags.String("versions", "", "what is measured, as name=version,…; told in the tables")
	runs := flags.Int("n", 3, "how often each program runs; the median is reported")
	cases := flags.String("cases", "", "which cases: a to f, with commas; default: "+quickCases+", with -full all")
	nets := flags.String("networks", "", "which networks: loopback, 30ms, 30ms-50MiB, tls; default: "+quickNetworks+", with -full all, tls for cases a, b and d")
	only := flags.String("contestants", "", "who takes part, with commas: floor, acrpromote, crane, crane+8, …; default: all")
	full := flags.Bool("full", false, "all cases, and the fan-out")
	kill := flags.Bool("kill", false, "measure nothing, but kill acrpromote, regctl and oras at each request of case f, and look what is left")
	fanTargets := flags.Int("fanout", 0, "measure the fan-out to this many targets; with -full 20")
	repositories := flags.Int("repositories", 100, "how many there are in case e")
	within := flags.Duration("within", 0, "end after this time, with what there is; default: 5m, with -full 90m")
	folder := flags.String("folder", "", "for registries and images, up to 5 GiB; default: in memory where there is room, else the system's temporary folder")
	out := flags.String("out", "", "where bench.md, bench.json and bench.svg (with -kill kill-sweep.md) go; empty: only to standard output")
	if err := flags.Parse(args); err != nil {
		return err
	}
	switch {
	case flags.NArg() > 0:
		return fmt.Errorf("%q is no flag", flags.Arg(0))
	case *registry == "":
		return errors.New("-registry is missing: the CNCF registry's program")
	case *runs < 1 || *repositories < 1:
		return errors.New("-n and -repositories are at least 1")
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	p.self = self
	for _, program := range []*string{registry, &p.ours, &p.crane, &p.regctl, &p.oras, &p.skopeo} {
		if *program == "" {
			continue
		}
		if *program, err = exec.LookPath(*program); err != nil {
			return err
		}
		// Programs run in folders of their own.
		if *program, err = filepath.Abs(*program); err != nil {
			return err
		}
	}
	picked, err := pick(contestants(p), *only)
	if err != nil {
		return err
	}
	chosen, err := chooseCases(*cases, *full)
	if err != nil {
		return err
	}
	ways, err := chooseNetworks(*nets, *full)
	if err != nil {
		return err
	}
	if *within == 0 {
		if *within = quickTime; *full {
			*within = fullTime
		}
	}
	if *full && *fanTargets == 0 {
		*fanTargets = 20
	}
	if *folder == "" {
		*folder = roomy()
	}
	temporary, err := os.MkdirTemp(*folder, "bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(temporary)

	b := &bench{registry: *registry, folder: temporary, contestants: picked, repositories: *repositories, runs: *runs, deadline: time.Now().Add(*within), everywhere: *nets != "",
		tell: func(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) },
		out: &measurement{Command: "./build.sh bench" + told(args), System: runtime.GOOS + "/" + runtime.GOARCH, Cores: runtime.NumCPU(), Runs: *runs,
			Load: load(), Versions: map[string]string{}, Networks: ways}}
	for _, v := range strings.Split(*versions, ",") {
		if name, version, ok := strings.Cut(v, "="); ok {
			b.out.Versions[name] = version
		}
	}
	if *only == "" {
		b.out.LeftOut = p.leftOut()
	}
	if *kill {
		return runKills(ctx, b, *out)
	}
	// What was measured is reported, whatever becomes of the rest.
	var failures []error
	for _, s := range chosen {
		err := b.measure(ctx, s, ways)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err == nil:
			continue
		case !errors.Is(err, errLate):
			failures = append(failures, err)
		}
		b.out.LeftOut = append(b.out.LeftOut, oneLine(err.Error()))
	}
	switch {
	case *fanTargets == 0 || p.ours == "":
	case time.Now().After(b.deadline):
		b.out.LeftOut = append(b.out.LeftOut, fmt.Sprintf("the fan-out: %v", errLate))
	default:
		if b.out.Fan, err = b.fanOut(ctx, p.ours, *fanTargets); ctx.Err() != nil {
			return ctx.Err()
		} else if err != nil {
			failures = append(failures, err)
			b.out.LeftOut = append(b.out.LeftOut, "the fan-out: "+oneLine(err.Error()))
		}
	}
	return errors.Join(append(failures, tellAll(b.out, *out))...)
}

// told are the flags needed to repeat this; where programs and
// folders are is of no interest elsewhere.
func told(args []string) string {
	var kept strings.Builder
	for n := 0; n < len(args); n++ {
		if !strings.HasPrefix(args[n], "-") {
			kept.WriteString(" " + args[n]) // what a flag is set to may be called like one
			continue
		}
		name, _, joined := strings.Cut(strings.TrimLeft(args[n], "-"), "=")
		switch name {
		case "registry", "acrpromote", "crane", "regctl", "oras", "skopeo", "versions", "folder", "out":
			if !joined {
				n++
			}
		default:
			kept.WriteString(" " + args[n])
		}
	}
	return kept.String()
}

func chooseCases(names string, full bool) ([]scenario, error) {
	if names == "" && !full {
		names = quickCases
	}
	return choose(scenarios, names, func(s scenario) string { return s.key }, "case", "a to f")
}

func chooseNetworks(names string, full bool) ([]network, error) {
	if names == "" && !full {
		names = quickNetworks
	}
	return choose(networks, names, func(n network) string { return n.Name }, "network", "loopback, 30ms, 30ms-50MiB and tls")
}

// choose picks those that are named, with commas between; no name is all.
func choose[T any](all []T, names string, name func(T) string, what, known string) ([]T, error) {
	if names == "" {
		return all, nil
	}
	var chosen []T
	for _, want := range strings.Split(names, ",") {
		i := slices.IndexFunc(all, func(one T) bool { return name(one) == want })
		if i < 0 {
			return nil, fmt.Errorf("there is no %s %q: they are %s", what, want, known)
		}
		chosen = append(chosen, all[i])
	}
	return chosen, nil
}

func tellAll(m *measurement, folder string) error {
	page := m.markdown()
	if _, err := os.Stdout.WriteString(page); err != nil {
		return err
	}
	if folder == "" {
		return nil
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	content, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	for name, text := range map[string]string{"bench.md": page, "bench.json": string(content) + "\n", "bench.svg": m.chart()} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}
