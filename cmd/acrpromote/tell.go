package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"acrpromote/internal/agent"
	"acrpromote/internal/egress"
	"acrpromote/internal/report"
)

// teller tells what happens to whoever started the program: the agent, a
// person at a prompt, or a program that reads result.json.
type teller struct {
	config   *agent.Config
	stdout   io.Writer
	log      *agent.Log
	commands *agent.Commands
	terminal bool
	// warnOnPartial: a half-done set of targets is a success with issues.
	warnOnPartial bool
	// digest is that of the one image, or of the set.
	digest  string
	retries atomic.Int32

	mu    sync.Mutex
	ended bool // the result is being told; nothing else is any more
}

func newTeller(config *agent.Config, stdout, stderr io.Writer) *teller {
	t := &teller{config: config, stdout: stdout}
	words := stdout
	if config.JSON() {
		words = stderr
	}
	t.terminal = isTerminal(words) && !config.InPipeline && !config.Terminal.Plain()
	t.log = agent.NewLog(words, t.terminal)
	t.commands = agent.NewCommands(t.log, config.InPipeline, config.Debug)
	return t
}

func isTerminal(w io.Writer) bool {
	file, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

func (t *teller) width() int {
	if n := int(t.config.Terminal.Columns); n > 0 {
		return n
	}
	return 100
}

// progress tells how far a copy has come, in the way that its reader can use.
func (t *teller) progress() *report.Progress {
	var sinks report.Sinks
	switch {
	case t.config.InPipeline:
		sinks.Percent, sinks.Line = t.commands.SetProgress, t.log.Line
	case t.terminal:
		sinks.Live = t.log.Live
	default:
		sinks.Line = t.log.Line
	}
	return report.NewProgress(sinks, time.Now)
}

// exchange tells one request, for System.Debug: never a header or a query.
func (t *teller) exchange(e egress.Exchange) {
	answer := fmt.Sprintf("%d", e.Status)
	if e.Status == 0 {
		answer = "no answer"
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ended {
		return
	}
	t.commands.Debug(fmt.Sprintf("%s %s%s %s %d ms", e.Method, e.Host, e.Path, answer, e.Duration.Milliseconds()))
}

// mostRetries bounds how many repetitions are told one by one; the result tells
// the sum of all.
const mostRetries = 20

// again tells that something is tried once more: what, why, and when.
func (t *teller) again(what, reason string, attempt int, wait time.Duration) {
	switch n := t.retries.Add(1); {
	case n < mostRetries:
		t.log.Linef("%s: attempt %d failed, %s; trying again in %s", what, attempt, reason, wait.Round(100*time.Millisecond))
	case n == mostRetries:
		t.log.Line("More is tried again; the result tells how often, and how long that took.")
	}
}

// tell writes the result wherever it belongs, and returns the exit code.
func (t *teller) tell(r report.Result) int {
	t.mu.Lock()
	t.ended = true
	t.mu.Unlock()
	path, err := t.writeFiles(r)
	if err != nil {
		r.Errors = append(r.Errors, report.Problem{Side: report.Input, Subject: "reportFolder", Reason: err.Error(),
			Remedy: "Name a folder that this step may write to. What was done stays done, and a rerun tells it again."})
		if r.Outcome == report.Done || r.Outcome == report.Partial {
			r.Outcome = report.Failed
		}
	}
	if t.config.InPipeline {
		t.tellAgent(r, path)
		return 0
	}
	t.log.Text(report.Text(r, t.width(), t.terminal))
	if t.config.JSON() {
		var document bytes.Buffer
		if err := report.WriteJSON(&document, r); err != nil {
			t.log.Line("result.json cannot be written: " + err.Error())
			return report.Failed.ExitCode()
		}
		if err := agent.NewLog(t.stdout, false).Document(document.Bytes()); err != nil {
			return report.Failed.ExitCode()
		}
	}
	return r.Outcome.ExitCode()
}

// tellAgent ends the task: what was found, issues, outputs, and its result.
func (t *teller) tellAgent(r report.Result, path string) {
	t.log.Text(report.Facts(r, t.width()))
	warnings, problems := report.Issues(r)
	for _, w := range warnings {
		t.commands.Warning(w)
	}
	for _, p := range problems {
		if r.Outcome == report.Partial && t.warnOnPartial {
			t.commands.Warning(p)
			continue
		}
		t.commands.Error(p)
	}
	outputs := map[string]string{"report": path, "changed": fmt.Sprint(r.Changed)}
	outputs["digest"] = t.digest
	if len(r.Images) == 1 && r.Images[0].Digest != "" {
		outputs["image"] = repositoryOf(r.Images[0].Source) + "@" + r.Images[0].Digest
	}
	for _, name := range agent.Outputs {
		if value := outputs[name]; value != "" {
			// The names are those that SetVariable knows.
			_ = t.commands.SetVariable(name, value)
		}
	}
	result := agent.Failed
	switch {
	case r.Outcome == report.Done:
		result = agent.Succeeded
	case r.Outcome == report.Cancelled:
		result = agent.Canceled
	case r.Outcome == report.Partial && t.warnOnPartial:
		result = agent.SucceededWithIssues
	}
	t.commands.Complete(result, string(r.Outcome)+": "+report.Headline(r))
}

// writeFiles writes result.json, and for the run's page the summary, into the
// report folder. It returns the path of result.json, empty where there is no
// such folder.
func (t *teller) writeFiles(r report.Result) (string, error) {
	folder := t.config.ReportPath()
	if folder == "" {
		return "", nil
	}
	folder, err := filepath.Abs(folder)
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return "", err
	}
	var document bytes.Buffer
	if err := report.WriteJSON(&document, r); err != nil {
		return "", err
	}
	path := filepath.Join(folder, "result.json")
	if err := replace(path, document.Bytes()); err != nil {
		return "", err
	}
	if !t.config.InPipeline {
		return path, nil
	}
	// The agent reads the summary some time later: a name of its own keeps it
	// from the next step of the job.
	summary, err := os.CreateTemp(folder, "acrpromote-summary-*.md")
	if err != nil {
		return path, err
	}
	_, err = summary.Write(report.Markdown(r))
	if closing := summary.Close(); err == nil {
		err = closing
	}
	if err != nil {
		return path, err
	}
	t.commands.UploadSummary(summary.Name())
	return path, nil
}

// replace writes a file whole or not at all.
func replace(path string, content []byte) error {
	file, err := os.CreateTemp(filepath.Dir(path), ".result-*.json")
	if err != nil {
		return err
	}
	defer os.Remove(file.Name())
	_, err = file.Write(content)
	if closing := file.Close(); err == nil {
		err = closing
	}
	if err == nil {
		err = os.Chmod(file.Name(), 0o644)
	}
	if err != nil {
		return err
	}
	return os.Rename(file.Name(), path)
}
