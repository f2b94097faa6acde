package main

import (
	"context"
	"errors"
	"io"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	azurelog "github.com/Azure/azure-sdk-for-go/sdk/azcore/log"

	"acrpromote/internal/acr"
	"acrpromote/internal/agent"
	"acrpromote/internal/azdo"
	"acrpromote/internal/egress"
	"acrpromote/internal/ref"
	"acrpromote/internal/report"
	"acrpromote/internal/rule"
	"acrpromote/internal/topology"
)

// abandonGrace is how long a program whose launcher is gone may take to end in
// order.
const abandonGrace = 3 * time.Second

// run is the program: it reads the configuration, does what was asked, and
// tells the result to whoever started it. It returns the exit code.
func run(args, environ []string, stdin io.Reader, stdout, stderr io.Writer) int {
	config, misuse := agent.Read(args, environ)
	if misuse == nil && config.IsHelp() {
		printHelp(config, stdout)
		return report.Done.ExitCode()
	}
	// AZURE_SDK_GO_LOGGING would have the library tell requests on its own.
	azurelog.SetListener(nil)
	if err := config.Scrub(); err != nil {
		misuse = errors.Join(misuse, err)
	}
	if misuse == nil && (config.Action == agent.Check || config.Action == agent.Init) {
		return write(config, stdin, stdout)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if config.InPipeline {
		var abandon context.CancelFunc
		ctx, abandon = context.WithCancel(ctx)
		defer abandon()
		go agent.WatchLauncher(stdin, func() {
			// Nobody reads what is written from here on.
			signal.Ignore(syscall.SIGPIPE)
			abandon()
			time.Sleep(abandonGrace)
			os.Exit(report.Cancelled.ExitCode())
		})
	}

	teller := newTeller(config, stdout, stderr)
	o := &operation{config: config, teller: teller, result: emptyResult(config)}
	o.execute(ctx, misuse)
	return teller.tell(o.result)
}

// operation is one run of the program on its way along the straight line:
// what was asked, whom it talks to, and the result as it grows.
type operation struct {
	config *agent.Config
	teller *teller
	mu     sync.Mutex // guards result while images are moved side by side
	result report.Result

	network    *egress.Network
	plainHTTP  []string
	registries *registries
	identities map[string]*acr.Identity // by service connection

	action    string // what is judged: verify's subject, else the action itself
	items     []*item
	setDigest string
	set       bool            // a set was named: one digest and code for all of it
	others    []ref.Reference // images of the set that other parallel jobs bring
	flows     *flowFile       // nil without one
	against   []rule.Refusal  // what the flow file alone says against it
	service   *azdo.Service

	// interrupted: told to stop before anything was carried out.
	interrupted bool
}

// execute goes the whole way. Whatever happens, the result is whole when it
// returns.
func (o *operation) execute(ctx context.Context, misuse error) {
	defer o.conclude(ctx)
	if misuse != nil {
		o.misuse(misuse)
		// What is wrong with the references is told in the same list.
		if o.config.Source == "" || o.config.FlowFile != "" {
			return
		}
		if err := o.understand(); err != nil {
			o.misuse(err)
		}
		return
	}
	if err := o.openNetwork(); err != nil {
		o.misuse(err)
		return
	}
	if ended, err := o.prepare(ctx); ended || err != nil {
		if err != nil {
			o.misuse(err)
		}
		return
	}
	found := o.gather(ctx)
	if found.misuse != nil {
		o.misuse(found.misuse)
		return
	}
	if ctx.Err() != nil {
		// What a stop kept from being read is no ground for refusing.
		o.interrupted = true
		return
	}
	if o.config.Action == agent.Audit {
		o.audit(found)
		return
	}
	o.decide(found)
	if len(o.result.Refusals) > 0 || o.config.ReadOnly() {
		return
	}
	if ctx.Err() != nil {
		o.interrupted = true
		return
	}
	o.carryOut(ctx, found)
}

// prepare finds out what is to be moved, by the inputs or by the flow file,
// and readies signing in. It tells whether that ended in a refusal or a failure, which is told.
func (o *operation) prepare(ctx context.Context) (ended bool, err error) {
	if o.config.FlowFile == "" {
		if err := o.understand(); err != nil {
			return false, err
		}
		return false, o.connect()
	}
	refusal, err := o.loadFlow(ctx)
	if err != nil {
		return false, err
	}
	if refusal != nil {
		o.result.Refusals = append(o.result.Refusals, *refusal)
		return true, nil
	}
	if err := o.understandFlow(ctx); err != nil {
		var unread *unlisted
		if errors.As(err, &unread) {
			o.result.Errors = append(o.result.Errors, unread.problem())
			return true, nil
		}
		return false, err
	}
	return false, o.connect()
}

// misuse records what could not be understood.
func (o *operation) misuse(err error) {
	o.result.Outcome = report.Misuse
	var wrong *agent.Misuse
	if errors.As(err, &wrong) {
		for _, p := range wrong.Problems {
			o.result.Errors = append(o.result.Errors, report.Problem{Side: report.Input, Subject: p.Subject, Reason: p.Reason, Remedy: p.Remedy})
		}
		return
	}
	o.result.Errors = append(o.result.Errors, report.Problem{
		Side: report.Input, Subject: "inputs", Reason: err.Error(), Remedy: "Correct the inputs; `acrpromote help` lists them.",
	})
}

// conclude settles the outcome, in the contract's order of precedence, and
// adds what the network recorded.
func (o *operation) conclude(ctx context.Context) {
	r := &o.result
	o.teller.warnOnPartial = o.warnOnPartial()
	o.teller.digest = o.setDigest
	if !o.set && len(r.Images) == 1 {
		o.teller.digest = r.Images[0].Digest
	}
	if o.network != nil {
		r.Egress = o.network.Hosts()
		for _, t := range o.network.Traffic() {
			r.Traffic = append(r.Traffic, report.Traffic{
				Registry: t.Party, BytesRead: t.BytesRead, BytesWritten: t.BytesWritten, Retries: t.Retries, WaitedMs: t.Waited.Milliseconds(),
				Requests: report.Requests{Read: t.Read, Write: t.Write, Referrers: t.Referrers, Token: t.Token},
			})
		}
		r.Warnings = append(r.Warnings, o.network.Warnings()...)
	}
	r.Outcome = outcome(r, ctx.Err() != nil)
	if o.interrupted && r.Outcome != report.Misuse && r.Outcome != report.Refused {
		r.Outcome = report.Cancelled
	}
	if r.Outcome == report.Cancelled && len(r.Errors) == 0 {
		r.Errors = append(r.Errors, report.Problem{
			Side: report.Service, Subject: r.Action, Reason: "the program was told to stop",
			Remedy: "Run it again: what has arrived stays, and only what is left is done.",
		})
	}
}

// warnOnPartial: all terms have to agree that some targets may wait.
func (o *operation) warnOnPartial() bool {
	seen := false
	for _, it := range o.items {
		for _, t := range it.terms() {
			if t.OnPartial != topology.Warn {
				return false
			}
			seen = true
		}
	}
	return seen
}

// outcome: misuse before refused before cancelled before failed before partial.
func outcome(r *report.Result, stopped bool) report.Outcome {
	if r.Outcome == report.Misuse {
		return report.Misuse
	}
	if len(r.Refusals) > 0 {
		return report.Refused
	}
	done, left := 0, 0
	for _, image := range r.Images {
		for _, t := range image.Targets {
			switch t.State {
			case report.Pending, report.TargetFailed, report.TargetRefused:
				left++
			default:
				done++
			}
		}
	}
	switch {
	case len(r.Errors) == 0 && left == 0:
		return report.Done
	case stopped:
		return report.Cancelled
	case done > 0 && left > 0 && !sourceFailed(r.Errors):
		return report.Partial
	default:
		return report.Failed
	}
}

func sourceFailed(problems []report.Problem) bool {
	for _, p := range problems {
		if p.Side != report.AtTarget {
			return true
		}
	}
	return false
}

func refusal(name rule.Name, subject, reason, remedy string) rule.Refusal {
	return rule.Refusal{Rule: name, Subject: subject, Reason: reason, Remedy: remedy}
}
