package run

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"acrpromote/internal/agent"
	"acrpromote/internal/approval"
	"acrpromote/internal/azdo"
	"acrpromote/internal/defect"
	"acrpromote/internal/plan"
	"acrpromote/internal/rule"
	"acrpromote/internal/topology"
)

// readRun reads the run, and its approvals if the action needs one.
func (r *reader) readRun(ctx context.Context, f *findings) error {
	c := r.c
	if !c.InRun || c.Unapproved() {
		return nil
	}
	if c.Action == agent.Audit {
		r.readAudited(ctx, f)
		return nil
	}
	service, err := r.s.AzureDevOps()
	if err != nil {
		f.runRefusals = []rule.Refusal{unreadable(err, "Run this as a task of an Azure Pipelines job, or as a script in one with SYSTEM_ACCESSTOKEN mapped.")}
		return nil
	}
	// The run comes first, because everything else depends on it.
	var refusals []rule.Refusal
	f.run, refusals = service.Run(ctx)
	var guards sync.WaitGroup
	guards.Go(func() {
		defer defect.Catch(ctx)
		f.protection = r.readConnections(ctx, service)
	})
	defer guards.Wait()
	if len(r.groups) == 0 {
		f.runRefusals = refusals
		r.readTemplate(ctx, service, f)
		if r.action == plan.Seal && c.Claims.Classic() {
			started, no := service.ArtifactStarted(ctx)
			f.run.Started = started
			if no != nil {
				f.runRefusals = append(f.runRefusals, *no)
			}
		}
		return nil
	}
	if c.Action == agent.Plan {
		return r.foresee(ctx, service, f)
	}
	f.evidence = make([]*approval.Evidence, len(r.groups))
	questions := make([]azdo.Query, len(r.groups))
	for i, g := range r.groups {
		questions[i] = r.question(g.Rules)
		if same := slices.IndexFunc(questions[:i], questions[i].Equal); same >= 0 {
			f.evidence[i] = f.evidence[same]
			continue
		}
		evidence, err := service.Evidence(ctx, questions[i])
		if wrong := unknownStage(err); wrong != nil {
			return wrong
		}
		if err != nil {
			f.runRefusals = []rule.Refusal{unreadable(err, "Run the step again. If the error persists, check the status of Azure DevOps.")}
			return nil
		}
		f.evidence[i] = &evidence
	}
	if c.ApprovalStage == "" {
		f.stages = f.evidence
		return nil
	}
	r.readTemplate(ctx, service, f)
	return nil
}

// foresee reads what is known of the approvals that a planned action needs.
func (r *reader) foresee(ctx context.Context, service *azdo.Service, f *findings) error {
	f.evidence = make([]*approval.Evidence, len(r.groups))
	questions := make([]azdo.Query, len(r.groups))
	for i, g := range r.groups {
		questions[i] = r.question(g.Rules)
		if same := slices.IndexFunc(questions[:i], questions[i].Equal); same >= 0 {
			f.evidence[i] = f.evidence[same]
			continue
		}
		evidence, own, err := service.Foresee(ctx, questions[i])
		if wrong := unknownStage(err); wrong != nil {
			return wrong
		}
		f.evidence[i] = &evidence
		if own != nil && len(f.stages) == 0 {
			f.stages = append(f.stages, own)
		}
	}
	if len(f.stages) == 0 {
		r.readTemplate(ctx, service, f)
	}
	return nil
}

// unknownStage returns the usage error for an approvalStage that does not exist, nil
// for any other error.
func unknownStage(err error) error {
	var unknown *azdo.UnknownStageError
	if !errors.As(err, &unknown) {
		return nil
	}
	return usage("approvalStage", unknown, "Set approvalStage to a stage of this run, or leave it empty to use the current stage.")
}

// unreadable returns the refusal for records that could not be read from Azure
// DevOps.
func unreadable(err error, remedy string) rule.Refusal {
	return rule.Refusal{Rule: rule.ApprovalUnreadable, Subject: "Azure DevOps", Reason: err.Error(), Remedy: remedy}
}

