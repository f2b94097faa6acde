package run

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"acrpromote/internal/agent"
	"acrpromote/internal/report"
	"acrpromote/internal/rule"
	"acrpromote/internal/session"
	"acrpromote/internal/topology"
)

// Limits of what is read: FlowFileLimit and listLimit in bytes, setLimit in
// images of a set.
const (
	FlowFileLimit = 1 << 20
	listLimit     = 8 << 20
	setLimit      = 20_000
)

// flowFile is the rules in force and where they came from.
type flowFile struct {
	*topology.File
	origin report.FlowFile
	// bound tells that the place was not the pipeline author's to choose: the
	// server's copy, or a hash that was pinned.
	bound bool
}

// loadFlow reads the flow file. A file that is not what it should be is
// refused; one that cannot be understood is a usage error.
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
			return nil, &refused{*no}
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
			wrong.Problems = append(wrong.Problems, agent.Problem{Subject: fmt.Sprintf("%s:%d:%d", invalid.Name, p.Line, p.Column), Reason: p.Reason, Remedy: cmp.Or(p.Remedy, "Correct the file: `acrpromote check` reads it without a network.")})
		}
		if invalid.More > 0 {
			wrong.Problems = append(wrong.Problems, agent.Problem{Subject: invalid.Name, Reason: fmt.Sprintf("%d more problems are not shown", invalid.More), Remedy: "Mend these first."})
		}
		return nil, wrong
	}
	for _, note := range file.Notes {
		result.warn(fmt.Sprintf("%s:%d:%d: %s", origin.Path, note.Line, note.Column, note.Reason))
	}
	flow := &flowFile{File: file, origin: origin, bound: origin.Repository != "" || origin.Pinned != ""}
	result.result.Flow = &flow.origin
	return flow, nil
}

// readFlow reads the file from where its name says: NAME@REF:path from the
// server, path#sha256:HEX from the workspace with its hash pinned, path from
// the workspace as it lies there.
func readFlow(ctx context.Context, s *session.Session, name string) ([]byte, report.FlowFile, error) {
	repository, ref, path, remote := SplitServerName(name)
	if !remote {
		path, hash, _ := strings.Cut(name, "#sha256:")
		content, err := ReadBounded(path, FlowFileLimit)
		if err != nil {
			return nil, report.FlowFile{}, usage("flowFile", errors.New(path+": "+FileError(err)), "Check out the repository that holds it, or correct the path.")
		}
		return content, report.FlowFile{Path: path, Pinned: strings.ToLower(hash)}, nil
	}
	origin := report.FlowFile{Repository: repository, Ref: ref, Path: path}
	service, err := s.AzureDevOps()
	if err != nil {
		return nil, origin, &refused{rule.Refusal{Rule: rule.FlowUnverified, Subject: name, Reason: err.Error(),
			Remedy: "Run this as a task of an Azure Pipelines job, which can read the repository."}}
	}
	content, commit, no := service.File(ctx, repository, ref, path)
	origin.Commit = commit
	if no != nil {
		return nil, origin, &refused{*no}
	}
	return content, origin, nil
}

// SplitServerName reads NAME@REF:path. A Windows path with a drive is none.
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

// ReadBounded reads a file of at most limit bytes. A path is written as in an
// input, with slashes.
func ReadBounded(path string, limit int64) ([]byte, error) {
	file, err := os.Open(filepath.FromSlash(path))
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

// FileError says what a file error means, without the call's name.
func FileError(err error) string {
	var path *os.PathError
	if errors.As(err, &path) {
		return fmt.Sprintf("it cannot be read: %v", path.Err)
	}
	return err.Error()
}
