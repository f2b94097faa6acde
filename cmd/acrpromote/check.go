package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	"acrpromote/internal/agent"
	"acrpromote/internal/outcome"
	"acrpromote/internal/run"
	"acrpromote/internal/topology"
)

// check reports all problems of a flow file, one per line, without a network.
func check(c *agent.Config, log *agent.Log) int {
	path, hash, pinned := strings.Cut(c.FlowFile, "#sha256:")
	if repository, _, remote, ok := run.SplitServerName(path); ok {
		log.Linef("misuse: %s is on the server, but check works without a network. Clone %s and check its file %s.", path, repository, remote)
		return outcome.Misuse.ExitCode()
	}
	content, err := run.ReadBounded(path, run.FlowFileLimit)
	if err != nil {
		log.Line("misuse: " + path + ": " + run.FileErrorText(err))
		return outcome.Misuse.ExitCode()
	}
	if sum := sha256.Sum256(content); pinned && !strings.EqualFold(hash, hex.EncodeToString(sum[:])) {
		log.Linef("misuse: %s: its SHA-256 is %x, but %s is pinned. Find out who changed the file; if the change is intended, pin the new hash.", path, sum, hash)
		return outcome.Misuse.ExitCode()
	}
	file, err := topology.Parse(path, content)
	if err != nil {
		log.Text(err.Error())
		return outcome.Misuse.ExitCode()
	}
	for _, note := range file.Notes {
		log.Linef("%s:%d:%d: note: %s", path, note.Line, note.Column, note.Reason)
	}
	log.Linef("%s: valid: %s, %s", path, counted(len(file.Registries), "registry", "registries"), counted(len(file.Flows), "flow", "flows"))
	return outcome.Done.ExitCode()
}

func counted(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
