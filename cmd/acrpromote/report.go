package main

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"acrpromote/internal/agent"
	"acrpromote/internal/htmlreport"
	"acrpromote/internal/junit"
	"acrpromote/internal/outcome"
	"acrpromote/internal/regularfile"
	"acrpromote/internal/report"
	"acrpromote/internal/sarif"
	"acrpromote/internal/sorting"
)

// show writes stored results as one report, and returns the exit code.
func show(c *agent.Config, stdout, stderr io.Writer) int {
	notes, log := agent.NewLog(stderr, false), agent.NewLog(stdout, false)
	for _, warning := range c.Warnings {
		notes.Line("warning: " + warning)
	}
	var stored []sarif.Source
	var errs []error
	seen := map[[sha256.Size]byte]bool{}
	for _, path := range c.Operands {
		r, sum, err := readResult(path)
		errs = append(errs, err)
		// A step leaves its result twice: as result.json and with a name of its own.
		if err != nil || !seen[sum] {
			stored = append(stored, sarif.Source{File: path, Result: r})
		}
		seen[sum] = true
	}
	if err := errors.Join(errs...); err != nil {
		for line := range strings.SplitSeq(err.Error(), "\n") {
			notes.Line("misuse: " + line)
		}
		return outcome.Misuse.ExitCode()
	}
	// In the order in which the steps ran.
	sorting.StableBy(stored, func(a, b sarif.Source) int { return a.Result.Started().Compare(b.Result.Started()) })
	results := make([]report.Result, len(stored))
	for i, s := range stored {
		results[i] = s.Result
	}
	var document []byte
	var err error
	switch {
	case c.JUnit.Value:
		document = junit.Write(results)
	case c.SARIF.Value:
		document, err = sarif.Write(version, stored)
	case c.Formats.JSON.Value:
		document, err = documents(results)
	case c.HTML.Value:
		// The page has no number sign that could begin a logging command.
		err = htmlreport.Write(stdout, results)
	case c.Markdown.Value:
		// Markdown itself escapes outside text, number signs too.
		for _, r := range results {
			document = append(append(document, report.Markdown(r)...), '\n')
		}
		_, err = stdout.Write(document)
		document = nil
	default:
		for _, r := range results {
			err = errors.Join(err, log.Text(report.Text(r, width(c), false)+"\n"))
		}
	}
	if err == nil && document != nil {
		err = log.Document(document)
	}
	if err != nil {
		notes.Line("writing the report failed: " + err.Error())
		return outcome.Failed.ExitCode()
	}
	return outcome.Done.ExitCode()
}

// readResult returns the result in a file, and the hash of the file.
func readResult(path string) (report.Result, [sha256.Size]byte, error) {
	content, err := regularfile.Read(path, report.StoredLimit)
	sum := sha256.Sum256(content)
	if err != nil {
		return report.Result{}, sum, fmt.Errorf("%s: %s", path, regularfile.ErrorText(err))
	}
	r, err := report.Stored(content)
	if err != nil {
		return r, sum, fmt.Errorf("%s: %w", path, err)
	}
	return r, sum, nil
}

// documents returns the JSON of one result or, of several, of a list.
func documents(results []report.Result) ([]byte, error) {
	if len(results) == 1 {
		var b strings.Builder
		err := report.WriteJSON(&b, results[0])
		return []byte(b.String()), err
	}
	document, err := json.MarshalIndent(results, "", "  ")
	return append(document, '\n'), err
}
