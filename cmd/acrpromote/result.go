package main

import (
	"io"
	"strings"

	"acrpromote/internal/agent"
	"acrpromote/internal/approval"
	"acrpromote/internal/report"
)

// noVerdict stands where no approval is asked for.
var noVerdict = approval.Verdict{Kind: approval.None}

// emptyResult is the result before anything was done: what is not found out is
// told as such.
func emptyResult(c *agent.Config) report.Result {
	return report.Result{
		Schema:     report.Schema,
		Tool:       version,
		Action:     c.Action,
		DryRun:     c.DryRun.Or(false),
		Direction:  "unchecked",
		Rules:      "inputs",
		Protection: "unknown: the checks on the service connections were not read",
		Transport:  "direct",
		Run:        report.Run{Kind: "none"},
		Approval:   report.Approval{Kind: "none"},
		Warnings:   c.Warnings,
	}
}

// repositoryOf cuts tag or digest off a reference that the program itself wrote.
func repositoryOf(reference string) string {
	repository, _, _ := strings.Cut(reference, "@")
	slash := strings.LastIndexByte(repository, '/')
	if colon := strings.LastIndexByte(repository, ':'); colon > slash {
		repository = repository[:colon]
	}
	return repository
}

func printHelp(c *agent.Config, stdout io.Writer) {
	log := agent.NewLog(stdout, false)
	if c.Action == agent.Version {
		log.Line("acrpromote " + version)
		return
	}
	width := int(c.Terminal.Columns)
	if width == 0 {
		width = 100
	}
	log.Text(agent.HelpText(c.HelpTopic, width))
}
