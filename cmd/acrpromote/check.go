package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"acrpromote/internal/agent"
	"acrpromote/internal/outcome"
	"acrpromote/internal/regularfile"
	"acrpromote/internal/run"
	"acrpromote/internal/sorting"
	"acrpromote/internal/topology"
)

// checkReport is what `check --output json` prints.
type checkReport struct {
	Problems   []checkProblem `json:"problems"`
	Registries int            `json:"registries"`
	Flows      []checkedFlow  `json:"flows"`
}

// checkProblem is a mistake. Line and column are 0 if it is about the whole file.
type checkProblem struct {
	File   string `json:"file"`
	Line   int    `json:"line"`
	Column int    `json:"column"`
	Key    string `json:"key"`
	Reason string `json:"reason"`
}

type checkedFlow struct {
	Name      string             `json:"name"`
	Direction topology.Direction `json:"direction"`
}

// check reports all problems of a flow file, without a network, and returns the
// exit code.
func check(c *agent.Config, stdout, stderr io.Writer) int {
	words := stdout
	if c.JSON() {
		words = stderr
	}
	log := agent.NewLog(words, false)
	commands := agent.NewCommands(log, c.InPipeline, c.Debug)
	for _, warning := range c.Warnings {
		commands.Warning(warning)
	}
	path, content, err := readFlowFile(c)
	var file *topology.File
	if err == nil {
		file, err = topology.Parse(path, content)
	}
	found := checked(path, file, err)
	if err != nil {
		reportProblems(commands, log, found, err)
	} else {
		for _, note := range file.Notes {
			log.Linef("%s:%d:%d: note: %s", path, note.Line, note.Column, note.Reason)
		}
		log.Linef("%s: valid: %s, %s", path, counted(len(file.Registries), "registry", "registries"), counted(len(file.Flows), "flow", "flows"))
		for _, flow := range found.Flows {
			f := file.Flows[flow.Name]
			log.Linef("  %s: %s, from %s to %s", flow.Name, directionText(flow.Direction, f), f.From, strings.Join(f.To, ", "))
		}
	}
	end, result, summary := outcome.Done, agent.Succeeded, "valid"
	if err != nil {
		end, result, summary = outcome.Misuse, agent.Failed, counted(len(found.Problems), "problem", "problems")
	}
	if c.JSON() {
		document, err := json.MarshalIndent(found, "", "  ")
		if err == nil {
			err = agent.NewLog(stdout, false).Document(append(document, '\n'))
		}
		if err != nil {
			log.Line("writing the JSON document failed: " + err.Error())
			return outcome.Failed.ExitCode()
		}
	}
	if c.InPipeline {
		commands.Complete(result, fmt.Sprintf("%s: %s: %s", end, path, summary))
		return 0
	}
	return end.ExitCode()
}

// fileError is an error about the whole file: the reason, a clause, and the
// remedy, a sentence.
type fileError struct{ reason, remedy string }

func (e fileError) Error() string { return e.reason + ". " + e.remedy }

// readFlowFile returns the content and the path of the flow file.
func readFlowFile(c *agent.Config) (path string, content []byte, err error) {
	path, hash, pinned := strings.Cut(c.FlowFile, "#sha256:")
	if repository, _, remote, ok := run.SplitServerName(path); ok {
		remedy := "Clone %s and check its file %s."
		if c.InPipeline {
			remedy = "Check out the repository %s, and set flowFile to the path of its file %s in the workspace."
		}
		return path, nil, fileError{"it is on the server, but check works without a network", fmt.Sprintf(remedy, repository, remote)}
	}
	content, err = regularfile.Read(path, run.FlowFileLimit)
	if err != nil {
		return path, nil, errors.New(regularfile.ErrorText(err))
	}
	if sum := sha256.Sum256(content); pinned && !strings.EqualFold(hash, hex.EncodeToString(sum[:])) {
		return path, nil, fileError{fmt.Sprintf("its SHA-256 is %x, but %s is pinned", sum, hash), "Find out who changed the file; if the change is intended, pin the new hash."}
	}
	return path, content, nil
}

// checked returns the report about a file, or about the error of reading or
// parsing it.
func checked(path string, file *topology.File, err error) checkReport {
	found := checkReport{Problems: []checkProblem{}, Flows: []checkedFlow{}}
	if invalid, ok := errors.AsType[*topology.Invalid](err); ok {
		all, more := invalid.All()
		for _, p := range all {
			found.Problems = append(found.Problems, checkProblem{path, p.Line, p.Column, p.Key, p.Explanation()})
		}
		if more > 0 {
			found.Problems = append(found.Problems, checkProblem{File: path, Reason: fmt.Sprintf("%d more problems are not shown", more)})
		}
		return found
	}
	if err != nil {
		found.Problems = append(found.Problems, checkProblem{File: path, Reason: err.Error()})
		return found
	}
	found.Registries = len(file.Registries)
	for name, flow := range file.Flows {
		found.Flows = append(found.Flows, checkedFlow{name, file.FlowDirection(flow)})
	}
	sorting.By(found.Flows, func(a, b checkedFlow) int { return strings.Compare(a.Name, b.Name) })
	return found
}

// reportProblems writes the first problems to the log or, in a pipeline, to the
// issues of the run.
func reportProblems(commands *agent.Commands, log *agent.Log, found checkReport, err error) {
	invalid, ok := errors.AsType[*topology.Invalid](err)
	if !ok {
		p := found.Problems[0]
		commands.Error(p.File + ": " + p.Reason)
		return
	}
	for _, p := range invalid.Problems {
		commands.ErrorAt(invalid.Name, p.Line, p.Column, p.Explanation())
	}
	if invalid.More > 0 {
		log.Linef("and %d more", invalid.More)
	}
}

// directionText returns the direction of a flow, with the action that it takes.
func directionText(direction topology.Direction, flow *topology.Flow) string {
	switch {
	case direction == topology.Down:
		return "down (invertedPush)"
	case direction == topology.Up:
		return "up (promote)"
	case direction == topology.Mixed:
		return "mixed (invertedPush to less trusted registries, promote to the others)"
	case slices.Equal(flow.To, []string{flow.From}):
		return "within one registry (promote)"
	}
	return "to equal trust (promote)"
}

func counted(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