// readAudited reads an audit's run: what names it in the result, and whether the
// rules are verified. An audit does not depend on the run, so what cannot be read
// is a warning.
func (r *reader) readAudited(ctx context.Context, f *findings) {
	service, err := r.s.AzureDevOps()
	if err != nil {
		return // a script of a run, without its token
	}
	run, refusals := service.Run(ctx)
	if len(refusals) > 0 {
		f.warnings = append(f.warnings, fmt.Sprintf("the result does not name this run: %s. %s", refusals[0].Reason, refusals[0].Remedy))
		return
	}
	f.run = run
	var names sync.WaitGroup
	names.Go(func() {
		defer defect.Catch(ctx)
		r.readNames(ctx, service, approval.Connections(r.signIns(r.s)))
	})
	defer names.Wait()
	r.readTemplate(ctx, service, f)
}

// readTemplate reads the check suite of this stage if no approval of the stage
// was read. The suite shows whether the pipeline extends a required template, so
// that its author could not choose another flow file.
func (r *reader) readTemplate(ctx context.Context, service *azdo.Service, f *findings) {
	if r.flow == nil || !r.flow.bound || r.c.Claims.Classic() {
		return
	}
	if evidence, err := service.Evidence(ctx, azdo.Query{}); err == nil {
		f.stages = []*approval.Evidence{&evidence}
	}
}

// question returns the question for the evidence that the rules need.
func (r *reader) question(t topology.Rules) azdo.Query {
	q := azdo.Query{
		Stage:          r.c.ApprovalStage,
		Environment:    t.Environment,
		PostDeployment: r.c.PostDeployment.Or(false),
		Authors:        !t.AuthorCanApprove,
	}
	for _, c := range t.Checks {
		q.Checks = append(q.Checks, string(c.Resource))
	}
	return q
}

// readNames reads the names of service connections, by ID and by the input that
// names a single one.
func (r *reader) readNames(ctx context.Context, service *azdo.Service, ids []string) {
	r.connections = service.ConnectionNames(ctx, ids)
	r.byInput = map[string]string{}
	for input, connections := range map[string][]*agent.Connection{
		"azureSubscription": {r.c.Azure}, "targetSubscription": {r.c.Target}, "registryConnections": r.c.Registries,
	} {
		if len(connections) != 1 || connections[0] == nil {
			continue
		}
		if name := r.connections[approval.GUID(connections[0].ID)]; name != "" {
			r.byInput[input] = name
		}
	}
}

// readConnections reads the names of the service connections in use, and the checks
// on them, which keep other pipelines from writing to the registries without this
// step. It returns what these protect.
func (r *reader) readConnections(ctx context.Context, service *azdo.Service) string {
	signIns := r.signIns(r.s)
	ids := approval.Connections(signIns)
	checks := make([]approval.Configurations, len(ids))
	classic := r.c.Claims.Classic()
	var all sync.WaitGroup
	all.Go(func() {
		defer defect.Catch(ctx)
		r.readNames(ctx, service, ids)
	})
	for i, id := range ids {
		if classic {
			break
		}
		all.Go(func() {
			defer defect.Catch(ctx)
			read, refusals := service.Checks(ctx, "endpoint", id)
			if len(refusals) > 0 {
				read = approval.Configurations{Unknown: refusals[0].Reason + ". " + refusals[0].Remedy}
			}
			checks[i] = read
		})
	}
	all.Wait()
	if classic {
		return "unprotected: Azure DevOps does not evaluate checks on service connections in classic releases"
	}
	var guards []approval.Guard
	for i, id := range ids {
		name := r.connections[approval.GUID(id)]
		if name == "" && len(checks[i].Checks) > 0 {
			name = checks[i].Checks[0].Resource.Name
		}
		guards = append(guards, approval.Guard{Name: cmp.Or(name, "service connection "+id), Checks: checks[i]})
	}
	return approval.Protection(signIns, guards)
}
