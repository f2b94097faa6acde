package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"acrpromote/internal/fakeagent"
	"acrpromote/internal/sim"
)

// story runs step by step; what each step saw is kept for the checks.
type story struct {
	env     *environment
	image   *image
	program *program
	screen  *screen

	run        *sim.Run
	production *sim.Stage
	code       string // the approval code that seal showed
	sealed     *outcome
	planned    attempt
	approved   time.Time // not before this
	pushed     *outcome
	attempts   []attempt
	answers    []answer
	theirs     *image // a team's own
	pulled     *image
}

// attempt is something by which the program was to change nothing.
type attempt struct {
	what          string
	rules         string // that were to refuse it; "" where there was nothing to do
	outcome       *outcome
	before, after state
}

// answer is what a registry said to an engine that asked it directly.
type answer struct {
	what          string
	wanted        int
	err           error
	before, after state
	requests      []sim.Request
}

func newStory(env *environment, image *image, p *program, screen *screen) *story {
	return &story{env: env, image: image, program: p, screen: screen}
}

// tag is the program's own version.
func (s *story) tag() string { return s.program.version }

func (s *story) source() string { return s.env.prod.Host() + "/" + repository + ":" + s.tag() }

// tell goes through the story. An error is a break of the story itself; a claim
// that does not hold is found at the end.
func (s *story) tell(ctx context.Context) error {
	s.introduce()
	for _, step := range []func(context.Context) error{
		s.buildPushes,
		s.seal,
		s.plan,
		s.nobodyApproved,
		s.requesterApproved,
		s.ownEnvironment,
		s.invertedPush,
		s.compareDigests,
		s.onceMore,
		s.moveTheTag,
		s.upwards,
		s.pullFromDev,
	} {
		if err := step(ctx); err != nil {
			return fmt.Errorf("step %d: %w", s.screen.step, err)
		}
	}
	return nil
}

func (s *story) introduce() {
	var names []string
	for _, b := range s.image.binaries {
		names = append(names, b.platform.String())
	}
	s.screen.line(s.screen.paint(bold, "acrpromote "+s.program.version+" in a simulated Azure, over real HTTPS on loopback"))
	for _, r := range []struct{ name, host, where string }{
		{"PROD", s.env.prod.Host(), "admits only the pipeline's agents, " + s.env.prodNetwork.IP()},
		{"payments", s.env.payments.Host(), "DEV registry of a team at " + s.env.paymentsNet.IP()},
		{"web", s.env.web.Host(), "DEV registry of a team at " + s.env.webNet.IP()},
	} {
		s.screen.row(fmt.Sprintf("%-9s %-27s %s", r.name, r.host, r.where))
	}
	s.screen.row(fmt.Sprintf("The image: this program for %s, with SBOM and signature, %s.", strings.Join(names, " and "), mebibytes(s.image.bytes())))
	s.screen.line("")
}

// buildPushes is the pipeline's docker push; the program has no part in it.
func (s *story) buildPushes(ctx context.Context) error {
	s.screen.heading("The build pushes the release candidate to PROD")
	s.run = s.env.project.QueueRun(sim.RunOptions{RequestedFor: developer})
	engine := newClient(s.env.prodNetwork, s.env.prod, buildLogin)
	defer engine.close()
	if err := engine.push(ctx, s.image, repository, s.tag()); err != nil {
		return err
	}
	s.screen.says(fmt.Sprintf("%s is %s", s.source(), shortDigest(s.image.root.Digest)))
	return nil
}

func (s *story) seal(ctx context.Context) error {
	s.screen.heading("seal")
	stage := s.run.Stage("Seal", s.env.toSeal)
	stage.Begin()
	o, err := s.task(ctx, stage, fakeagent.Environment{
		Inputs:      map[string]string{"action": "seal", "source": s.source()},
		Connections: map[string][]*sim.ServiceConnection{"azureSubscription": {s.env.toSeal}},
	})
	if err != nil {
		return err
	}
	if o.said.Outcome != "done" {
		return s.unexpected(o, "done")
	}
	s.sealed, s.code = o, o.said.ApprovalCode
	s.screen.row("locked, with a seal record attached; the approver sees the code " + s.screen.paint(bold, s.code))
	return nil
}

// down is the task of the inverted push, as the pipeline has it. The identity
// that reads at PROD is not the one that writes at the teams' registries.
func (s *story) down() fakeagent.Environment {
	return fakeagent.Environment{
		Inputs: map[string]string{
			"action": "invertedPush", "source": s.source(), "targets": s.env.payments.Host() + "\n" + s.env.web.Host(),
			"environment": "Production", "approvalCode": "true",
		},
		Connections: map[string][]*sim.ServiceConnection{"azureSubscription": {s.env.fromProd}, "targetSubscription": {s.env.toDev}},
	}
}

