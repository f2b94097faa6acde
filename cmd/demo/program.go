package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"acrpromote/internal/fakeagent"
	"acrpromote/internal/maxrss"
	"acrpromote/internal/sim"
)

// stepLimit ends a step that hangs.
const stepLimit = time.Minute

// program is the real binary, as it was handed over.
type program struct {
	path     string
	version  string
	platform platform
	folder   string // where each step leaves what it wrote
	steps    int
}

func openProgram(ctx context.Context, path, folder string) (*program, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	if folder, err = filepath.Abs(folder); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return nil, err
	}
	built, err := builtFor(path)
	if err != nil {
		return nil, err
	}
	said, err := exec.CommandContext(ctx, path, "version").Output()
	if err != nil {
		return nil, fmt.Errorf("asking %s for its version: %w", path, err)
	}
	_, version, ok := strings.Cut(strings.TrimSpace(string(said)), " ")
	if !ok {
		return nil, fmt.Errorf("%s tells no version but %q", path, bytes.TrimSpace(said))
	}
	return &program{path: path, version: version, platform: built, folder: folder}, nil
}

// outcome is what one run of the program came to: what it said, what the
// machine measured, and what the environment saw of it.
type outcome struct {
	said     result // result.json
	task     string // the task's result, as the agent reads it
	output   []byte
	took     time.Duration
	memory   int64         // peak, in bytes; 0 where the system does not tell
	requests []sim.Request // that arrived anywhere meanwhile
	dialled  []string      // through the proxy meanwhile
}

// result is the part of result.json that the story tells or compares.
type result struct {
	Outcome      string `json:"outcome"`
	Changed      bool   `json:"changed"`
	ApprovalCode string `json:"approvalCode"`
	Approval     struct {
		Granted bool `json:"granted"`
		Rules   []struct {
			Label   string `json:"label"`
			Detail  string `json:"detail"`
			Met     bool   `json:"met"`
			Pending bool   `json:"pending"`
		} `json:"rules"`
	} `json:"approval"`
	Refusals []struct {
		Rule   string `json:"rule"`
		Reason string `json:"reason"`
	} `json:"refusals"`
	Errors []struct {
		Subject string `json:"subject"`
		Reason  string `json:"reason"`
	} `json:"errors"`
	Egress []string `json:"egress"`
}

// rules are those that refused, in order.
func (r result) rules() string {
	var rules []string
	for _, f := range r.Refusals {
		rules = append(rules, f.Rule)
	}
	return strings.Join(rules, " ")
}

// run starts the program as the agent of this stage would, in the network of
// PROD's agents.
func (p *program) run(ctx context.Context, env *environment, stage *sim.Stage, e fakeagent.Environment) (*outcome, error) {
	p.steps++
	e.TempDirectory = filepath.Join(p.folder, fmt.Sprintf("%02d-%s", p.steps, e.Inputs["action"]))
	if err := os.RemoveAll(e.TempDirectory); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(e.TempDirectory, 0o755); err != nil {
		return nil, err
	}
	e.Proxy = &fakeagent.Proxy{URL: env.prodNetwork.ProxyURL()}
	e.CAFile = env.cloud.CAFile()

	ctx, cancel := context.WithTimeout(ctx, stepLimit)
	defer cancel()
	command := exec.CommandContext(ctx, p.path)
	command.Env = append(e.List(stage), machine()...)
	command.Dir = e.TempDirectory

	o := &outcome{}
	mark, dialled := env.cloud.Mark(), len(env.prodNetwork.Dialled())
	began := time.Now()
	step, err := fakeagent.Start(command, nil)
	if err != nil {
		return nil, err
	}
	memory := maxrss.Watch(step.PID())
	ended := step.Wait()
	o.took, o.memory = time.Since(began), memory(ended.State)
	o.requests, o.dialled = env.cloud.Since(mark), env.prodNetwork.Dialled()[dialled:]
	o.task, o.output = ended.Result, []byte(strings.Join(ended.Lines, "\n")+"\n")
	if ended.ExitCode != 0 || len(ended.Completions) != 1 {
		return nil, fmt.Errorf("%s %s ended with exit code %d and the results %q:\n%s", p.path, e.Inputs["action"], ended.ExitCode, ended.Completions, o.output)
	}
	return o, o.read(e.TempDirectory)
}

// read finds what the program left in its folder.
func (o *outcome) read(folder string) error {
	saved := os.WriteFile(filepath.Join(folder, "log.txt"), o.output, 0o644)
	content, err := os.ReadFile(filepath.Join(folder, "result.json"))
	if err != nil {
		return fmt.Errorf("the program left no result: %w\n%s", err, o.output)
	}
	return errors.Join(saved, json.Unmarshal(content, &o.said))
}

// machine is what a process needs of its machine, and no more: the rest of the
// environment is the agent's.
func machine() []string {
	var kept []string
	for _, name := range []string{"PATH", "SystemRoot", "TEMP", "TMP", "TMPDIR"} {
		if value, ok := os.LookupEnv(name); ok {
			kept = append(kept, name+"="+value)
		}
	}
	return kept
}
