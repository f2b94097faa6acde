package main

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"acrpromote/internal/agent"
	"acrpromote/internal/plan"
	"acrpromote/internal/ref"
	"acrpromote/internal/report"
	"acrpromote/internal/rule"
	"acrpromote/internal/topology"
)

// Bounds of what is read: of a flow file or a list, in bytes, and of the
// images that a set may name.
const (
	longestFlowFile = 1 << 20
	longestList     = 8 << 20
	mostImages      = 20_000
)

// flowFile is the rules in force and where they came from.
type flowFile struct {
	*topology.File
	origin report.FlowFile
	// bound tells that the place was not the pipeline author's to choose: the
	// server's copy, or a hash that was pinned.
	bound bool
}

// loadFlow reads the flow file. A file that is not what it should be is a
// refusal; one that cannot be understood is misuse.
func (o *operation) loadFlow(ctx context.Context) (*rule.Refusal, error) {
	name := o.config.FlowFile
	content, origin, refused, err := o.readFlow(ctx, name)
	if refused != nil || err != nil {
		return refused, err
	}
	sum := sha256.Sum256(content)
	origin.SHA256 = hex.EncodeToString(sum[:])
	if _, _, pinned := strings.Cut(name, "#sha256:"); pinned && origin.Pinned != origin.SHA256 {
		return &rule.Refusal{Rule: rule.FlowUnverified, Subject: origin.Path,
			Reason: fmt.Sprintf("its SHA-256 is %s, but %s is pinned", origin.SHA256, origin.Pinned),
			Remedy: "Find out who changed the file; if the change is meant, pin the new hash."}, nil
	}
	file, err := topology.Parse(origin.Path, content)
	if err != nil {
		var invalid *topology.Invalid
		if !errors.As(err, &invalid) {
			return nil, err
		}
		wrong := &agent.Misuse{}
		for _, p := range invalid.Problems {
			wrong.Problems = append(wrong.Problems, agent.Problem{Subject: fmt.Sprintf("%s:%d:%d", invalid.Name, p.Line, p.Column), Reason: p.Reason, Remedy: cmp.Or(p.Remedy, "Correct the file: `acrpromote check` reads it without a network.")})
		}
		if invalid.More > 0 {
			wrong.Problems = append(wrong.Problems, agent.Problem{Subject: invalid.Name, Reason: fmt.Sprintf("%d more problems are not shown", invalid.More), Remedy: "Mend these first."})
		}
		return nil, wrong
	}
	for _, note := range file.Notes {
		o.result.Warnings = append(o.result.Warnings, fmt.Sprintf("%s:%d:%d: %s", origin.Path, note.Line, note.Column, note.Reason))
	}
	o.flows = &flowFile{File: file, origin: origin, bound: origin.Repository != "" || origin.Pinned != ""}
	o.result.Flow = &o.flows.origin
	return nil, nil
}

// readFlow reads the file from where its name says: NAME@REF:path from the
// server, path#sha256:HEX from the workspace with its hash pinned, path from
// the workspace as it lies there.
func (o *operation) readFlow(ctx context.Context, name string) ([]byte, report.FlowFile, *rule.Refusal, error) {
	repository, ref, path, remote := splitServerName(name)
	if !remote {
		path, hash, _ := strings.Cut(name, "#sha256:")
		content, err := readBounded(o.workspace(path), longestFlowFile)
		if err != nil {
			return nil, report.FlowFile{}, nil, misused("flowFile", errors.New(path+": "+sentenceOf(err)), "Check out the repository that holds it, or correct the path.")
		}
		return content, report.FlowFile{Path: path, Pinned: strings.ToLower(hash)}, nil, nil
	}
	origin := report.FlowFile{Repository: repository, Ref: ref, Path: path}
	service, err := o.azureDevOps()
	if err != nil {
		return nil, origin, &rule.Refusal{Rule: rule.FlowUnverified, Subject: name, Reason: err.Error(),
			Remedy: "Run this as a task of an Azure Pipelines job, which can read the repository."}, nil
	}
	content, commit, refused := service.File(ctx, repository, ref, path)
	origin.Commit = commit
	return content, origin, refused, nil
}