// plan runs before anybody is asked: what waits for the approval is pending, and
// nothing is refused.
func (s *story) plan(ctx context.Context) error {
	s.screen.heading("plan, before anybody is asked to approve")
	stage := s.run.Stage("Plan", s.env.fromProd, s.env.toDev)
	stage.Begin()
	task := s.down()
	task.Inputs["action"] = "plan"
	s.planned.before = s.env.state()
	o, err := s.task(ctx, stage, task)
	if err != nil {
		return err
	}
	s.planned.outcome, s.planned.after = o, s.env.state()
	if o.said.Outcome != "done" {
		return s.unexpected(o, "done")
	}
	var open []string
	for _, r := range o.said.Approval.Rules {
		if r.Pending {
			open = append(open, r.Label)
		}
	}
	if len(open) == 0 {
		return s.unexpected(o, "done with pending rules")
	}
	s.screen.says(fmt.Sprintf("would push to %s and %s; %d rules are pending, such as: %s", s.env.party(s.env.payments.Host()), s.env.party(s.env.web.Host()), len(open), open[0]))
	return nil
}

func (s *story) nobodyApproved(ctx context.Context) error {
	s.screen.heading("An inverted push without approval: the stage does not use the environment")
	stage := s.env.project.QueueRun(sim.RunOptions{RequestedFor: developer}).Stage("Production", s.env.fromProd, s.env.toDev)
	stage.Begin()
	return s.refuse(ctx, "an inverted push without approval", "approval-missing", stage, s.down())
}

func (s *story) requesterApproved(ctx context.Context) error {
	s.screen.heading("The requester approves their own run, which Azure DevOps is configured to allow")
	s.production = s.run.Stage("Production", s.env.production, s.env.fromProd, s.env.toDev)
	s.production.Begin()
	if err := s.production.Approve(developer, "my own work is fine: "+s.code); err != nil {
		return err
	}
	return s.refuse(ctx, "one approved only by the requester", "requester-approved", s.production, s.down())
}

// ownEnvironment: any contributor may make an environment and choose who
// approves for it.
func (s *story) ownEnvironment(ctx context.Context) error {
	s.screen.heading("The requester creates another environment, and a colleague approves there")
	own := s.env.project.EnvironmentBy("Production-2", developer)
	own.AddApproval(sim.ApprovalSettings{Approvers: []sim.Identity{colleague}, MinRequired: 1})
	stage := s.env.project.QueueRun(sim.RunOptions{RequestedFor: developer}).Stage("Production", own, s.env.fromProd, s.env.toDev)
	if err := stage.Approve(colleague, "as you wish: "+s.code); err != nil {
		return err
	}
	stage.Begin()
	return s.refuse(ctx, "one approved for an environment that the requester created", "approval-unbound", stage, s.down())
}

func (s *story) invertedPush(ctx context.Context) error {
	s.screen.heading("The stage runs again and the release manager approves it: the inverted push")
	s.production.Finish("failed")
	s.production.Retry()
	s.approved = time.Now()
	if err := s.production.Approve(manager, "released, change 4711: "+s.code); err != nil {
		return err
	}
	s.production.Begin()
	o, err := s.task(ctx, s.production, s.down())
	if err != nil {
		return err
	}
	if s.pushed = o; o.said.Outcome != "done" {
		return s.unexpected(o, "done")
	}
	memory := ""
	if o.memory > 0 {
		memory = ", peak memory " + mebibytes(o.memory)
	}
	var sent []string
	for _, r := range s.env.teams() {
		sent = append(sent, fmt.Sprintf("%s to %s", mebibytes(received(o.requests, r)), s.env.party(r.Host())))
	}
	s.screen.says(fmt.Sprintf("%s in %s%s", strings.Join(sent, " and "), seconds(o.took), memory))
	s.screen.says(fmt.Sprintf("%d requests: %s", len(o.requests), s.byParty(o.requests)))
	s.screen.says("hosts in the proxy's log: " + strings.ReplaceAll(strings.Join(distinct(o.dialled), " "), ":443", ""))
	return nil
}

func (s *story) compareDigests(context.Context) error {
	s.screen.heading("What the three registries hold")
	for _, r := range s.env.registries() {
		s.screen.row(fmt.Sprintf("%-9s %s  %d attached: %s", s.env.party(r.Host()), shortDigest(r.TagDigest(repository, s.tag())),
			len(r.Referrers(repository, s.image.root.Digest)), strings.Join(s.kinds(r), ", ")))
	}
	return nil
}

func (s *story) onceMore(ctx context.Context) error {
	s.screen.heading("The same step again")
	before := s.env.state()
	o, err := s.task(ctx, s.production, s.down())
	if err != nil {
		return err
	}
	if o.said.Outcome != "done" {
		return s.unexpected(o, "done")
	}
	s.attempts = append(s.attempts, attempt{what: "the second run", outcome: o, before: before, after: s.env.state()})
	s.screen.says(fmt.Sprintf("nothing to do: %d requests, no writes, in %s", len(o.requests), seconds(o.took)))
	return nil
}

func (s *story) moveTheTag(ctx context.Context) error {
	s.screen.heading("The build pushes another image to the sealed tag")
	other, err := plainImage("not what was approved")
	if err != nil {
		return err
	}
	engine := newClient(s.env.prodNetwork, s.env.prod, buildLogin)
	defer engine.close()
	return s.ask("another image pushed to the sealed tag", http.StatusMethodNotAllowed, func() error {
		return engine.push(ctx, other, repository, s.tag())
	})
}

