package run

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"acrpromote/internal/agent"
	"acrpromote/internal/doctor"
	"acrpromote/internal/ref"
	"acrpromote/internal/report"
	"acrpromote/internal/session"
)

// diagnose finds where the configuration of Azure is wider than the flows need. It only
// reads.
func diagnose(ctx context.Context, c *agent.Config, to *reporter, result *collector) (*session.Session, *order) {
	s, err := open(c, to, result)
	if err != nil {
		result.add(err)
		return nil, nil
	}
	wrong := &mistakes{}
	setup, flow, err := wrong.setup(ctx, c, s, result)
	if err != nil {
		result.result.Errors = append(result.result.Errors, flowProblem(c.FlowFile, err))
		return s, nil
	}
	if err := wrong.orNil(); err != nil {
		result.add(err)
		return s, nil
	}
	o := &order{action: c.Action, flow: flow}
	readRegistries(ctx, s, setup.Registries)
	setup.DevOps = readDevOps(ctx, c, s, flow, setup.Registries, setup.Access)
	if ctx.Err() != nil {
		result.unexecuted = true
		return s, o
	}
	setup.Now = time.Now()
	verdict := doctor.Judge(setup)
	facts := &report.Doctor{FailOn: doctor.Severity(cmp.Or(c.FailOn, string(doctor.High))), Accepted: verdict.Accepted}
	for _, r := range setup.Registries {
		facts.Registries = append(facts.Registries, r.Host)
	}
	advice := doctor.Advise(setup, s.Hosts())
	facts.Outbound, facts.Inbound, facts.Commands = advice.Outbound, advice.Inbound, advice.Commands
	result.result.Doctor, result.result.Findings = facts, append([]doctor.Finding{}, verdict.Findings...)
	result.result.Refusals = doctor.Refuse(verdict.Findings, facts.FailOn)
	return s, o
}

// setup returns the registries to read: those of the flow file, or those that the inputs
// name, the source above the targets.
func (m *mistakes) setup(ctx context.Context, c *agent.Config, s *session.Session, result *collector) (doctor.Setup, *flowFile, error) {
	var setup doctor.Setup
	if c.FlowFile == "" {
		for i, text := range append([]string{c.Source}, c.Targets...) {
			host, _, _ := strings.Cut(text, "/")
			registry, err := ref.ParseHost(host)
			if err != nil {
				m.add([]string{"source", "targets"}[min(i, 1)], fmt.Errorf("%q is not a valid registry host", host), "Write the host of a registry.")
				continue
			}
			setup.Registries = append(setup.Registries, doctor.Registry{Host: registry, Azure: isAzure(registry), Trust: 1 - min(i, 1), Source: i == 0})
		}
		return setup, nil, nil
	}
	flow, err := loadFlow(ctx, c, s, result)
	if err != nil {
		if isUsage(err) {
			m.join(err)
			return setup, nil, nil
		}
		return setup, nil, err
	}
	result.result.Rules = "unverified"
	if flow.bound {
		result.result.Rules = "verified"
	}
	for _, name := range slices.Sorted(maps.Keys(flow.Registries)) {
		r := flow.Registries[name]
		to := doctor.Registry{Name: name, Host: string(r.Host), Hosts: r.Names()[1:], Azure: isAzure(string(r.Host)), Trust: slices.Index(flow.Trust, r.Trust)}
		for _, f := range flow.Flows {
			to.Source = to.Source || f.From == name
		}
		for _, id := range r.Expect.Writers {
			to.Writers = append(to.Writers, string(id))
		}
		for _, id := range r.Expect.Readers {
			to.Readers = append(to.Readers, string(id))
		}
		setup.Registries = append(setup.Registries, to)
	}
	return setup, flow, nil
}
