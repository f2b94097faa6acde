// Command livecheck answers, in Azure itself, the questions that public
// documentation leaves open, and writes a report without secrets and names. It
// changes only registries and runs that exist for this check alone.
// docs/live-check.md explains how to use it.
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
	"runtime"
	"strings"
	"syscall"
	"time"
)

// version is set by the build.
var version = "dev"

const usage = `usage: livecheck -setup -prefix PREFIX     prints the commands that make what is needed
       livecheck -pipeline -prefix PREFIX  prints the pipeline, and what to click
       livecheck -teardown -prefix PREFIX  prints the commands that remove it
       livecheck -list                     lists the facts and what would be done
       livecheck -prefix PREFIX [-registry HOST] [-soft-delete HOST] [-retention HOST]
                 [-regional HOST] [-customer-keys HOST]
                 [-organization URL -project NAME [-run ID] [-release ID]]
                 [-answers FILE]... [-wait 5m] [-names] [-out FOLDER]
       livecheck -job FILE -prefix PREFIX  within a job: checks what only a job can

Registries: sign in with "az login", or as azidentity's DefaultAzureCredential says.
Azure DevOps: a personal access token in AZURE_DEVOPS_EXT_PAT.
Proxy and CA: HTTPS_PROXY and SSL_CERT_FILE.
`

// options are the command line.
type options struct {
	setup, pipeline, teardown, list, names bool
	prefix, job, out                       string
	registry, softDelete, retention        string
	regional, keys                         string
	organization, project                  string
	run, release                           int
	answers                                []string
	wait                                   time.Duration
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(start(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// start returns the exit code: 0 if a report was written, 1 if not, 2 for a
// usage error.
func start(ctx context.Context, arguments []string, stdout, stderr io.Writer) int {
	o, err := parse(arguments)
	if errors.Is(err, flag.ErrHelp) {
		fmt.Fprint(stdout, usage)
		return 0
	}
	if err != nil {
		fmt.Fprintf(stderr, "livecheck: %v.\n\n%s", err, usage)
		return 2
	}
	switch {
	case o.list:
		printFacts(stdout)
	case o.setup:
		fmt.Fprint(stdout, fill(setupText, o.prefix))
	case o.teardown:
		fmt.Fprint(stdout, fill(teardownText, o.prefix))
	case o.pipeline:
		fmt.Fprint(stdout, fill(pipelineText, o.prefix))
	case o.job != "":
		err = runJob(ctx, o, stdout)
	default:
		err = run(ctx, o, stdout)
	}
	if err != nil {
		fmt.Fprintf(stderr, "livecheck: %v\n", err)
		return 1
	}
	return 0
}

func parse(arguments []string) (options, error) {
	var o options
	flags := flag.NewFlagSet("livecheck", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.BoolVar(&o.setup, "setup", false, "")
	flags.BoolVar(&o.pipeline, "pipeline", false, "")
	flags.BoolVar(&o.teardown, "teardown", false, "")
	flags.BoolVar(&o.list, "list", false, "")
	flags.BoolVar(&o.names, "names", false, "")
	flags.StringVar(&o.prefix, "prefix", "", "")
	flags.StringVar(&o.job, "job", "", "")
	flags.StringVar(&o.out, "out", ".", "")
	flags.StringVar(&o.registry, "registry", "", "")
	flags.StringVar(&o.softDelete, "soft-delete", "", "")
	flags.StringVar(&o.retention, "retention", "", "")
	flags.StringVar(&o.regional, "regional", "", "")
	flags.StringVar(&o.keys, "customer-keys", "", "")
	flags.StringVar(&o.organization, "organization", "", "")
	flags.StringVar(&o.project, "project", "", "")
	flags.IntVar(&o.run, "run", 0, "")
	flags.IntVar(&o.release, "release", 0, "")
	flags.Func("answers", "", func(file string) error { o.answers = append(o.answers, file); return nil })
	flags.DurationVar(&o.wait, "wait", 5*time.Minute, "")
	if err := flags.Parse(arguments); err != nil {
		return o, err
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	if o.list {
		return o, nil
	}
	if err := validPrefix(o.prefix); err != nil {
		return o, err
	}
	if (o.run != 0 || o.release != 0) && (o.organization == "" || o.project == "") {
		return o, errors.New("-run and -release need -organization and -project")
	}
	if o.regional != "" && o.registry == "" {
		return o, errors.New("-regional needs -registry: both are names of one registry")
	}
	return o, nil
}

// validPrefix checks that the prefix can be the beginning of a registry's name, and
// that no other registry begins with it by accident.
func validPrefix(prefix string) error {
	for _, c := range prefix {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') {
			return fmt.Errorf("-prefix %q: use lower-case letters and digits", prefix)
		}
	}
	if len(prefix) < 8 || len(prefix) > 30 {
		return errors.New("-prefix needs 8 to 30 letters and digits that no other name of yours begins with, such as livecheck4711")
	}
	return nil
}

// throwAway returns an error unless the name shows that a registry or project exists
// for this check alone.
func throwAway(kind, name, prefix string) error {
	if !strings.HasPrefix(strings.ToLower(name), prefix) {
		return fmt.Errorf("%s %s does not begin with %s: this program works only in throw-away registries and projects", kind, name, prefix)
	}
	return nil
}

// ofAzure returns an error unless a host is under a suffix of Azure's registries:
// tokens of Entra ID are sent nowhere else.
func ofAzure(host string) error {
	for _, suffix := range []string{".azurecr.io", ".azurecr.cn", ".azurecr.us"} {
		if name, ok := strings.CutSuffix(strings.ToLower(host), suffix); ok && !strings.ContainsAny(name, "/@:?#\\") {
			return nil
		}
	}
	return fmt.Errorf("registry %s is not the host name of an Azure Container Registry, such as NAME.azurecr.io", host)
}

// cleanUpTime limits how long removing repositories takes.
const cleanUpTime = 5 * time.Minute

// run checks every fact for which there is something to ask, and writes the report.
func run(ctx context.Context, o options, stdout io.Writer) error {
	c, err := open(ctx, o)
	if err != nil {
		return err
	}
	r := report{Tool: "livecheck " + version, Platform: runtime.GOOS + "/" + runtime.GOARCH, Date: time.Now().UTC().Format(time.DateOnly)}
	for _, f := range facts {
		r.add(f, c.ask(ctx, f))
	}
	// What was pushed is removed after an interruption as well.
	clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanUpTime)
	defer cancel()
	r.Notes = c.cleanUp(clean)
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("interrupted, and no report was written; %d repositories were left behind", len(r.Notes))
	}
	r.anonymize(c.hide)
	for name, content := range map[string][]byte{"livecheck.json": r.json(), "livecheck.md": r.markdown()} {
		if err := os.WriteFile(filepath.Join(o.out, name), content, 0o600); err != nil {
			return fmt.Errorf("writing the report: %w", err)
		}
	}
	_, err = stdout.Write(r.markdown())
	return err
}

func printFacts(w io.Writer) {
	for _, f := range facts {
		fmt.Fprintf(w, "%s\n  %s\n  A: %s. B: %s.\n  needs %s\n  %s\n", f.id, f.question, f.a, f.b, f.of, f.does)
	}
}
