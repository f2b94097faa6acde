package run

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"acrpromote/internal/agent"
	"acrpromote/internal/approval"
	"acrpromote/internal/defect"
	"acrpromote/internal/egress"
	"acrpromote/internal/htmlreport"
	"acrpromote/internal/junit"
	"acrpromote/internal/outcome"
	"acrpromote/internal/ref"
	"acrpromote/internal/regularfile"
	"acrpromote/internal/report"
	"acrpromote/internal/seal"
	"acrpromote/internal/session"
)

// reporter writes progress and result for the agent, for a person at a prompt, or
// for a program that reads result.json.
type reporter struct {
	config   *agent.Config
	stdout   io.Writer
	log      *agent.Log
	commands *agent.Commands
	terminal bool
	retries  atomic.Int32

	mu    sync.Mutex
	ended bool // the result is being reported: nothing else is written
}

func newReporter(config *agent.Config, stdout, stderr io.Writer) *reporter {
	p := &reporter{config: config, stdout: stdout}
	words := stdout
	if config.JSON() {
		words = stderr
	}
	p.terminal = isTerminal(words) && !config.InPipeline && !config.Terminal.Plain()
	p.log = agent.NewLog(words, p.terminal)
	p.commands = agent.NewCommands(p.log, config.InPipeline, config.Debug)
	return p
}

// conclusion is the input of the report phase.
type conclusion struct {
	result report.Result
	digest string // of the single image or the set
	// warnOnPartial makes a partial outcome a success with issues.
	warnOnPartial bool
}

// watch returns the functions that report requests and retries during the run.
func (p *reporter) watch() session.Watch {
	w := session.Watch{Retried: p.retried}
	if p.config.Debug {
		w.Exchange = p.exchange
	}
	return w
}

