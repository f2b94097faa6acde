package run

import (
	"context"
	"errors"
	"slices"
	"strings"

	"acrpromote/internal/agent"
	"acrpromote/internal/explain"
	"acrpromote/internal/plan"
	"acrpromote/internal/ref"
	"acrpromote/internal/session"
	"acrpromote/internal/topology"
)

// references are the source and the targets that the inputs name.
type references struct {
	source  ref.Reference
	targets []plan.Destination
}

// parseReferences parses the inputs that name images. Those that are empty were
// reported before, or are not needed. The error is a usage error with all
// mistakes; what is valid is returned even then.
func parseReferences(c *agent.Config) (references, error) {
	var named references
	wrong := &agent.UsageError{}
	add := func(input string, err error, remedy string) {
		reason, remedy := explain.Split(err, remedy)
		wrong.Problems = append(wrong.Problems, agent.Problem{Subject: input, Reason: reason, Remedy: remedy})
	}
	if c.Source != "" {
		var err error
		if named.source, err = ref.ParseSource(c.Source); err != nil {
			add("source", err, "Correct the input source.")
		}
	}
	for _, text := range c.Targets {
		target, err := plan.ParseDestination(text)
		if err != nil {
			add("targets", err, "Correct this line of the input targets.")
			continue
		}
		named.targets = append(named.targets, target)
	}
	if len(c.Images) > 0 {
		if _, err := topology.ParseImages("images", []byte(strings.Join(c.Images, "\n"))); err != nil {
			return named, errors.Join(wrong.OrNil(), invalid("images", err))
		}
	}
	return named, wrong.OrNil()
}

// otherMistakes returns what is wrong apart from the given usage error, as far as
// that can be found out without sending anything: in references, in a flow file in
// the workspace, and in credentials. All mistakes are reported together.
func otherMistakes(ctx context.Context, c *agent.Config, wrong error, to *reporter, result *collector) error {
	if !slices.Contains(agent.Actions, c.Action) {
		return nil
	}
	var errs []error
	switch _, _, _, remote := SplitServerName(c.FlowFile); {
	case c.FlowFile == "" && c.Source != "":
		_, err := direct(c, result)
		errs = append(errs, err)
	case c.FlowFile == "" || remote:
		_, err := parseReferences(c)
		errs = append(errs, err)
	default:
		_, err := loadFlow(ctx, c, nil, result)
		_, invalid := parseReferences(c)
		errs = append(errs, err, invalid)
	}
	s, err := session.Open(c, to.watch())
	if err != nil {
		return errors.Join(append(errs, err)...)
	}
	defer s.Close()
	var usage *agent.UsageError
	aboutConnections := func(p agent.Problem) bool {
		return slices.Contains([]string{"azureSubscription", "targetSubscription", "registryConnections"}, strings.TrimPrefix(p.Subject, "--"))
	}
	if !errors.As(wrong, &usage) || !slices.ContainsFunc(usage.Problems, aboutConnections) {
		errs = append(errs, credentialMistakes(c, s))
	}
	return errors.Join(errs...)
}

// credentialMistakes returns a usage error for the registries in the inputs that
// there is no usable credential for.
func credentialMistakes(c *agent.Config, s *session.Session) error {
	named, _ := parseReferences(c)
	wrong := &agent.UsageError{}
	seen := map[string]bool{"": true}
	check := func(host string, target bool) {
		if seen[host] {
			return
		}
		seen[host] = true
		if err := s.SignIn(host, target, nil); err != nil {
			addCredential(wrong, host, err)
		}
	}
	for _, t := range named.targets {
		check(t.Registry, true)
	}
	check(named.source.Registry, false)
	return wrong.OrNil()
}

// isUsage reports whether an error is a usage error, or contains one.
func isUsage(err error) bool {
	var wrong *agent.UsageError
	return errors.As(err, &wrong)
}