// splitServerName reads NAME@REF:path. A Windows path with a drive is none.
func splitServerName(s string) (repository, ref, path string, ok bool) {
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

// workspace resolves a path as the agent's steps do: from the folder that the
// program was started in.
func (o *operation) workspace(path string) string { return filepath.FromSlash(path) }

func readBounded(path string, limit int64) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	if info, err := file.Stat(); err == nil && info.IsDir() {
		return nil, fmt.Errorf("%s is a folder", path)
	}
	content, err := io.ReadAll(io.LimitReader(file, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(content)) > limit {
		return nil, fmt.Errorf("%s is larger than %d bytes", path, limit)
	}
	return content, nil
}

// sentenceOf says what a file error means, without the call's name.
func sentenceOf(err error) string {
	var path *os.PathError
	if errors.As(err, &path) {
		return fmt.Sprintf("it cannot be read: %v", path.Err)
	}
	return err.Error()
}

// understandFlow makes the items that a flow file covers: one image with its
// targets, or a set with all targets of its flow. What no flow covers stands
// against the step; what cannot be understood is misuse.
func (o *operation) understandFlow(ctx context.Context) error {
	c := o.config
	if c.Flow != "" {
		if _, err := o.flows.Flow(c.Flow); err != nil {
			return misused("flow", err, "Name a flow of the file.")
		}
	}
	if !c.Set() {
		return o.understandOne()
	}
	return o.understandSet(ctx)
}

// understandOne reads source and targets, each of which a flow must cover.
func (o *operation) understandOne() error {
	c := o.config
	source, err := ref.ParseSource(c.Source)
	if err != nil {
		return misused("source", err, "Correct the input source.")
	}
	if c.Digest != "" && !ref.IsDigest(c.Digest) {
		return misused("digest", fmt.Errorf("%q is no digest", c.Digest), "Write sha256: and 64 hexadecimal digits in lower case.")
	}
	wrong := &agent.Misuse{}
	var targets []plan.Destination
	for _, text := range c.Targets {
		target, err := plan.ParseDestination(text)
		if err != nil {
			wrong.Problems = append(wrong.Problems, agent.Problem{Subject: "targets", Reason: err.Error(), Remedy: "Correct this line of the input targets."})
			continue
		}
		targets = append(targets, target)
	}
	if len(wrong.Problems) > 0 {
		return wrong
	}
	if len(targets) == 0 && c.Action != agent.Seal && c.Action != agent.Verify {
		var refused *rule.Refusal
		if targets, refused = plan.Everywhere(o.flows.File, c.Flow, source); refused != nil {
			o.against = append(o.against, *refused)
		}
	}
	o.action = c.Action
	if o.action == agent.Verify {
		o.action = plan.Subject(o.flows.File, source, targets)
	}
	return o.route(source, c.Digest, targets)
}

// route adds one image with the ways that the flow file has for it.
func (o *operation) route(source ref.Reference, digest string, targets []plan.Destination) error {
	wanted, refused, err := plan.Route(o.flows.File, plan.Order{
		Action: o.action, Flow: o.config.Flow, Source: source, Targets: targets, Inputs: flowInputs(o.config), MoveTag: o.config.MoveTag.Or(false),
	})
	if err != nil {
		return misused("flow", err, "Leave the input out, or have the flow file changed.")
	}
	wanted.Digest = digest
	o.against = append(o.against, refused...)
	o.items = append(o.items, &item{wanted: wanted})
	for _, t := range o.items[len(o.items)-1].terms() {
		for _, ignored := range t.Ignored {
			if !slices.Contains(o.result.Warnings, ignored) {
				o.result.Warnings = append(o.result.Warnings, ignored)
			}
		}
	}
	return nil
}

// understandSet reads the images of a set and finds the targets of each.
func (o *operation) understandSet(ctx context.Context) error {
	flow, err := o.flows.Flow(o.config.Flow)
	if err != nil {
		return misused("flow", err, "Name a flow of the file.")
	}
	home := o.flows.Registries[flow.From]
	entries, err := o.entries(string(home.Host))
	if err != nil {
		return err
	}
	sources, refused, err := o.expand(ctx, flow, string(home.Host), entries)
	if err != nil {
		return err
	}
	o.against = append(o.against, refused...)
	if len(sources) == 0 && len(refused) == 0 && len(o.others) == 0 {
		return misused("images", errors.New("the set is empty: nothing in the source registry matches it"), "Name images that are there, and that the flow covers.")
	}
	if len(sources) > mostImages {
		return misused("images", fmt.Errorf("the set has %d images, more than %d", len(sources), mostImages), "Part it.")
	}
	o.set = true
	targets := make([][]plan.Destination, len(sources))
	o.action = o.config.Action
	for i, s := range sources {
		all, refused := plan.Everywhere(o.flows.File, flow.Name, s)
		if refused != nil {
			o.against = append(o.against, *refused)
			continue
		}
		targets[i] = all
		if o.action == agent.Verify {
			o.action = plan.Subject(o.flows.File, s, all)
		}
	}
	for i, s := range sources {
		if o.action != plan.Seal && len(targets[i]) == 0 {
			o.result.Warnings = append(o.result.Warnings, fmt.Sprintf("no target subscribes to %s", s))
			continue
		}
		if err := o.route(s, "", targets[i]); err != nil {
			return err
		}
	}
	if len(o.items) == 0 && len(o.against) == 0 && len(o.others) == 0 {
		return misused("images", errors.New("no image of the set goes anywhere"), "Look at the flow's teams.")
	}
	return nil
}

// entries are the lines of the set.
func (o *operation) entries(home string) ([]topology.Image, error) {
	c := o.config
	if c.ImagesFrom == "" {
		images, err := topology.ParseImages("images", []byte(strings.Join(c.Images, "\n")))
		return images, invalid("images", err)
	}
	content, err := readBounded(o.workspace(c.ImagesFrom), longestList)
	if err != nil {
		return nil, misused("imagesFrom", errors.New(c.ImagesFrom+": "+sentenceOf(err)), "Correct the path.")
	}
	found, err := topology.ImagesFromManifests(c.ImagesFrom, content, home)
	if err != nil {
		return nil, invalid("imagesFrom", err)
	}
	for _, other := range found.Others {
		o.result.Warnings = append(o.result.Warnings, fmt.Sprintf("%s:%d: %s is left out: %s", c.ImagesFrom, other.Line, other.Reference, other.Reason))
	}
	return found.Images, nil
}

func invalid(input string, err error) error {
	var wrong *topology.Invalid
	if !errors.As(err, &wrong) {
		return err
	}
	misuse := &agent.Misuse{}
	for _, p := range wrong.Problems {
		misuse.Problems = append(misuse.Problems, agent.Problem{Subject: fmt.Sprintf("%s, line %d", input, p.Line), Reason: p.Reason, Remedy: cmp.Or(p.Remedy, "Correct this line.")})
	}
	if wrong.More > 0 {
		misuse.Problems = append(misuse.Problems, agent.Problem{Subject: input, Reason: fmt.Sprintf("%d more problems are not shown", wrong.More), Remedy: "Mend these first."})
	}
	return misuse
}

// expand makes single images of the lines of a set: those that are named, and
// those that patterns find in the registry, as far as the flow covers them.
// With parallel jobs each takes the repositories that a stable hash gives it.
func (o *operation) expand(ctx context.Context, flow *topology.Flow, home string, entries []topology.Image) ([]ref.Reference, []rule.Refusal, error) {
	var sources []ref.Reference
	var refused []rule.Refusal
	seen := map[ref.Reference]bool{}
	add := func(r ref.Reference) {
		if seen[r] {
			return
		}
		seen[r] = true
		if !o.mine(r.Repository) {
			o.others = append(o.others, r)
			return
		}
		sources = append(sources, r)
	}
	var patterns []topology.Image
	for _, e := range entries {
		if !e.Literal() {
			patterns = append(patterns, e)
			continue
		}
		r := ref.Reference{Registry: home, Repository: e.Repository.String(), Digest: e.Digest}
		if e.Digest == "" {
			r.Tag = e.Tag.String()
		}
		if _, no := o.flows.Select(topology.Ask{Flow: flow.Name, From: home, Repository: r.Repository, Tag: r.Tag}); no != nil {
			refused = append(refused, *no)
			continue
		}
		add(r)
	}
	if len(patterns) == 0 {
		return sources, refused, nil
	}
	found, err := o.list(ctx, flow, home, patterns)
	if err != nil {
		return nil, nil, err
	}
	for _, r := range found {
		add(r)
	}
	slices.SortFunc(sources, func(a, b ref.Reference) int { return strings.Compare(a.String(), b.String()) })
	return sources, refused, nil
}

// mine tells whether a repository is this job's of several parallel ones. Jobs
// of a matrix differ by their variables, and each has its whole set.
func (o *operation) mine(repository string) bool {
	claims := o.config.Claims
	total, position := int(claims.TotalJobsInPhase), int(claims.JobPositionInPhase)
	if total < 2 || position < 1 || position > total || strings.EqualFold(claims.ParallelExecution, "MultiConfiguration") {
		return true
	}
	h := fnv.New64a()
	_, _ = io.WriteString(h, repository)
	return int(h.Sum64()%uint64(total)) == position-1
}
