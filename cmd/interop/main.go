// Interop promotes what other clients pushed, between registries that others wrote,
// and lets other clients judge the result: what they saw at the source before, they
// must see at the target after. It writes the table of combinations into
// docs/conformance.md.
//
//	interop [flags]
//
// It also attaches receipts to images, and lets clients judge them that know nothing
// of this program.
//
// Reading order: scenario (who pushes what, and who judges it), receipts, registry
// (between whom), client (how programs are called), table (the report).
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// clientNames are the clients that push and judge.
var clientNames = []string{"crane", "regctl", "oras", "helm", "cosign", "skopeo", "umoci", "slsa-verifier"}

// receiptClients are those that judgeReceipts calls.
var receiptClients = []string{"regctl", "oras", "cosign", "skopeo", "umoci", "slsa-verifier"}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	ctx, cancel := context.WithTimeout(ctx, 15*time.Minute)
	err := run(ctx, os.Args[1:])
	cancel()
	stop()
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "interop:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("interop", flag.ContinueOnError)
	programs := map[string]*string{}
	for _, name := range []string{"acrpromote", "registry", "registry2"} {
		programs[name] = flags.String(name, name, "the program "+name)
	}
	for _, name := range clientNames {
		programs[name] = flags.String(name, name, "the client "+name+"; if empty, it is left out")
	}
	versions := flags.String("versions", "", "the versions of the programs, as text for the page")
	page := flags.String("page", "", "the page to write the table into; empty: standard output only")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	for name, file := range programs {
		if *file == "" {
			continue
		}
		found, err := exec.LookPath(*file)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		// Programs run in folders of their own.
		if *file, err = filepath.Abs(found); err != nil {
			return err
		}
	}
	folder, err := os.MkdirTemp("", "interop-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder)

	kinds, stopAll, err := startRegistries(ctx, folder, *programs["registry"], *programs["registry2"])
	defer stopAll()
	if err != nil {
		return err
	}
	result := newTable(kinds, *versions)
	for i, source := range kinds {
		target := kinds[(i+1)%len(kinds)]
		for _, s := range scenarios {
			s, ok := s.without(programs)
			if !ok {
				continue
			}
			home, err := os.MkdirTemp(folder, "home-")
			if err != nil {
				return err
			}
			clients, err := newClients(ctx, home, programs)
			if err != nil {
				return err
			}
			began := time.Now()
			// The registries are the same for each pair, the repositories are not.
			s.repository = fmt.Sprintf("pair%d/%s", i+1, s.repository)
			promote(clients, s, source.host, target.host, func(j judge, err error) { result.add(i, s, j, err) })
			fmt.Fprintf(os.Stderr, "%s to %s: %s: %.1f s\n", source.name, target.name, s.name, time.Since(began).Seconds())
		}
	}
	if slices.ContainsFunc(receiptClients, func(name string) bool { return *programs[name] == "" }) {
		fmt.Fprintln(os.Stderr, "receipts are left out: they take", strings.Join(receiptClients, ", "))
		return result.write(*page)
	}
	home, err := os.MkdirTemp(folder, "home-")
	if err != nil {
		return err
	}
	clients, err := newClients(ctx, home, programs)
	if err != nil {
		return err
	}
	verdicts, err := judgeReceipts(clients, kinds[0].host)
	if err != nil {
		return fmt.Errorf("receipts: %w", err)
	}
	result.addVerdicts(verdicts)
	return result.write(*page)
}

// promote runs a scenario between two registries, and reports each judge's verdict.
func promote(c *clients, s scenario, source, target string, report func(judge, error)) {
	from := image{host: source, repository: s.repository, tag: s.tag}
	to := image{host: target, repository: s.repository, tag: s.tag}
	before := make([]string, len(s.judges))
	err := s.push(c, from)
	if err != nil {
		err = fmt.Errorf("push: %w", err)
	}
	if err == nil {
		for i, j := range s.judges {
			if before[i], err = j.look(c, from); err != nil {
				err = fmt.Errorf("before, %s: %w", j.by, err)
				break
			}
		}
	}
	if err == nil {
		_, err = c.run("acrpromote", "invertedPush", "--approval", "none", "--source", from.String(), "--targets", target, "--plain-http", source, "--plain-http", target)
	}
	for i, j := range s.judges {
		if err != nil {
			report(j, err)
			continue
		}
		after, err := j.look(c, to)
		switch {
		case err != nil:
			err = fmt.Errorf("after: %w", err)
		case before[i] == "":
			err = errors.New("there was nothing to see before")
		case after != before[i]:
			err = fmt.Errorf("before:\n%s\nafter:\n%s", before[i], after)
		}
		report(j, err)
	}
}
