package main

import (
	"encoding/json"
	"io"

	"acrpromote/internal/agent"
	"acrpromote/internal/outcome"
	"acrpromote/internal/run"
)

// code computes an approval code without a network, and returns the exit code.
func code(c *agent.Config, stdout, stderr io.Writer) int {
	found, err := run.ComputeCode(c.Operands)
	if err != nil {
		agent.NewLog(stderr, false).Line("misuse: " + err.Error())
		return outcome.Misuse.ExitCode()
	}
	log := agent.NewLog(stdout, false)
	if !c.JSON() {
		log.Linef("%s  %s %s", found.Code, found.Kind, found.Digest)
		return outcome.Done.ExitCode()
	}
	document, err := json.MarshalIndent(found, "", "  ")
	if err == nil {
		err = log.Document(append(document, '\n'))
	}
	if err != nil {
		return outcome.Failed.ExitCode()
	}
	return outcome.Done.ExitCode()
}