// upwards: the task is given an identity that could write at PROD, and the
// release manager's approval stands. Only the program says no.
func (s *story) upwards(ctx context.Context) error {
	s.screen.heading("A team tries to push its own image up: source and target swapped, with write access")
	var err error
	if s.theirs, err = plainImage("made by a team"); err != nil {
		return err
	}
	engine := newClient(s.env.paymentsNet, s.env.payments, teamLogin)
	defer engine.close()
	const tag = "2.0.0"
	if err := engine.push(ctx, s.theirs, repository, tag); err != nil {
		return err
	}
	up := s.down()
	up.Inputs["source"] = s.env.payments.Host() + "/" + repository + ":" + tag
	up.Inputs["targets"] = s.env.prod.Host()
	up.Inputs["approvalCode"] = ""
	up.Connections = map[string][]*sim.ServiceConnection{"azureSubscription": {s.env.toDev}, "targetSubscription": {s.env.toSeal}}
	return s.refuse(ctx, "a team's own image pushed up", "not-sealed", s.production, up)
}

func (s *story) pullFromDev(ctx context.Context) error {
	s.screen.heading("A client at " + s.env.paymentsNet.IP() + " pulls: from PROD, then from its own registry")
	outside := newClient(s.env.paymentsNet, s.env.prod, buildLogin)
	defer outside.close()
	if err := s.ask("a pull from PROD by a DEV address", http.StatusForbidden, func() error {
		_, err := outside.pull(ctx, repository, s.image.root.Digest)
		return err
	}); err != nil {
		return err
	}
	own := newClient(s.env.paymentsNet, s.env.payments, teamLogin)
	defer own.close()
	var err error
	if s.pulled, err = own.pull(ctx, repository, s.image.root.Digest); err != nil {
		return err
	}
	s.screen.says(fmt.Sprintf("pulled %s/%s@%s, %s", own.host, repository, shortDigest(s.pulled.root.Digest), mebibytes(s.pulled.bytes())))
	return nil
}

// task runs the program in a stage and shows what it said, if asked to.
func (s *story) task(ctx context.Context, stage *sim.Stage, task fakeagent.Environment) (*outcome, error) {
	o, err := s.program.run(ctx, s.env, stage, task)
	if err == nil {
		s.screen.program(o.output)
	}
	return o, err
}

// refuse runs what is to be refused and tells why it was.
func (s *story) refuse(ctx context.Context, what, rules string, stage *sim.Stage, task fakeagent.Environment) error {
	a := attempt{what: what, rules: rules, before: s.env.state()}
	var err error
	if a.outcome, err = s.task(ctx, stage, task); err != nil {
		return err
	}
	a.after = s.env.state()
	s.attempts = append(s.attempts, a)
	if said := a.outcome.said; said.Outcome != "refused" || len(said.Refusals) == 0 {
		s.screen.says("NOT refused: the program ended with " + said.Outcome)
		s.screen.quote(a.outcome.output)
		return nil
	}
	for _, f := range a.outcome.said.Refusals {
		s.screen.refused(f.Rule, f.Reason)
	}
	return nil
}

// ask lets an engine do what a registry is to refuse.
func (s *story) ask(what string, wanted int, act func() error) error {
	a := answer{what: what, wanted: wanted, before: s.env.state()}
	mark := s.env.cloud.Mark()
	a.err = act()
	a.requests, a.after = s.env.cloud.Since(mark), s.env.state()
	s.answers = append(s.answers, a)
	refused := new(answerError)
	switch {
	case errors.As(a.err, &refused):
		message, _, _ := strings.Cut(refused.message, ". ")
		s.screen.refused(fmt.Sprintf("by the registry, %d %s", refused.status, refused.code), message)
		return nil
	case a.err != nil:
		return a.err
	}
	s.screen.says("NOT refused: " + what)
	return nil
}

func (s *story) unexpected(o *outcome, wanted string) error {
	return fmt.Errorf("the program ended with %s, not %s:\n%s", o.said.Outcome, wanted, o.output)
}

// byParty counts requests by whom they went to, most first.
func (s *story) byParty(requests []sim.Request) string {
	counts := map[string]int{}
	for _, q := range requests {
		counts[s.env.party(q.Host)]++
	}
	names := slices.SortedFunc(maps.Keys(counts), func(a, b string) int {
		if counts[a] != counts[b] {
			return counts[b] - counts[a]
		}
		return strings.Compare(a, b)
	})
	for i, name := range names {
		names[i] = fmt.Sprintf("%s %d", name, counts[name])
	}
	return strings.Join(names, ", ")
}

// received counts the bytes that a registry took.
func received(requests []sim.Request, r *sim.Registry) (total int64) {
	for _, q := range requests {
		if q.Host == r.Host() {
			total += q.BytesIn
		}
	}
	return total
}

func distinct(hosts []string) []string {
	return slices.Compact(slices.Sorted(slices.Values(hosts)))
}