func isTerminal(w io.Writer) bool {
	file, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

func (p *reporter) width() int {
	if n := int(p.config.Terminal.Columns); n > 0 {
		return n
	}
	return 100
}

// progress returns the progress display for the output in use.
func (p *reporter) progress() *report.Progress {
	var sinks report.Sinks
	switch {
	case p.config.InPipeline:
		sinks.Percent, sinks.Line = p.commands.SetProgress, p.log.Line
	case p.terminal:
		sinks.Live = p.log.Live
	default:
		sinks.Line = p.log.Line
	}
	return report.NewProgress(sinks, time.Now)
}

// exchange logs one request for System.Debug, without headers and query.
func (p *reporter) exchange(e egress.Exchange) {
	status := fmt.Sprintf("%d", e.Status)
	if e.Status == 0 {
		status = "no response"
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended {
		return
	}
	p.commands.Debug(p.config.Secrets.Redact(fmt.Sprintf("%s %s%s %s %d ms", e.Method, e.Host, plainPath(e.Path), status, e.Duration.Milliseconds())))
}

// plainPath returns a path up to the first character that no path of a registry,
// its storage or Azure DevOps needs: a redirect may put the query of another
// address into its path, with a signature.
func plainPath(path string) string {
	if at := strings.IndexAny(path, "?&=;"); at >= 0 {
		return path[:at] + "…"
	}
	return path
}

// maxLoggedRetries limits how many retries are logged one by one; the result has the
// total.
const maxLoggedRetries = 20

// retried logs a retry: what is retried, why, and when.
func (p *reporter) retried(what, reason string, attempt int, wait time.Duration) {
	switch n := p.retries.Add(1); {
	case n < maxLoggedRetries:
		p.log.Line(p.config.Secrets.Redact(fmt.Sprintf("%s: attempt %d failed: %s; retrying in %s", what, attempt, reason, wait.Round(100*time.Millisecond))))
	case n == maxLoggedRetries:
		p.log.Line("Further retries are not logged; the result has their number and the time waited.")
	}
}

// defect logs the stack trace of a panic if System.Debug is set.
func (p *reporter) defect(d *defect.Defect) {
	if !p.config.Debug {
		return
	}
	for line := range strings.Lines(string(d.Stack)) {
		p.commands.Debug(strings.TrimRight(line, "\n"))
	}
}

// report writes the result to its files and to the output, and returns the exit
// code.
func (p *reporter) report(end conclusion) int {
	r := end.result
	redact(&r, p.config.Secrets)
	p.mu.Lock()
	p.ended = true
	p.mu.Unlock()
	path, err := p.writeFiles(r, p.config.ReportPath())
	if err != nil {
		r.Errors = append(r.Errors, report.Problem{Side: report.InputSide, Subject: "reportFolder", Reason: p.config.Secrets.Line(err.Error()),
			Remedy: "Set reportFolder to a folder that this step can write to. The images are not affected, and a rerun reports them again."})
		if r.Outcome == outcome.Done || r.Outcome == outcome.Partial {
			r.Outcome = outcome.Failed
		}
		if p.config.InPipeline && p.config.ReportFolder != "" {
			// The result of a run is always somewhere.
			path, _ = p.writeFiles(r, p.config.TempPath())
		}
	}
	if p.config.InPipeline {
		p.complete(r, path, end)
		return 0
	}
	p.log.Text(report.Text(r, p.width(), p.terminal))
	if p.config.JSON() {
		var document bytes.Buffer
		if err := report.WriteJSON(&document, r); err != nil {
			p.log.Line("cannot write result.json: " + err.Error())
			return outcome.Failed.ExitCode()
		}
		if err := agent.NewLog(p.stdout, false).Document(document.Bytes()); err != nil {
			return outcome.Failed.ExitCode()
		}
	}
	return r.Outcome.ExitCode()
}

// complete ends the task: it writes the facts, issues, output variables and the
// task's result.
func (p *reporter) complete(r report.Result, path string, end conclusion) {
	p.log.Text(report.Facts(r, p.width()))
	warnings, problems := report.Issues(r)
	for _, w := range warnings {
		p.commands.Warning(w)
	}
	for _, problem := range problems {
		if r.Outcome == outcome.Partial && end.warnOnPartial {
			p.commands.Warning(problem)
			continue
		}
		p.commands.Error(problem)
	}
	outputs := map[string]string{"report": path, "changed": fmt.Sprint(r.Changed)}
	outputs["digest"] = end.digest
	if r.Plan != nil {
		outputs["plan"] = r.Plan.Digest
	}
	if len(r.Images) == 1 && r.Images[0].Digest != "" {
		if image, err := ref.ParseSource(r.Images[0].Source); err == nil {
			image.Tag, image.Digest = "", r.Images[0].Digest
			outputs["image"] = image.String()
		}
	}
	for _, name := range agent.Outputs {
		if value := outputs[name]; value != "" {
			// SetVariable fails only for names that are not in Outputs.
			_ = p.commands.SetVariable(name, value)
		}
	}
	result := agent.Failed
	switch {
	case r.Outcome == outcome.Done:
		result = agent.Succeeded
	case r.Outcome == outcome.Cancelled:
		result = agent.Canceled
	case r.Outcome == outcome.Partial && end.warnOnPartial:
		result = agent.SucceededWithIssues
	}
	p.commands.Complete(result, string(r.Outcome)+": "+report.Headline(r))
}

// writeFiles writes the result and, in a pipeline, the summary for the run's page to
// a folder. In a pipeline the result has a name of its own, so that the next step of
// the job keeps it, and result.json is the newest. It returns the path of the result,
// or "" without a folder.
func (p *reporter) writeFiles(r report.Result, folder string) (string, error) {
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
	newest := filepath.Join(folder, "result.json")
	for i, life := range r.Trace {
		name := filepath.Join(folder, fmt.Sprintf("trace-%d", i+1))
		if err := errors.Join(regularfile.Replace(name+".mmd", []byte(life.Mermaid())), regularfile.Replace(name+".svg", []byte(life.SVG()))); err != nil {
			return "", err
		}
	}
	if !p.config.InPipeline {
		return newest, regularfile.Replace(newest, document.Bytes())
	}
	path, err := unused(folder, p.config.ReportName(), ".json")
	if err != nil {
		return "", err
	}
	for _, file := range []string{path, newest} {
		if err := regularfile.Replace(file, document.Bytes()); err != nil {
			return "", err
		}
	}
	summary, err := writeNew(folder, "acrpromote-summary-*.md", report.Markdown(r))
	if err != nil {
		return path, err
	}
	p.commands.UploadSummary(summary)
	if p.config.PublishTests.Value {
		tests, err := writeNew(folder, "acrpromote-tests-*.xml", junit.Write([]report.Result{r}))
		if err != nil {
			return path, err
		}
		p.commands.PublishTests("AcrPromote "+junit.Name(r), tests)
	}
	if err := p.publish(r, path, document.Bytes()); err != nil {
		p.commands.Warning("The report is not published with the run: " + p.config.Secrets.Line(err.Error()))
	}
	return path, nil
}

// publish publishes the report with the run: as a page where the tab on the run's page
// finds it and, if configured, as an artifact with the page and the result. path is that
// of the result. The agent uploads files later, so they are in a folder of their own.
func (p *reporter) publish(r report.Result, path string, document []byte) error {
	if !p.config.Publish.Or(true) {
		return nil
	}
	var page bytes.Buffer
	if err := htmlreport.Write(&page, []report.Result{r}); err != nil {
		return err
	}
	folder := strings.TrimSuffix(path, ".json")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	const pageName = "report.html"
	for _, file := range []struct {
		name    string
		content []byte
	}{
		{filepath.Join(filepath.Dir(path), pageName), page.Bytes()},
		{filepath.Join(folder, pageName), page.Bytes()},
		{filepath.Join(folder, "result.json"), document},
	} {
		if err := regularfile.Replace(file.name, file.content); err != nil {
			return err
		}
	}
	name := p.config.PublishedName(strings.TrimPrefix(filepath.Base(folder), p.config.ReportName()))
	p.commands.AddAttachment(reportAttachment, name, filepath.Join(folder, pageName))
	switch {
	case !p.config.PublishesArtifact() || r.Outcome == outcome.Cancelled:
		// The agent uploads nothing for a step that was cancelled.
	case p.config.Claims.BuildContainerID == 0:
		return errors.New("the job has no variable Build.ContainerId, so the agent cannot upload an artifact")
	default:
		p.commands.UploadArtifact(name, folder)
	}
	return nil
}

// reportAttachment is the type of the attachment that the tab on the run's page shows.
const reportAttachment = "acrpromote.report"

// writeNew writes a file with a new name, and returns its path. The agent reads such
// files later: a unique name keeps the next step of the job from overwriting them.
func writeNew(folder, pattern string, content []byte) (string, error) {
	file, err := os.CreateTemp(folder, pattern)
	if err != nil {
		return "", err
	}
	_, err = file.Write(content)
	if closing := file.Close(); err == nil {
		err = closing
	}
	return file.Name(), err
}

// attachSeal stores the seal record of the image with the given digest as an
// attachment of this step. It proves to later runs that this run sealed the image.
func (p *reporter) attachSeal(digest string, record []byte) error {
	return p.attach(approval.SealAttachment, seal.AttachmentName(digest), "acrpromote-seal-*.json", record)
}

// attach stores an attachment of this step in a pipeline.
func (p *reporter) attach(kind, name, pattern string, content []byte) error {
	if !p.config.InPipeline {
		return nil
	}
	folder, err := filepath.Abs(p.config.ReportPath())
	if err != nil {
		return err
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	file, err := writeNew(folder, pattern, content)
	if err != nil {
		return err
	}
	p.commands.AddAttachment(kind, name, file)
	return nil
}

// unused creates an empty file with a name that is not in use, such as NAME.json or,
// if a step is run again on the same machine, NAME-2.json.
func unused(folder, name, ending string) (string, error) {
	for n := 1; ; n++ {
		path := filepath.Join(folder, name+ending)
		if n > 1 {
			path = filepath.Join(folder, fmt.Sprintf("%s-%d%s", name, n, ending))
		}
		file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
		if errors.Is(err, os.ErrExist) && n < mostReports {
			continue
		}
		if err != nil {
			return "", err
		}
		return path, file.Close()
	}
}

// mostReports limits how many names are tried for one report.
const mostReports = 10_000
