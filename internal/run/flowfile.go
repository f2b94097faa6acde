package run

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"acrpromote/internal/agent"
	"acrpromote/internal/regularfile"
	"acrpromote/internal/report"
	"acrpromote/internal/rule"
	"acrpromote/internal/session"
	"acrpromote/internal/topology"
)

// Limits: FlowFileLimit in bytes, setLimit in images of a set.
const (
	FlowFileLimit = 1 << 20
	setLimit      = 20_000
)

// flowFile is a flow file and where it was read from.
type flowFile struct {
	*topology.File
	origin report.FlowFile
	// bound reports that the pipeline's author could not change the content: the
	// file was read from the server, or its hash is pinned.
	bound bool
}

// loadFlow reads and parses the flow file. A file that differs from its pinned
// hash, or that the server does not return, is a refusal; an invalid file, or one
// without the flow that the input names, is a usage error.
func loadFlow(ctx context.Context, c *agent.Config, s *session.Session, result *collector) (*flowFile, error) {
	name := c.FlowFile
	content, origin, err := readFlow(ctx, s, name)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(content)
	origin.SHA256 = hex.EncodeToString(sum[:])
	if _, _, pinned := strings.Cut(name, "#sha256:"); pinned {
		if no := topology.JudgePin(origin.Path, origin.SHA256, origin.Pinned); no != nil {
			return nil, &refusalError{*no}
		}
	}
	file, err := topology.Parse(origin.Path, content)
	if err != nil {
		var invalid *topology.Invalid
		if !errors.As(err, &invalid) {
			return nil, err
		}
		wrong := &agent.UsageError{}
		for _, p := range invalid.Problems {
			wrong.Problems = append(wrong.Problems, agent.Problem{Subject: fmt.Sprintf("%s:%d:%d", invalid.Name, p.Line, p.Column), Reason: p.Reason, Remedy: cmp.Or(p.Remedy, "Correct the file. `acrpromote check` validates it without network access.")})
		}
		if invalid.More > 0 {
			wrong.Problems = append(wrong.Problems, agent.Problem{Subject: invalid.Name, Reason: fmt.Sprintf("%d more problems are not shown", invalid.More), Remedy: "Fix these first."})
		}
		return nil, wrong
	}
	for _, note := range file.Notes {
		result.warn(fmt.Sprintf("%s:%d:%d: %s", origin.Path, note.Line, note.Column, note.Reason))
	}
	flow := &flowFile{File: file, origin: origin, bound: origin.Repository != "" || origin.Pinned != ""}
	result.result.Flow, result.result.Registries = &flow.origin, registriesOf(file)
	if c.Flow != "" {
		if _, err := flow.Flow(c.Flow); err != nil {
			return nil, usage("flow", err, "Use the name of a flow in the flow file.")
		}
	}
	return flow, nil
}

// registriesOf returns the registries of a flow file, sorted by name.
func registriesOf(file *topology.File) []report.Registry {
	var all []report.Registry
	for _, name := range slices.Sorted(maps.Keys(file.Registries)) {
		r := file.Registries[name]
		all = append(all, report.Registry{Name: name, Host: string(r.Host), Hosts: r.Names()[1:], Trust: r.Trust, Level: slices.Index(file.Trust, r.Trust)})
	}
	return all
}

// readFlow reads the file that name refers to: NAME@REF:path on the server,
// path#sha256:HEX in the workspace with a pinned hash, or path in the workspace.
func readFlow(ctx context.Context, s *session.Session, name string) ([]byte, report.FlowFile, error) {
	repository, ref, path, remote := SplitServerName(name)
	if !remote {
		path, hash, _ := strings.Cut(name, "#sha256:")
		content, err := regularfile.Read(path, FlowFileLimit)
		if err != nil {
			return nil, report.FlowFile{}, usage("flowFile", errors.New(path+": "+regularfile.ErrorText(err)), "Check out the repository that contains the file, or correct the path.")
		}
		return content, report.FlowFile{Path: path, Pinned: strings.ToLower(hash)}, nil
	}
	origin := report.FlowFile{Repository: repository, Ref: ref, Path: path}
	service, err := s.AzureDevOps()
	if err != nil {
		return nil, origin, &refusalError{rule.Refusal{Rule: rule.FlowUnverified, Subject: name, Reason: "it cannot be read from the server: " + err.Error(),
			Remedy: "Run this as a task of an Azure Pipelines job, which can read the repository. At a prompt, name a copy of the file by its path."}}
	}
	content, commit, no := service.File(ctx, repository, ref, path)
	origin.Commit = commit
	if no != nil {
		return nil, origin, &refusalError{*no}
	}
	return content, origin, nil
}

// SplitServerName splits NAME@REF:path. ok is false for anything else, such as a
// Windows path with a drive letter.
func SplitServerName(s string) (repository, ref, path string, ok bool) {
	if strings.Contains(s, "#sha256:") {
		return "", "", "", false
	}
	repository, rest, at := strings.Cut(s, "@")
	ref, path, colon := strings.Cut(rest, ":")
	if !at || !colon || repository == "" || ref == "" || path == "" {
		return "", "", "", false
	}
	return repository, ref, path, true
}
