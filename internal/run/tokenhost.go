package run

import (
	"context"
	"slices"
	"strings"

	"acrpromote/internal/agent"
	"acrpromote/internal/approval"
	"acrpromote/internal/azdo"
	"acrpromote/internal/session"
)

// permitTokenHosts permits the hosts that the flow file names as issuers of tokens, if
// the rules are verified: they get passwords. Registries without a service connection
// have none. It must be called before their first request, when they are prepared.
func permitTokenHosts(ctx context.Context, c *agent.Config, s *session.Session, flow *flowFile, signIns []approval.SignIn) {
	if flow == nil {
		return
	}
	judged, withheld := false, ""
	for _, used := range signIns {
		named, known := flow.ByHost(used.Host)
		at, err := s.Registry(used.Host)
		if !known || named.TokenHost == "" || err != nil {
			continue
		}
		if !judged {
			judged, withheld = true, unverified(ctx, c, s, flow, signIns)
		}
		at.PermitTokenHost(string(named.TokenHost), withheld)
	}
}

// unverified returns why the rules of a flow file are not verified, "" if they are.
func unverified(ctx context.Context, c *agent.Config, s *session.Session, flow *flowFile, signIns []approval.SignIn) string {
	if !c.InRun {
		return "outside of a run of Azure Pipelines they never are"
	}
	service, err := s.AzureDevOps()
	var stages []*approval.Evidence
	if flow.bound && !c.Claims.Classic() && err == nil {
		if _, refusals := service.Run(ctx); len(refusals) == 0 {
			if evidence, err := service.Evidence(ctx, azdo.Query{}); err == nil {
				stages = []*approval.Evidence{&evidence}
			}
		}
	}
	verified, warning := approval.RulesVerified(flow.judged(), stages, signIns)
	if !verified && len(stages) > 0 {
		// The warning may name connections.
		names := service.ConnectionNames(ctx, approval.Connections(signIns))
		signIns = slices.Clone(signIns)
		for i := range signIns {
			signIns[i].Connection = names[approval.GUID(signIns[i].ConnectionID)]
		}
		_, warning = approval.RulesVerified(flow.judged(), stages, signIns)
	}
	return strings.TrimPrefix(warning, "the rules are not verified: ")
}

// judged returns what the judgement of the rules takes of the file.
func (f *flowFile) judged() approval.FlowFile {
	return approval.FlowFile{Path: f.origin.Path, SHA256: f.origin.SHA256, Bound: f.bound}
}
