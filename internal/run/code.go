package run

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"acrpromote/internal/acr"
	"acrpromote/internal/agent"
	"acrpromote/internal/plan"
	"acrpromote/internal/ref"
	"acrpromote/internal/regularfile"
	"acrpromote/internal/report"
	"acrpromote/internal/seal"
	"acrpromote/internal/strictjson"
)

// Code is an approval code and what it is of: image, set or plan.
type Code struct {
	Kind   string `json:"kind"`
	Digest string `json:"digest"`
	Code   string `json:"code"`
}

// ComputeCode computes the code of one digest, of a set of images, or of the plan in
// a result.json, without a network.
func ComputeCode(operands []string) (Code, error) {
	first := operands[0]
	var images int
	for _, o := range operands {
		if _, digest, is := strings.Cut(o, "@"); is && ref.NamesDigest(digest) {
			images++
		}
	}
	switch {
	case images == len(operands):
		return codeOfSet(operands)
	case images > 0:
		return Code{}, errors.New("images, written REPOSITORY@sha256:…, cannot be combined with other arguments: a set has one code")
	case len(operands) > 1:
		return Code{}, errors.New("several arguments name a set of images, each written REPOSITORY@sha256:…; otherwise give one digest or one file")
	case ref.NamesDigest(first) && !strings.ContainsAny(first, `/\.`):
		code, err := seal.Code(first)
		return Code{"image", first, code}, err
	}
	return codeOfFile(first)
}

func codeOfSet(images []string) (Code, error) {
	var members []seal.Member
	for _, image := range images {
		repository, digest, _ := strings.Cut(image, "@")
		host, _, _ := strings.Cut(repository, "/")
		_, azure := acr.CloudOf(host)
		switch {
		case azure:
			return Code{}, fmt.Errorf("%q names a registry, which the code of a set does not depend on: write REPOSITORY@sha256:…", image)
		case !ref.IsRepository(repository):
			return Code{}, fmt.Errorf("%q is not a valid repository", repository)
		case !ref.IsDigest(digest):
			return Code{}, fmt.Errorf("%q is not a valid digest: want sha256: followed by 64 lower-case hexadecimal digits", digest)
		}
		members = append(members, seal.Member{Repository: repository, Digest: digest})
	}
	digest := seal.SetDigest(members)
	code, err := seal.Code(digest)
	return Code{"set", digest, code}, err
}

// recorded is the part of a result.json that the plan's code is Code from.
type recorded struct {
	Schema string       `json:"schema"`
	Action string       `json:"action"`
	DryRun bool         `json:"dryRun"`
	Plan   *report.Plan `json:"plan"`
	Images []struct {
		Source   string `json:"source"`
		Digest   string `json:"digest"`
		Attached []struct {
			Digest  string `json:"digest"`
			Subject string `json:"subject"`
			InPlan  bool   `json:"inPlan"`
		} `json:"attached"`
		Targets []struct {
			Registry   string `json:"registry"`
			Repository string `json:"repository"`
			Tag        string `json:"tag"`
			Locked     string `json:"locked"`
		} `json:"targets"`
	} `json:"images"`
}

// codeOfFile computes the code of the plan in a result.json from its images, and
// compares it with the recorded one.
func codeOfFile(path string) (Code, error) {
	content, err := regularfile.Read(path, report.StoredLimit)
	if errors.Is(err, fs.ErrNotExist) {
		if _, invalid := ref.ParseSource(path); invalid == nil {
			return Code{}, fmt.Errorf("%s names an image by its tag, and finding its digest takes the network: give the digest, sha256:…, that seal or plan shows", path)
		}
	}
	if err != nil {
		return Code{}, fmt.Errorf("%s: %s", path, regularfile.ErrorText(err))
	}
	var r recorded
	if err := json.Unmarshal(content, &r); err != nil {
		return Code{}, fmt.Errorf("%s is not valid JSON, or not that of a result", path)
	}
	// A person who reads the file must see what the code is computed from.
	if err := strictjson.CheckObject("result", content, report.StoredDepth); err != nil {
		return Code{}, fmt.Errorf("%s: %w: the file was changed", path, err)
	}
	switch {
	case r.Schema != report.Schema:
		return Code{}, fmt.Errorf("%s is not a result of acrpromote: its schema is not %s", path, report.Schema)
	case r.Plan == nil:
		return Code{}, fmt.Errorf("%s has no plan: use the result.json of plan, or of verify or a dry run with approvalCode plan", path)
	case r.Action != agent.Plan && r.Action != agent.Verify && !r.DryRun:
		return Code{}, fmt.Errorf("%s is the result of a step that may have written: use the result.json of plan, of verify or of a dry run", path)
	}
	scope, err := r.scope()
	if err != nil {
		return Code{}, fmt.Errorf("%s: %w", path, err)
	}
	found := Code{"plan", scope.Digest(), scope.Code()}
	if found.Digest != r.Plan.Digest || found.Code != r.Plan.Code {
		return Code{}, fmt.Errorf("%s: its images, targets, locks and attached artifacts give the code %s (%s), but it records %q (%q): the file was changed", path, found.Code, found.Digest, r.Plan.Code, r.Plan.Digest)
	}
	return found, nil
}

// scope returns what the code of a recorded plan covers.
func (r recorded) scope() (plan.Scope, error) {
	scope, err := plan.ParseLines(r.Plan.Others)
	if err != nil {
		return scope, fmt.Errorf("plan.others: %w", err)
	}
	for _, image := range r.Images {
		source, err := ref.ParseSource(image.Source)
		if err != nil {
			return scope, err
		}
		if !ref.IsDigest(image.Digest) {
			return scope, fmt.Errorf("the image %s has no valid digest", source)
		}
		scope.AddImage(source, image.Digest)
		for _, t := range image.Targets {
			target := ref.Reference{Registry: t.Registry, Repository: t.Repository, Tag: t.Tag}
			if _, err := ref.ParseHost(t.Registry); err != nil || !ref.IsRepository(t.Repository) || t.Tag != "" && !ref.IsTag(t.Tag) {
				return scope, fmt.Errorf("the image %s has an invalid target", source)
			}
			switch lock := plan.Lock(t.Locked); lock {
			case "", plan.LockNone, plan.LockTag, plan.LockImage:
				scope.AddTarget(image.Digest, target, lock)
			default:
				return scope, fmt.Errorf("the image %s has an unknown lock at %s", source, target)
			}
		}
		for _, a := range image.Attached {
			if !a.InPlan {
				continue
			}
			if !ref.IsDigest(a.Digest) || !ref.IsDigest(a.Subject) {
				return scope, fmt.Errorf("the image %s has an attached artifact without valid digests", source)
			}
			scope.AddAttached(a.Digest, a.Subject)
		}
	}
	return scope, nil
}
